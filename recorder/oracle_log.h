// The log as capture_oracle needs it: what each task's last event was, and which bytes were logged
// since a call began. Takes the frames out of the ring as they come. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proto/event_frame.h"
#include "recorder/capture.h"

namespace migrate {

struct LoggedSpan {
  uint64_t address = 0;
  std::vector<std::byte> bytes;

  uint64_t end() const { return address + bytes.size(); }
};

struct LoggedCall {
  uint64_t lsn = 0;
  uint32_t tid = 0;  // in the namespace
  long number = 0;
  int64_t result = 0;
  bool first = false;  // of its task: the call may have begun before it was traced, as fork did
  std::array<uint64_t, EVENT_MAX_ARGS> args{};
  std::vector<LoggedSpan> spans;  // outputs
};

class OracleLog {
 public:
  explicit OracleLog(Capture& capture) : capture_(capture) {}

  void Drain();
  // The event of a call that has just ended, without spans: the last one of its task, which is
  // logged before ptrace stops it. What is older had no stop, and counts as unmatched.
  std::optional<LoggedCall> Take(uint32_t tid);
  std::vector<const LoggedSpan*> SpansSince(uint64_t lsn, const std::set<uint32_t>& tids) const;
  // Nobody will ask for what is older.
  void Forget(uint64_t lsn);
  // After the last event.
  void End();

  uint64_t next_lsn() const { return assembler_.next_lsn(); }
  uint64_t unmatched() const { return unmatched_; }
  uint64_t gaps() const { return gaps_; }
  const std::string& problem() const { return problem_; }  // that ended the recording

 private:
  void OnEvent(const Event& event);

  Capture& capture_;
  EventAssembler assembler_;
  std::deque<LoggedCall> recent_;
  std::map<uint32_t, std::deque<LoggedCall>> unclaimed_;  // no stop has come yet
  std::set<uint32_t> known_;                              // tasks that had an event
  uint64_t unmatched_ = 0;
  uint64_t gaps_ = 0;
  std::string problem_;
};

}  // namespace migrate
