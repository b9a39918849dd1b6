// `migrate`: the operator's command line. Parses, then hands over to one function per command.
// `migrate CTR HOST` is the main job; it is the command "move" with its name left out.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/units.h"

namespace migrate {
namespace {

constexpr const char* kAbout =
    "usage: migrate [OPTIONS] CTR HOST\n\n"
    "Moves a running Docker container to another host: its memory, files, ports and open TCP\n"
    "connections. Until the commit point the container can always go on here, and it does when\n"
    "anything fails.\n\n"
    "  migrate web1 hostB                  move web1 to the daemon on hostB\n"
    "  migrate preflight web1 hostB        every reason why not; changes nothing\n"
    "  migrate --deadline 2m web1 hostB    give up, and let it run here, after two minutes\n"
    "  migrate status                      what is under way, in doubt, or led on from here\n"
    "  migrate status --watch              follow the newest migration\n";

constexpr const char* kExitCodes =
    "Exit codes: 0 moved; 1 internal error; 2 usage; 3 refused, nothing touched; 4 aborted;\n"
    "5 failed and rolled back; 6 deadline; 7 in doubt (never two copies); 8 authentication;\n"
    "9 version mismatch. Any code but 1 and 7 promises that the container runs on the source.";

constexpr std::array kCommands = {"move",  "preflight", "status", "list", "abort",
                                  "relay", "resolve",   "gc",     "node", "seccomp-profile",
                                  "record", "log"};

struct Arguments {
  std::string socket = "/run/migrated/migrated.sock";
  bool json = false;
  std::string output;
  bool quiet = false;
  std::string progress = "auto";
  MoveCommand move;
  std::string bandwidth;
  std::string deadline;
  std::string id;
  std::string out;
  bool watch = false;
  bool active = false;
  bool remove = false;
  bool moved = false;
  LogCommand log;
  v1::RemoveRelayRequest relay;
  v1::ResolveMigrationRequest resolve;
  RecordCommand record;
};

template <auto Parse>
std::string Check(const std::string& text) {
  const auto result = Parse(text);
  return result ? std::string() : result.error().message;
}

void AddMoveOptions(CLI::App& command, Arguments& arguments, bool target_required) {
  command.add_option("CTR", arguments.move.container, "name or id of the container")->required();
  auto* target = command.add_option("HOST", arguments.move.target,
                                    "host or host:port of the other daemon (port 7070)");
  if (target_required) {
    target->required();
  }
  static const std::map<std::string, v1::Mode> kModes{{"auto", v1::MODE_AUTO},
                                                      {"stop", v1::MODE_STOP}};
  static const std::map<std::string, v1::NetworkMode> kNetworkModes{
      {"relay", v1::NETWORK_MODE_RELAY},
      {"address", v1::NETWORK_MODE_ADDRESS},
      {"hook", v1::NETWORK_MODE_HOOK}};
  static const std::map<std::string, v1::BindMounts> kBindMounts{
      {"existing", v1::BIND_MOUNTS_EXISTING}, {"copy", v1::BIND_MOUNTS_COPY}};
  command
      .add_option_function<std::string>(
          "--mode",
          [&arguments](const std::string& name) {
            arguments.move.options.set_mode(kModes.at(name));
          },
          "auto: the best way there is; stop: stop, copy, start (all there is so far)")
      ->check(CLI::IsMember({"auto", "stop"}));
  command
      .add_option_function<std::string>(
          "--bind-mounts",
          [&arguments](const std::string& name) {
            arguments.move.options.set_bind_mounts(kBindMounts.at(name));
          },
          "existing: refuse unless the same path is there; copy: ship the contents")
      ->check(CLI::IsMember({"existing", "copy"}));
  command
      .add_option_function<std::string>(
          "--network",
          [&arguments](const std::string& name) {
            arguments.move.options.set_network_mode(kNetworkModes.at(name));
          },
          "relay: clients go on through this host (default); address: the container's address\n"
          "moves; hook: a command of this host's configuration leads them")
      ->check(CLI::IsMember({"relay", "address", "hook"}));
  command
      .add_option("--bandwidth", arguments.bandwidth, "at most so many bytes per second, e.g. 200M")
      ->check(Check<ParseBytes>, "BYTES");
  command
      .add_option("--deadline", arguments.deadline,
                  "give up before the commit point after this time, e.g. 2m (default 10m)")
      ->check(Check<ParseDuration>, "DURATION");
  command
      .add_option_function<int>(
          "--compression",
          [&arguments](int level) { arguments.move.options.set_compression_level(level); },
          "zstd level 1 to 19; 0 adapts (default), -1 is off")
      ->check(CLI::Range(-1, 19));
  command.add_flag_function(
      "--rm", [&arguments](std::int64_t) { arguments.move.options.set_remove_source(true); },
      "remove the stopped source container after the move");
}

void AddRelayCommands(CLI::App& app, Arguments& arguments) {
  auto* relay =
      app.add_subcommand("relay", "what this host does for containers that left it: list, or rm");
  relay->require_subcommand(1);
  relay->add_subcommand("list", "where to, which ports, live connections, since when");
  auto* remove = relay->add_subcommand(
      "rm", "end one for good; refused while connections use it. New clients are then refused");
  remove
      ->add_option_function<std::string>(
          "RELAY", [&arguments](const std::string& text) { arguments.relay.set_relay(text); },
          "id of the relay, or name or id of the container")
      ->required();
  remove->add_flag_function(
      "--force,-f", [&arguments](std::int64_t) { arguments.relay.set_force(true); },
      "end live connections (both ends see a reset), and do without the other daemon");
}

void AddResolveCommand(CLI::App& app, Arguments& arguments) {
  using Request = v1::ResolveMigrationRequest;
  auto* resolve = app.add_subcommand(
      "resolve",
      "end a migration in doubt whose other host is gone for good. Refused while the other\n"
      "daemon answers: then it is decided without you. Without a verdict: what each side knows");
  resolve
      ->add_option_function<std::string>(
          "ID", [&arguments](const std::string& text) { arguments.resolve.set_id(text); },
          "id of the migration")
      ->required();
  auto* run = resolve->add_flag_function(
      "--run-here",
      [&arguments](std::int64_t) { arguments.resolve.set_verdict(Request::RUN_HERE); },
      "the container goes on here");
  auto* end = resolve->add_flag_function(
      "--end-here",
      [&arguments](std::int64_t) { arguments.resolve.set_verdict(Request::END_HERE); },
      "the copy here ends for good");
  run->excludes(end);
  resolve->add_flag_function(
      "--peer-is-gone", [&arguments](std::int64_t) { arguments.resolve.set_peer_is_gone(true); },
      "you assert that the container does not run on the other host and never will again\n"
      "(--run-here), or that it runs there or may be lost (--end-here); asked for on a terminal");
}

void AddRecordCommand(CLI::App& app, Arguments& arguments) {
  auto* record = app.add_subcommand(
      "record",
      "a checkpoint, and the log of everything that the container does from then on, into a\n"
      "directory of this host; the container goes on. `migrate log DIR` reads it");
  v1::RecordRequest& request = arguments.record.request;
  const auto set_flag = [&](const char* name, void (v1::RecordRequest::*setter)(bool),
                            const char* help) {
    record->add_flag_function(
        name, [&request, setter](std::int64_t) { (request.*setter)(true); }, help);
  };
  record
      ->add_option_function<std::string>(
          "CTR", [&request](const std::string& name) { request.set_container(name); },
          "name or id of a running container")
      ->required();
  record
      ->add_option_function<std::string>(
          "--out",
          [&request](const std::string& path) {
            request.set_directory(std::filesystem::absolute(path).lexically_normal());
          },
          "the directory, made, or empty")
      ->required();
  record->add_option_function<double>(
            "--seconds",
            [&request](double seconds) {
              request.set_duration_ms(static_cast<std::uint64_t>(seconds * 1000));
            },
            "how long; without it until Ctrl-C")
      ->check(CLI::Range(0.001, 1e6));
  record->add_option_function<int>(
            "--cpu", [&request](int cpu) { request.set_cpu_plus_one(cpu + 1); },
            "the CPU that the container runs on meanwhile (default: the idlest)")
      ->check(CLI::NonNegativeNumber);
  record->add_option_function<int>(
            "--compression",
            [&request](int level) { request.set_compression_level(level == 0 ? -1 : level); },
            "zstd level of the log, 0 to 19 (default 1)")
      ->check(CLI::Range(0, 19));
  set_flag("--without-files", &v1::RecordRequest::set_without_files,
           "do not copy the container's files (then it can be replayed here only)");
  set_flag("--slow-clocks", &v1::RecordRequest::set_slow_clocks,
           "clock readings become system calls");
  set_flag("--trap-tsc", &v1::RecordRequest::set_trap_tsc,
           "also log rdtsc instructions; clock readings become system calls");
  set_flag("--file-reads", &v1::RecordRequest::set_log_own_copies,
           "also log what is read from files that a replica has as well");
  set_flag("--inputs", &v1::RecordRequest::set_log_input_bytes,
           "also log what the container writes and sends");
}

void AddLogCommand(CLI::App& app, Arguments& arguments) {
  LogCommand& log = arguments.log;
  auto* command = app.add_subcommand(
      "log", "print what was recorded, a line for each event as strace would; needs no daemon.\n"
             "Exit codes here: 0; 1 the log is corrupt or cannot be read; 2 there is none");
  command->add_option("DIR", log.directory, "directory of a recording")->required();
  command->add_flag("--follow,-f", log.follow, "wait for more until the recording ends");
  command->add_option("--task,-t", log.task, "only events of this task (id inside the container)");
  command->add_option("--syscall", log.syscall, "only this syscall");
  command->add_option("--from", log.from, "first LSN");
  command->add_option("--to", log.to, "last LSN");
  command->add_flag("--stats", log.stats,
                    "instead of the events: counts, errors and bytes of each kind, rates, tasks");
  command
      ->add_option("-s", log.string_size,
                   "bytes shown of each string, elements of each array; paths are whole")
      ->capture_default_str();
}

void AddCommands(CLI::App& app, Arguments& arguments) {
  auto* move = app.add_subcommand("move", "move a container (the default: migrate CTR HOST)");
  AddMoveOptions(*move, arguments, true);
  move->add_flag("--detach", arguments.move.detach, "print the id and return at once");
  move->add_flag("--dry-run", arguments.move.dry_run, "the same as preflight");
  move->add_option("--request-id", arguments.move.request_id,
                   "the same id never starts a second migration");
  auto* preflight =
      app.add_subcommand("preflight", "list every reason why it would be refused; change nothing");
  AddMoveOptions(*preflight, arguments, false);
  auto* status =
      app.add_subcommand("status", "one migration; without an ID the whole host at a glance");
  status->add_option("ID", arguments.id, "id of the migration");
  status->add_flag("--watch,--wait,-w", arguments.watch,
                   "follow it (without an ID: the newest) to its end, also through a doubt");
  auto* list = app.add_subcommand("list", "all migrations that this daemon remembers");
  list->add_flag("--active", arguments.active, "only those under way");
  auto* abort = app.add_subcommand("abort", "abort a migration; the container goes on here");
  abort->add_option("ID", arguments.id, "id of the migration")->required();
  AddRelayCommands(app, arguments);
  AddResolveCommand(app, arguments);
  AddRecordCommand(app, arguments);
  auto* gc = app.add_subcommand("gc", "show, or remove, what dead migrations left on this host");
  gc->add_flag("--remove", arguments.remove, "remove it");
  gc->add_flag("--moved", arguments.moved,
               "also the stopped containers that moved away, and their relays");
  app.add_subcommand("node", "what this host can do, and what keeps it from migrating");
  auto* profile = app.add_subcommand(
      "seccomp-profile",
      "for `docker run --security-opt seccomp=FILE`: Docker's default, without what cannot be\n"
      "recorded; programs find other ways. Needs no daemon");
  profile->add_option("--out", arguments.out, "write it to this file instead of printing it");
  AddLogCommand(app, arguments);
  app.require_subcommand(1);
}

OutputOptions Output(const Arguments& arguments) {
  OutputOptions output;
  output.json = arguments.json || arguments.output == "json";
  static const std::map<std::string, ProgressStyle> kStyles{{"plain", ProgressStyle::kPlain},
                                                            {"json", ProgressStyle::kJson},
                                                            {"none", ProgressStyle::kNone},
                                                            {"bar", ProgressStyle::kBar}};
  if (arguments.quiet) {
    output.progress = ProgressStyle::kNone;
  } else if (const auto style = kStyles.find(arguments.progress); style != kStyles.end()) {
    output.progress = style->second;
  } else {
    output.progress = isatty(STDERR_FILENO) == 1 ? ProgressStyle::kBar : ProgressStyle::kPlain;
  }
  return output;
}

ExitCode Dispatch(const CLI::App& app, Arguments& arguments) {
  const std::string name = app.get_subcommands().front()->get_name();
  if (name == "seccomp-profile") {
    return RunSeccompProfile(arguments.out);
  }
  if (name == "log") {
    arguments.log.json = Output(arguments).json;
    return RunLog(arguments.log);
  }
  if (name == "record" || (name == "move" && !arguments.move.detach) || (name == "status" && arguments.watch)) {
    BlockInterrupts();
  }
  const Client client = ConnectToDaemon(arguments.socket);
  const OutputOptions output = Output(arguments);
  if (!arguments.bandwidth.empty()) {
    arguments.move.options.set_bandwidth(*ParseBytes(arguments.bandwidth));
  }
  if (!arguments.deadline.empty()) {
    arguments.move.options.set_deadline_ms(
        static_cast<std::uint64_t>(ParseDuration(arguments.deadline)->count()));
  }
  if (name == "move") {
    return RunMove(client, arguments.move, output);
  }
  if (name == "preflight") {
    return RunPreflight(client, arguments.move, output);
  }
  if (name == "status") {
    return RunStatus(client, arguments.id, arguments.watch, output);
  }
  if (name == "list") {
    return RunList(client, arguments.active, output);
  }
  if (name == "abort") {
    return RunAbort(client, arguments.id, output);
  }
  if (name == "relay") {
    const bool list = app.get_subcommand("relay")->got_subcommand("list");
    return list ? RunRelayList(client, output) : RunRelayRemove(client, arguments.relay, output);
  }
  if (name == "record") {
    return RunRecord(client, arguments.record, output);
  }
  if (name == "resolve") {
    return RunResolve(client, arguments.resolve, output);
  }
  if (name == "gc") {
    return RunGc(client, arguments.remove || arguments.moved, arguments.moved, output);
  }
  return RunNode(client, output);
}

// "migrate web1 hostB" -> "migrate move web1 hostB": the first word that is no option, and no
// value of a global option, decides.
std::vector<std::string> WithCommand(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  static constexpr std::array kGlobalWithValue = {"--socket", "-o", "--output", "--progress"};
  static constexpr std::array kMoveWithValue = {"--mode",     "--bind-mounts", "--bandwidth",
                                                "--deadline", "--compression", "--request-id",
                                                "--network"};
  const auto contains = [](const auto& names, const std::string& word) {
    return std::find(names.begin(), names.end(), word) != names.end();
  };
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (contains(kGlobalWithValue, words[i]) || contains(kMoveWithValue, words[i])) {
      ++i;
    } else if (!words[i].starts_with('-')) {
      if (!contains(kCommands, words[i])) {
        words.insert(words.begin(), "move");
      }
      break;
    }
  }
  return words;
}

}  // namespace

int Main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app(kAbout, "migrate");
  app.footer(kExitCodes);
  app.set_version_flag("--version", "migrate " MIGRATE_VERSION);
  app.add_option("--socket", arguments.socket, "unix socket of the local daemon")
      ->envname("MIGRATE_SOCKET")
      ->capture_default_str();
  app.add_flag("--json", arguments.json, "print the API message as JSON");
  app.add_option("-o,--output", arguments.output, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  app.add_flag("-q,--quiet", arguments.quiet, "no progress, only the result");
  app.add_option("--progress", arguments.progress, "auto, bar, plain, json or none")
      ->check(CLI::IsMember({"auto", "bar", "plain", "json", "none"}));
  app.fallthrough();
  AddCommands(app, arguments);

  std::vector<std::string> words = WithCommand(argc, argv);
  std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
  try {
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }
  return static_cast<int>(Dispatch(app, arguments));
}

}  // namespace migrate

int main(int argc, char** argv) { return migrate::Main(argc, argv); }
