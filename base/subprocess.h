// Runs a program to its end with captured output. For the few programs that have no library (runc,
// criu). The child gets no descriptor of ours but those named, and is killed (its whole process
// group) at the timeout. Thread-safe; blocks the caller.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"

namespace migrate {

struct SubprocessOptions {
  std::vector<std::string> argv;                              // argv[0] is looked up in PATH
  std::vector<std::pair<std::string, std::string>> env = {};  // added to, or replacing, our own
  std::string working_directory = {};                         // empty: ours
  std::chrono::milliseconds timeout{30000};
  // Descriptors that the child gets, as pairs (ours, number in the child).
  std::vector<std::pair<FdRef, int>> inherit = {};
};

struct SubprocessOutcome {
  int exit_code = 0;  // 128 + signal if it was killed
  bool timed_out = false;
  std::string stdout_text;  // each cut at kSubprocessMaxOutputBytes
  std::string stderr_text;

  bool ok() const { return exit_code == 0 && !timed_out; }
};

// An Error only if the program could not be started; its failure is in the outcome.
Result<SubprocessOutcome> RunSubprocess(const SubprocessOptions& options);

}  // namespace migrate
