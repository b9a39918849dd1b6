// The command line of an OCI runtime, as containerd's shim writes it for runc:
//   [global options] COMMAND [options] ID ...
// with two global options of our own, which runc does not get to see. Parsing only.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "migrated/oci_runtime/ticket.h"

namespace migrate {

struct CommandLine {
  std::filesystem::path state_dir = kDefaultRuntimeStateDir;
  std::string runc;  // empty: not told

  std::vector<std::string> passed_on;  // all arguments but our own two
  std::vector<std::string> global;     // those of them before the command
  std::string command;                 // empty: none, e.g. `--version`
  std::vector<std::string> after;      // those after the command

  // Out of `global` and `after`.
  std::filesystem::path log;     // --log: where Docker takes its message from
  bool log_json = false;         // --log-format json
  std::filesystem::path bundle;  // --bundle, by default the working directory
  std::filesystem::path pid_file;
  std::string console_socket;
  bool no_pivot = false;
  std::string id;  // the first argument that is neither option nor an option's value
};

CommandLine ParseCommandLine(const std::vector<std::string>& arguments);

}  // namespace migrate
