// migrate-runtime: runc, but `create` is a CRIU restore where a restore ticket exists (ticket.h).
// Docker calls it as a registered runtime; everything that is not about a ticket is handed to runc
// by exec, unchanged.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "migrated/oci_runtime/daemon_json.h"
#include "migrated/oci_runtime/restore.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

int ExecRunc(const CommandLine& line) {
  const std::string program = line.runc.empty() ? "runc" : line.runc;
  std::vector<std::string> words{"runc"};
  words.insert(words.end(), line.passed_on.begin(), line.passed_on.end());
  std::vector<char*> pointers;
  for (std::string& word : words) {
    pointers.push_back(word.data());
  }
  pointers.push_back(nullptr);
  execvp(program.c_str(), pointers.data());
  return ReportFailure(line, ErrnoError("start " + program).message);
}

// Only of the form `register [options]`, which runc has not.
int RunRegister(const std::vector<std::string>& arguments) {
  CLI::App app("Makes Docker know this runtime, by one entry in daemon.json, or forget it");
  app.name("migrate-runtime");
  std::error_code error;
  RuntimeEntry entry{"migrate", fs::read_symlink("/proc/self/exe", error), kDefaultRuntimeStateDir};
  std::string file = "/etc/docker/daemon.json";
  app.require_subcommand(1);
  for (const char* name : {"register", "unregister"}) {
    CLI::App* command = app.add_subcommand(name);
    command->add_option("--daemon-json", file, "Docker's configuration file");
    command->add_option("--name", entry.name, "name of the runtime");
    command->add_option("--path", entry.path, "this program, as Docker shall call it");
    command->add_option("--state-dir", entry.state_dir, "where the daemon leaves restore tickets");
  }
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(reversed);
  } catch (const CLI::ParseError& problem) {
    return app.exit(problem) == 0 ? 0 : 2;
  }
  const bool add = app.got_subcommand("register");
  const Result<bool> changed = add ? RegisterRuntime(file, entry) : UnregisterRuntime(file, entry);
  if (!changed) {
    std::fprintf(stderr, "migrate-runtime: %s\n", changed.error().message.c_str());
    return 1;
  }
  std::printf("%s: %s%s\n", file.c_str(),
              *changed ? (add ? "registered '" : "unregistered '") : "nothing to change for '",
              (entry.name + "'").c_str());
  return 0;
}

int Create(const CommandLine& line) {
  Result<std::optional<RestoreTicket>> ticket = TakeTicket(line.state_dir, line.id);
  if (!ticket) {
    return ReportFailure(line, ticket.error().message);
  }
  if (*ticket) {
    return RestoreAtCreate(line, **ticket);
  }
  // Of a restore whose `start` never came: it must not swallow this container's.
  std::error_code error;
  fs::remove(UsedTicketPath(line.state_dir, line.id), error);
  return ExecRunc(line);
}

int Main(const std::vector<std::string>& arguments) {
  if (!arguments.empty() && (arguments[0] == "register" || arguments[0] == "unregister")) {
    return RunRegister(arguments);
  }
  if (!arguments.empty() && arguments[0] == "hook") {
    return RunHook({arguments.begin() + 1, arguments.end()});
  }
  const CommandLine line = ParseCommandLine(arguments);
  if (line.command == "create" && !line.id.empty()) {
    return Create(line);
  }
  int status = 0;
  if (line.command == "start" && FinishAtStart(line, status)) {
    return status;
  }
  if (line.command == "start" && (AbandonPendingRestore(line) || EndForgottenRestore(line))) {
    return ReportFailure(line, "the migration was given up while the container was restored");
  }
  if (line.command == "start") {
    ReconnectRelays(line);
  }
  if (line.command == "kill" && AbandonPendingRestore(line)) {
    return 0;
  }
  if (line.command == "delete") {
    static_cast<void>(AbandonPendingRestore(line));
    std::error_code error;
    fs::remove(UsedTicketPath(line.state_dir, line.id), error);
  }
  return ExecRunc(line);
}

}  // namespace
}  // namespace migrate

int main(int argc, char** argv) { return migrate::Main({argv + 1, argv + argc}); }
