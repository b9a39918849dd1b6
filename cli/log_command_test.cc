// `migrate log` on logs made without a recorder: the selection and statistics, and the program
// itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock_ring.h"
#include "base/subprocess.h"
#include "cli/log_stats.h"
#include "proto/event_log_samples.h"

namespace migrate {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Event Syscall(std::uint64_t lsn, std::uint32_t tid, std::uint16_t number) {
  Event event;
  event.lsn = lsn;
  event.kind = EVENT_SYSCALL;
  event.tid = tid;
  event.number = number;
  event.frame_bytes = 100;
  return event;
}

TEST(LogFilter, TaskSyscallAndPosition) {
  const Event read = Syscall(5, 7, 0);
  EXPECT_TRUE(LogFilter{}.Matches(read));
  EXPECT_TRUE(LogFilter{.task = 7}.Matches(read));
  EXPECT_FALSE(LogFilter{.task = 8}.Matches(read));
  EXPECT_TRUE(LogFilter{.syscall = 0}.Matches(read));
  EXPECT_FALSE(LogFilter{.syscall = 1}.Matches(read));
  EXPECT_TRUE((LogFilter{.from = 5, .to = 5}.Matches(read)));
  EXPECT_FALSE(LogFilter{.from = 6}.Matches(read));
  EXPECT_FALSE(LogFilter{.to = 4}.Matches(read));

  Event birth = Syscall(6, 7, 0);
  birth.kind = EVENT_TASK_NEW;
  birth.arg_count = 1;
  birth.args[0] = 8;
  EXPECT_TRUE(LogFilter{.task = 8}.Matches(birth));
  EXPECT_FALSE(LogFilter{.syscall = 0}.Matches(birth));
}

TEST(LogStats, CountsByKind) {
  LogStats stats;
  Event error = Syscall(0, 7, 0);
  error.result = -11;
  stats.Add(error);
  stats.Add(Syscall(1, 7, 0));
  stats.Add(Syscall(2, 8, 228));
  Event exit = Syscall(3, 8, 0);
  exit.kind = EVENT_TASK_EXIT;
  stats.Add(exit);
  const auto json = stats.Json(EventLogReader());
  EXPECT_EQ(json["selected"], 4);
  EXPECT_EQ(json["clocks"]["calls"], 1);
  ASSERT_EQ(json["by_event"].size(), 3u);
  EXPECT_EQ(json["by_event"][0]["event"], "read");
  EXPECT_EQ(json["by_event"][0]["count"], 2);
  EXPECT_EQ(json["by_event"][0]["errors"], 1);
  EXPECT_EQ(json["by_event"][0]["bytes"], 200);
  EXPECT_EQ(json["by_event"][0]["share"], 0.5);
  ASSERT_EQ(json["tasks"].size(), 2u);
  EXPECT_EQ(json["tasks"][1]["exited"], true);
  const std::string text = stats.Text(EventLogReader());
  EXPECT_THAT(text, HasSubstr("clock_gettime"));
  EXPECT_THAT(text, HasSubstr("50.00%"));
  EXPECT_THAT(text, HasSubstr("exited"));
}

TEST(LogStats, CountsReadingsAndNotTheirEvents) {
  std::vector<clock_ring_entry> entries(10);
  for (std::uint32_t number = 0; number < entries.size(); ++number) {
    entries[number] = {number, CLOCK_GETTIME, 1, 0, {number, 0}};
  }
  entries[0] = {};  // a system call, made at number 0 of a round
  Event event = Syscall(0, 7, 0);
  event.kind = EVENT_CLOCKS;
  event.arg_count = 2;
  event.args = {0, entries.size()};
  event.spans = {{0x2000, 0, std::as_bytes(std::span(entries))}};
  LogStats stats;
  stats.Add(event);
  event.args[1] = 9;  // corrupt: no readings
  stats.Add(event);
  const auto json = stats.Json(EventLogReader());
  EXPECT_EQ(json["clocks"]["readings"], 9);
  EXPECT_EQ(json["clocks"]["reading_events"], 2);
  EXPECT_EQ(json["clocks"]["reading_bytes"], 640);
  EXPECT_THAT(stats.Text(EventLogReader()), HasSubstr("9 readings in 2 events"));
}

class LogCommandTest : public ::testing::Test {
 protected:
  LogCommandTest() {
    std::string pattern = (std::filesystem::path(::testing::TempDir()) / "migrate_log_XXXXXX");
    directory_ = mkdtemp(pattern.data());
  }
  ~LogCommandTest() override { std::filesystem::remove_all(directory_); }

  void Write(std::span<const std::byte> log) {
    std::ofstream out(directory_ / "events.log", std::ios::binary | std::ios::app);
    out.write(reinterpret_cast<const char*>(log.data()), static_cast<std::streamsize>(log.size()));
  }
  SubprocessOutcome Log(std::vector<std::string> options) {
    options.insert(options.begin(), {MIGRATE_PROGRAM, "log", directory_.string()});
    return RunSubprocess({.argv = options, .env = {{"MIGRATE_SOCKET", "/nonexistent"}}}).value();
  }
  static long Lines(const std::string& text) {
    return std::count(text.begin(), text.end(), '\n');
  }

