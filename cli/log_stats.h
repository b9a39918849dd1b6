// What `migrate log` selects, and what `migrate log --stats` says of a log. Values; no output here.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "proto/event_log_reader.h"

namespace migrate {

struct LogFilter {
  std::optional<std::uint32_t> task = {};     // its own events and its birth
  std::optional<std::uint16_t> syscall = {};  // number
  std::uint64_t from = 0;                // LSN, both included
  std::uint64_t to = std::numeric_limits<std::uint64_t>::max();

  bool Matches(const Event& event) const;
};

// Counts events; the two renderings are of what was added so far.
class LogStats {
 public:
  void Add(const Event& event);

  // `reader`: for what is known of the log as far as it was read: chunks, times, epoch, end.
  std::string Text(const EventLogReader& reader) const;
  nlohmann::json Json(const EventLogReader& reader) const;

 private:
  struct Row {
    std::uint64_t count = 0;
    std::uint64_t errors = 0;
    std::uint64_t bytes = 0;  // of frames
  };
  struct Task {
    std::uint64_t events = 0;
    std::uint64_t bytes = 0;
    std::uint64_t first_lsn = 0;
    std::uint64_t last_lsn = 0;
    bool exited = false;
  };
  struct Clocks {
    std::uint64_t calls = 0;     // clock_gettime and the like
    std::uint64_t readings = 0;  // without a syscall
    std::uint64_t reading_events = 0;
    std::uint64_t reading_bytes = 0;
    std::uint64_t tsc = 0;
  };

  // In the order of their share.
  std::vector<std::pair<std::string, Row>> Rows() const;

  Row total_;
  std::map<std::uint16_t, Row> syscalls_;
  std::map<event_kind, Row> others_;
  std::map<std::uint32_t, Task> tasks_;
  Clocks clocks_;
};

}  // namespace migrate
