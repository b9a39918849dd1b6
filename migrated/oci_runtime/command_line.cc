#include "migrated/oci_runtime/command_line.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

namespace migrate {
namespace {

// Options that take a value, which may be the next argument. Any other option is taken as a flag.
constexpr std::array<std::string_view, 19> kWithValue{
    "log",    "log-format", "root",     "criu",           "rootless",     "state-dir",    "runc",
    "bundle", "b",          "pid-file", "console-socket", "preserve-fds", "pidfd-socket", "process",
    "p",      "apparmor",   "cwd",      "user",           "env"};

struct Option {
  std::string name;
  std::string value;
  std::size_t words = 1;  // arguments that it takes up
};

// One or two dashes, "=value" or the next argument: runc's own parser takes all four.
std::optional<Option> ParseOption(const std::vector<std::string>& arguments, std::size_t at) {
  const std::string& text = arguments[at];
  if (text.size() < 2 || text[0] != '-' || text == "--") {
    return std::nullopt;
  }
  const std::string body = text.substr(text[1] == '-' ? 2 : 1);
  Option option;
  if (const auto equals = body.find('='); equals != std::string::npos) {
    option.name = body.substr(0, equals);
    option.value = body.substr(equals + 1);
    return option;
  }
  option.name = body;
  if (std::find(kWithValue.begin(), kWithValue.end(), body) != kWithValue.end() &&
      at + 1 < arguments.size()) {
    option.value = arguments[at + 1];
    option.words = 2;
  }
  return option;
}

void TakeCommandOption(const Option& option, CommandLine& line) {
  if (option.name == "bundle" || option.name == "b") {
    line.bundle = option.value;
  } else if (option.name == "pid-file") {
    line.pid_file = option.value;
  } else if (option.name == "console-socket") {
    line.console_socket = option.value;
  } else if (option.name == "no-pivot") {
    line.no_pivot = option.value != "false";
  }
}

// True if the option is ours.
bool TakeGlobalOption(const Option& option, CommandLine& line) {
  if (option.name == "state-dir") {
    line.state_dir = option.value;
  } else if (option.name == "runc") {
    line.runc = option.value;
  } else if (option.name == "log") {
    line.log = option.value;
  } else if (option.name == "log-format") {
    line.log_json = option.value == "json";
  }
  return option.name == "state-dir" || option.name == "runc";
}

}  // namespace

CommandLine ParseCommandLine(const std::vector<std::string>& arguments) {
  CommandLine line;
  std::size_t at = 0;
  while (at < arguments.size()) {
    const auto option = ParseOption(arguments, at);
    if (!option) {
      break;
    }
    if (!TakeGlobalOption(*option, line)) {
      for (std::size_t i = 0; i < option->words; ++i) {
        line.global.push_back(arguments[at + i]);
      }
    }
    at += option->words;
  }
  line.passed_on = line.global;
  if (at < arguments.size()) {
    line.command = arguments[at];
    line.after.assign(arguments.begin() + static_cast<std::ptrdiff_t>(at) + 1, arguments.end());
    line.passed_on.insert(line.passed_on.end(), arguments.begin() + static_cast<std::ptrdiff_t>(at),
                          arguments.end());
  }
  for (std::size_t i = 0; i < line.after.size();) {
    const auto option = ParseOption(line.after, i);
    if (option) {
      TakeCommandOption(*option, line);
    } else if (line.id.empty()) {
      line.id = line.after[i];
    }
    i += option ? option->words : 1;
  }
  std::error_code error;
  line.bundle = line.bundle.empty() ? std::filesystem::current_path(error)
                                    : std::filesystem::absolute(line.bundle, error);
  return line;
}

}  // namespace migrate