  std::filesystem::path directory_;
};

TEST_F(LogCommandTest, ALinePerEvent) {
  Write(SampleLog({EveryKindOfFrame(), SampleFrames(20)}, 1));
  const SubprocessOutcome all = Log({});
  EXPECT_EQ(all.exit_code, 0) << all.stderr_text;
  EXPECT_EQ(Lines(all.stdout_text), 32);
  EXPECT_THAT(all.stdout_text,
              HasSubstr("         1       7  openat(AT_FDCWD, \"/etc/ld.so.preload\", O_RDONLY) = -1 "
                        "ENOENT (No such file or directory)\n"));
  EXPECT_THAT(all.stdout_text, HasSubstr("  clocks: 1 reading (CLOCK_MONOTONIC 12.345678901)\n"));
  EXPECT_EQ(all.stderr_text, "");

  EXPECT_THAT(Log({"-s", "3", "--syscall", "read"}).stdout_text,
              HasSubstr("read(4<socket>, \"xxx\"..., 100) = 100\n"));

  EXPECT_EQ(Lines(Log({"--from", "3", "--to", "5"}).stdout_text), 3);
  EXPECT_EQ(Lines(Log({"--syscall", "openat"}).stdout_text), 1);
  EXPECT_EQ(Lines(Log({"--task", "8"}).stdout_text), 3);  // birth, problem, exit
  EXPECT_EQ(Lines(Log({"--task", "99"}).stdout_text), 0);
}

TEST_F(LogCommandTest, JsonIsAnObjectPerLine) {
  Write(SampleLog({EveryKindOfFrame(), SampleFrames(20)}, 1));
  for (const SubprocessOutcome& all : {Log({"--json"}), Log({"-o", "json"})}) {
    EXPECT_EQ(all.exit_code, 0) << all.stderr_text;
    std::istringstream lines(all.stdout_text);
    std::uint64_t lsn = 0;
    for (std::string line; std::getline(lines, line); ++lsn) {
      EXPECT_EQ(nlohmann::json::parse(line)["lsn"], lsn);
    }
    EXPECT_EQ(lsn, 32u);
  }
}

TEST_F(LogCommandTest, StatsAsTextAndJson) {
  Write(SampleLog({SampleFrames(50), SampleFrames(50)}, 1));
  const SubprocessOutcome text = Log({"--stats"});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.stdout_text, HasSubstr("100 events in 2 chunks, complete"));
  const auto json = nlohmann::json::parse(Log({"--stats", "--json"}).stdout_text);
  EXPECT_EQ(json["events"], 100);
  EXPECT_EQ(json["complete"], true);
  EXPECT_EQ(json["by_event"].size(), 5u);
  EXPECT_EQ(json["epoch"], kSampleEpoch);
  EXPECT_EQ(json["events_per_s"], 5000);  // two chunks of 10 ms
  EXPECT_EQ(nlohmann::json::parse(Log({"--stats", "--json", "--task", "7"}).stdout_text)["tasks"]
                .size(),
            1u);
}

TEST_F(LogCommandTest, ACorruptLogIsNamed) {
  auto log = SampleLog({SampleFrames(10), SampleFrames(10)}, 0);
  log.back() ^= std::byte{1};
  Write(log);
  const SubprocessOutcome outcome = Log({});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(Lines(outcome.stdout_text), 10);
  EXPECT_THAT(outcome.stderr_text, HasSubstr("after LSN 10"));
  EXPECT_THAT(outcome.stderr_text, HasSubstr("checksum"));
}

TEST_F(LogCommandTest, NoEndIsSaidAndNoFailure) {
  auto log = SampleLog({SampleFrames(10), SampleFrames(10)}, 0);
  log.resize(log.size() - 10);
  Write(log);
  const SubprocessOutcome outcome = Log({});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(Lines(outcome.stdout_text), 10);
  EXPECT_THAT(outcome.stderr_text, HasSubstr("no end after LSN 10 (in the middle of a chunk)"));
}

TEST_F(LogCommandTest, NoLogAndNoSuchSyscallAreUsageErrors) {
  EXPECT_EQ(Log({}).exit_code, 2);
  Write(SampleLog({SampleFrames(1)}, 0));
  EXPECT_EQ(Log({}).exit_code, 0);
  const SubprocessOutcome outcome = Log({"--syscall", "frobnicate"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.stderr_text, HasSubstr("frobnicate"));
  EXPECT_EQ(Log({"--from", "x"}).exit_code, 2);
}

TEST_F(LogCommandTest, FollowsUntilTheEnd) {
  const auto log = SampleLog({SampleFrames(10), SampleFrames(10), SampleFrames(5)}, 1);
  Write(std::span(log).first(200));
  std::thread writer([&] {
    for (std::size_t at = 200; at < log.size(); at += 150) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      Write(std::span(log).subspan(at, std::min<std::size_t>(150, log.size() - at)));
    }
  });
  const SubprocessOutcome outcome = Log({"--follow"});
  writer.join();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.stderr_text;
  EXPECT_FALSE(outcome.timed_out);
  EXPECT_EQ(Lines(outcome.stdout_text), 25);
  EXPECT_THAT(outcome.stderr_text, Not(HasSubstr("no end")));
}

}  // namespace
}  // namespace migrate
