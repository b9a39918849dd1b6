// `migrated`: the node daemon. Wiring only: configuration, journal, services, and the loop that
// waits for signals and timers.
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "migrated/address_watch.h"
#include "migrated/config.h"
#include "migrated/fault_point.h"
#include "migrated/journal.h"
#include "migrated/node.h"
#include "migrated/recordings.h"
#include "migrated/registry.h"
#include "migrated/relay_leads.h"
#include "migrated/relays.h"
#include "migrated/services.h"
#include "migrated/ship/chunk_stream.h"
#include "migrated/systemd.h"
#include "migrated/watchdog.h"

namespace migrate {
namespace {

constexpr auto kLeaseInterval = std::chrono::seconds(2);

struct Flags {
  std::string config_file;
  std::string control;
  std::string peer;
  bool insecure = false;
  bool insecure_anywhere = false;
  std::string log_level;
};

Result<Config> Configure(const Flags& flags) {
  Config config;
  const bool default_exists = std::filesystem::exists("/etc/migrated.toml");
  if (!flags.config_file.empty()) {
    config = TRY(LoadConfig(flags.config_file));
  } else if (default_exists) {
    config = TRY(LoadConfig("/etc/migrated.toml"));
  } else {
    config = TRY(ParseConfig("", "defaults"));
  }
  if (!flags.control.empty()) {
    config.control_socket = flags.control;
  }
  if (!flags.peer.empty()) {
    config.peer_listen = flags.peer;
  }
  if (!flags.log_level.empty()) {
    config.log_level = flags.log_level;
  }
  config.insecure = config.insecure || flags.insecure;
  config.insecure_anywhere = config.insecure_anywhere || flags.insecure_anywhere;
  TRY(ValidateConfig(config));
  return config;
}

Result<> MakeDirectories(const Config& config) {
  std::error_code error;
  for (const std::string& path :
       {config.state_dir, std::filesystem::path(config.control_socket).parent_path().string(),
        config.runtime_state_dir}) {
    std::filesystem::create_directories(path, error);
    if (error) {
      return MakeError(ErrorCode::kPermissionDenied,
                       "cannot make " + path + ": " + error.message() + " (migrated needs root)");
    }
  }
  chmod(config.state_dir.c_str(), 0700);
  return {};
}

// The daemon's loop: leases of the migrations that come in, and the signals that end it.
class Loop {
 public:
  explicit Loop(Registry& registry) : registry_(registry) {
    signals_.async_wait([this](const boost::system::error_code&, int signal) {
      spdlog::info("signal {}: ending", signal);
      context_.stop();
    });
    Arm();
  }
  void Run() { context_.run(); }

 private:
  void Arm() {
    timer_.expires_after(kLeaseInterval);
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) {
        registry_.CheckLeases();
        Arm();
      }
    });
  }

  Registry& registry_;
  boost::asio::io_context context_{1};
  boost::asio::signal_set signals_{context_, SIGINT, SIGTERM};
  boost::asio::steady_timer timer_{context_};
};

Result<> Serve(const Config& config) {
  TRY(MakeDirectories(config));
  auto journal = TRY(Journal::Open(config.state_dir + "/journal.db"));
  ShipService ship;
  Node node(config, std::move(journal), &ship);
  const v1::Node self = node.Describe();
  for (const std::string& problem : self.problems()) {
    spdlog::warn("this host cannot migrate yet: {}", problem);
  }
  TRY(TakeOverFromWatchdogs(config.state_dir));
  Registry registry(node);
  Recordings recordings(node, registry);
  TRY(recordings.Recover());  // before an operator can start one anew
  const std::unique_ptr<Services> services = TRY(Services::Start(node, registry, recordings));
  TRY(registry.Recover());
  TRY(WriteStandingPlans(node));
  const AddressWatch addresses(node);
  const RelayLeads leads(node);
  Loop loop(registry);
  spdlog::info("migrated {} as {}: operators on {}, peers on {}{}", MIGRATE_VERSION,
               config.node_name, config.control_socket, config.peer_listen,
               config.insecure ? " (INSECURE: no TLS)" : "");
  NotifySystemd("READY=1");
  loop.Run();
  NotifySystemd("STOPPING=1");
  return {};
}

void ListFaultPoints() {
  for (const FaultRow& row : kFaultTable) {
    std::printf("%-16s %s %-10s %s\n", std::string(row.name).c_str(),
                row.side == FaultSide::kSource   ? "source"
                : row.side == FaultSide::kTarget ? "target"
                                                 : "origin",
                std::string(row.phase).c_str(), row.after_commit ? "after" : "before");
  }
}

}  // namespace

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app(
      "The node daemon of migrate: moves running Docker containers to and from this host.\n"
      "Reads /etc/migrated.toml if there is one; flags override it.",
      "migrated");
  app.set_version_flag("--version", "migrated " MIGRATE_VERSION);
  app.add_option("-c,--config", flags.config_file, "configuration file (TOML)");
  app.add_option("--control", flags.control, "unix socket for the command line");
  app.add_option("--listen", flags.peer, "address:port for other daemons");
  app.add_flag("--insecure", flags.insecure,
               "no TLS between daemons: for a testbed, on a private address only");
  app.add_flag("--insecure-anywhere", flags.insecure_anywhere,
               "with --insecure: even on an address that is not private");
  app.add_option("--log-level", flags.log_level, "trace, debug, info, warn or error");
  bool list_fault_points = false;
  app.add_flag("--list-fault-points", list_fault_points,
               "for tests: the points that MIGRATED_FAULTS can name")
      ->group("");
  CLI11_PARSE(app, argc, argv);
  if (list_fault_points) {
    ListFaultPoints();
    return 0;
  }

  std::signal(SIGPIPE, SIG_IGN);
  if (const Result<> faults = LoadFaults(); !faults) {
    std::fprintf(stderr, "migrated: %s\n", faults.error().message.c_str());
    return 2;
  }
  const Result<Config> config = Configure(flags);
  if (!config) {
    std::fprintf(stderr, "migrated: %s\n", config.error().message.c_str());
    return 2;
  }
  spdlog::set_level(spdlog::level::from_str(config->log_level));
  spdlog::flush_on(spdlog::level::info);
  const Result<> served = Serve(*config);
  if (!served) {
    std::fprintf(stderr, "migrated: %s\n", served.error().message.c_str());
    return 1;
  }
  return 0;
}

}  // namespace migrate

int main(int argc, char** argv) { return migrate::Main(argc, argv); }
