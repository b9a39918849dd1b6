#include "cli/log_stats.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string_view>

#include "cli/event_text.h"
#include "proto/clock_events.h"
#include "proto/syscall_table.h"

namespace migrate {
namespace {

constexpr std::size_t kTasksShown = 100;

double Per(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

double Seconds(const EventLogTotals& totals) {
  return totals.closed_ns <= totals.opened_ns
             ? 0
             : static_cast<double>(totals.closed_ns - totals.opened_ns) * 1e-9;
}

bool ReadsAClock(std::uint16_t number) {
  static constexpr std::array<std::string_view, 3> kNames = {"clock_gettime", "gettimeofday", "time"};
  const SyscallRow* row = FindSyscall(number);
  return row != nullptr && std::find(kNames.begin(), kNames.end(), row->name) != kNames.end();
}

template <typename... Values>
std::string Print(const char* format, Values... values) {
  std::array<char, 256> line;
  std::snprintf(line.data(), line.size(), format, values...);
  return line.data();
}

using Count = unsigned long long;

}  // namespace

bool LogFilter::Matches(const Event& event) const {
  if (event.lsn < from || event.lsn > to) {
    return false;
  }
  if (syscall && (event.kind != EVENT_SYSCALL || event.number != *syscall)) {
    return false;
  }
  return !task || event.tid == *task ||
         (event.kind == EVENT_TASK_NEW && event.arg_count > 0 && event.args[0] == *task);
}

void LogStats::Add(const Event& event) {
  const bool syscall = event.kind == EVENT_SYSCALL;
  const bool error = syscall && event.result < 0 && event.result > -4096;
  for (Row* row : {&total_, syscall ? &syscalls_[event.number] : &others_[event.kind]}) {
    ++row->count;
    row->errors += error ? 1 : 0;
    row->bytes += event.frame_bytes;
  }
  if (event.tid != 0) {
    Task& task = tasks_[event.tid];
    if (task.events == 0) {
      task.first_lsn = event.lsn;
    }
    ++task.events;
    task.bytes += event.frame_bytes;
    task.last_lsn = event.lsn;
    task.exited = event.kind == EVENT_TASK_EXIT;
  }
  clocks_.calls += syscall && ReadsAClock(event.number) ? 1 : 0;
  if (event.kind == EVENT_CLOCKS) {
    const auto readings = ReadingsOf(event);
    ++clocks_.reading_events;
    clocks_.readings += readings ? readings->size() : 0;
    clocks_.reading_bytes += event.DataBytes();
  }
  clocks_.tsc += event.kind == EVENT_TSC ? 1 : 0;
}

std::vector<std::pair<std::string, LogStats::Row>> LogStats::Rows() const {
  std::vector<std::pair<std::string, Row>> rows;
  for (const auto& [number, row] : syscalls_) {
    rows.emplace_back(SyscallName(number), row);
  }
  for (const auto& [kind, row] : others_) {
    rows.emplace_back("[" + std::string(EventKindName(kind)) + "]", row);
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const auto& a, const auto& b) { return a.second.count > b.second.count; });
  return rows;
}

std::string LogStats::Text(const EventLogReader& reader) const {
  const EventLogTotals& log = reader.totals();
  const double seconds = Seconds(log);
  const std::uint64_t all = reader.next_lsn();
  std::string text =
      Print("epoch     %s, %llu events in %llu chunks, %s\n",
            reader.epoch() ? EpochText(*reader.epoch()).c_str() : "none", static_cast<Count>(all),
            static_cast<Count>(log.chunks), reader.ended() ? "complete" : "not read to an end");
  text += Print("size      %llu bytes of frames, %llu stored; %.1f and %.1f bytes/event\n",
                static_cast<Count>(log.frame_bytes), static_cast<Count>(log.stored_bytes),
                Per(log.frame_bytes, all), Per(log.stored_bytes, all));
  text += Print("time      %.3f s, %.0f events/s\n", seconds,
                seconds > 0 ? static_cast<double>(all) / seconds : 0);
  text += Print("clocks    %llu calls (%.1f%% of the events), %llu readings in %llu events "
                "with %llu bytes, %llu TSC\n",
                static_cast<Count>(clocks_.calls), 100 * Per(clocks_.calls, total_.count),
                static_cast<Count>(clocks_.readings), static_cast<Count>(clocks_.reading_events),
                static_cast<Count>(clocks_.reading_bytes), static_cast<Count>(clocks_.tsc));
  text += Print("\n%12s %7s %10s %14s %12s  %s\n", "count", "share", "errors", "bytes",
                "bytes/event", "event");
  const auto line = [&](const std::string& name, const Row& row) {
    text += Print("%12llu %6.2f%% %10llu %14llu %12.1f  %s\n", static_cast<Count>(row.count),
                  100 * Per(row.count, total_.count), static_cast<Count>(row.errors),
                  static_cast<Count>(row.bytes), Per(row.bytes, row.count), name.c_str());
  };
  for (const auto& [name, row] : Rows()) {
    line(name, row);
  }
  line("total", total_);
  text += Print("\n%12s %12s %14s %12s %12s\n", "task", "events", "bytes", "first LSN", "last LSN");
  std::size_t shown = 0;
  for (const auto& [tid, task] : tasks_) {
    if (++shown > kTasksShown) {
      text += Print("... and %zu more\n", tasks_.size() - kTasksShown);
      break;
    }
    text += Print("%12u %12llu %14llu %12llu %12llu%s\n", tid, static_cast<Count>(task.events),
                  static_cast<Count>(task.bytes), static_cast<Count>(task.first_lsn),
                  static_cast<Count>(task.last_lsn), task.exited ? "  exited" : "");
  }
  return text;
}

nlohmann::json LogStats::Json(const EventLogReader& reader) const {
  const EventLogTotals& log = reader.totals();
  const double seconds = Seconds(log);
  const std::uint64_t all = reader.next_lsn();
  nlohmann::json json = {
      {"epoch", reader.epoch() ? EpochText(*reader.epoch()) : ""},
      {"complete", reader.ended()},
      {"events", all},
      {"selected", total_.count},
      {"chunks", log.chunks},
      {"bytes", log.frame_bytes},
      {"bytes_compressed", log.stored_bytes},
      {"bytes_per_event", Per(log.frame_bytes, all)},
      {"bytes_compressed_per_event", Per(log.stored_bytes, all)},
      {"total_time_ms", seconds * 1000},
      {"events_per_s", seconds > 0 ? static_cast<double>(all) / seconds : 0},
      {"clocks",
       {{"calls", clocks_.calls},
        {"readings", clocks_.readings},
        {"reading_events", clocks_.reading_events},
        {"reading_bytes", clocks_.reading_bytes},
        {"tsc", clocks_.tsc}}},
      {"by_event", nlohmann::json::array()},
      {"tasks", nlohmann::json::array()},
  };
  for (const auto& [name, row] : Rows()) {
    json["by_event"].push_back({{"event", name},
                                {"count", row.count},
                                {"share", Per(row.count, total_.count)},
                                {"errors", row.errors},
                                {"bytes", row.bytes},
                                {"bytes_per_event", Per(row.bytes, row.count)}});
  }
  for (const auto& [tid, task] : tasks_) {
    json["tasks"].push_back({{"task", tid},
                             {"events", task.events},
                             {"bytes", task.bytes},
                             {"first_lsn", task.first_lsn},
                             {"last_lsn", task.last_lsn},
                             {"exited", task.exited}});
  }
  return json;
}

}  // namespace migrate
