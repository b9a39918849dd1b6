// What every part of one daemon shares: configuration, journal, Docker, the bulk transport, and
// what this host is. Made once in main(), outlives everything else. Its members are thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "migrated/config.h"
#include "migrated/docker/docker_client.h"
#include "migrated/journal.h"
#include "migrated/peer_client.h"
#include "proto/control.pb.h"

namespace migrate {

class DockerEvents;
class HoldKeeper;
class ShipService;

class Node {
 public:
  Node(Config config, std::unique_ptr<Journal> journal, ShipService* ship);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const Config& config() const { return config_; }
  Journal& journal() const { return *journal_; }
  DockerClient& docker() const { return *docker_; }
  ShipService& ship() const { return *ship_; }
  DockerEvents& docker_events() const { return *docker_events_; }
  HoldKeeper& holds() const { return *holds_; }

  // The criu to use, by the configuration or in PATH.
  Result<std::string> CriuProgram() const;

  // Whether CRIU can dump processes of other users than root here (foreign_limits.h). Found out
  // once in the life of the daemon.
  Result<> ForeignLimits() const;

  // Looks again: Docker may have been restarted, CRIU installed.
  v1::Node Describe() const;

  // The directory of one migration below the state directory; made if it is missing.
  Result<std::string> MigrationDirectory(const std::string& migration_id) const;
  std::string MigrationDirectoryPath(const std::string& migration_id) const;

  Result<std::unique_ptr<PeerClient>> ConnectPeer(const std::string& endpoint) const;

 private:
  Result<std::string> CriuVersion() const;

  Config config_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<DockerClient> docker_;
  std::unique_ptr<DockerEvents> docker_events_;
  std::unique_ptr<HoldKeeper> holds_;
  ShipService* ship_;
  mutable std::mutex mutex_;
  mutable std::optional<Result<>> foreign_limits_;  // guarded
  mutable std::string criu_version_;                // guarded; empty until a usable one was found
};

// Features of this CPU that programs look for and then rely on, as /proc/cpuinfo names them.
std::vector<std::string> CpuFeatures();

}  // namespace migrate
