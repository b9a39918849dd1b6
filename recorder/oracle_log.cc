#include "recorder/oracle_log.h"

#include <cinttypes>
#include <cstdio>
#include <span>

namespace migrate {

void OracleLog::OnEvent(const Event& event) {
  if (event.kind == EVENT_PROBLEM) {
    problem_ = "problem " + std::to_string(event.number) + ", " +
               std::to_string(static_cast<int64_t>(event.args[0])) + ", " +
               std::to_string(static_cast<int64_t>(event.args[1]));
  } else if (event.kind == EVENT_TASK_EXIT || event.kind == EVENT_EXEC) {
    unclaimed_.erase(event.tid);  // killed inside a call: it returned, and no stop follows
  } else if (event.kind == EVENT_TASK_NEW) {
    known_.erase(static_cast<uint32_t>(event.args[0]));
  }
  if (event.kind != EVENT_SYSCALL) {
    return;
  }
  LoggedCall call;
  call.lsn = event.lsn;
  call.tid = event.tid;
  call.number = event.number;
  call.result = event.result;
  call.first = known_.insert(event.tid).second;
  call.args = event.args;
  unclaimed_[event.tid].push_back(call);
  for (const EventSpan& span : event.spans) {
    if ((span.flags & EVENT_SPAN_INPUT) == 0) {
      call.spans.push_back({span.address, {span.bytes.begin(), span.bytes.end()}});
    }
  }
  recent_.push_back(std::move(call));
}

void OracleLog::Drain() {
  const auto consumed = capture_.Consume([&](std::span<const std::byte> frame) -> Result<void> {
    Event event;
    const FrameResult parsed = ParseFrame(frame, event);
    if (parsed.status != FrameStatus::kFrame) {
      return MakeError(ErrorCode::kDataLoss, std::string(parsed.reason));
    }
    const auto status = assembler_.Add(event);
    if (status == EventAssembler::Status::kCorrupt) {
      return MakeError(ErrorCode::kDataLoss, std::string(assembler_.reason()));
    }
    if (status == EventAssembler::Status::kEvent) {
      OnEvent(event);
    }
    return {};
  });
  if (!consumed) {
    gaps_++;
    problem_ = consumed.error().message;
  }
}

std::optional<LoggedCall> OracleLog::Take(uint32_t tid) {
  auto& events = unclaimed_[tid];
  if (events.empty()) {
    return std::nullopt;
  }
  const LoggedCall last = events.back();
  events.pop_back();
  for (const LoggedCall& older : events) {
    if (!older.first) {
      unmatched_++;
      printf("oracle: event %" PRIu64 " of task %u: nobody has seen syscall %ld = %" PRId64 "\n",
             older.lsn, older.tid, older.number, older.result);
    }
  }
  events.clear();
  return last;
}

std::vector<const LoggedSpan*> OracleLog::SpansSince(uint64_t lsn,
                                                     const std::set<uint32_t>& tids) const {
  std::vector<const LoggedSpan*> spans;
  for (const LoggedCall& call : recent_) {
    if (call.lsn >= lsn && tids.contains(call.tid)) {
      for (const LoggedSpan& span : call.spans) {
        spans.push_back(&span);
      }
    }
  }
  return spans;
}

void OracleLog::Forget(uint64_t lsn) {
  while (!recent_.empty() && recent_.front().lsn < lsn) {
    recent_.pop_front();
  }
}

void OracleLog::End() {
  Drain();
  const CaptureStats stats = capture_.stats();
  gaps_ += assembler_.pending() ? 1 : 0;
  gaps_ += stats.events == assembler_.next_lsn() ? 0 : 1;
  gaps_ += stats.lost;
}

}  // namespace migrate
