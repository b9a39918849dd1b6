// Several file trees of one container, shipped together: one ship stream per round, one round of
// each tree in it, in the order of the list. The target consumes it in its Receive call, which runs
// while we send. Used by the source's migration thread; file_tree_sender.h does the work.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "migrated/peer_client.h"
#include "migrated/ship/chunk_rate.h"
#include "migrated/ship/chunk_statistics.h"
#include "migrated/ship/file_tree_sender.h"
#include "proto/peer.pb.h"

namespace migrate {

struct ShipOptions {
  std::shared_ptr<RateLimiter> rate = {};  // shared by all streams; none: no limit
  int compression_level = 0;               // as in MigrationOptions
};

struct ShippedTree {
  v1::TreeName::Kind kind;
  std::string name;
  std::string path;  // on this host
  // Where the container sees it; empty if it does not.
  std::string mount_point = {};
  // Names in it that stay behind.
  std::vector<std::string> excludes = {};
};

class TreeShipper {
 public:
  // `stream` names the ship streams ("files", "checkpoint"); `statistics` outlives the shipper.
  static Result<std::unique_ptr<TreeShipper>> Create(PeerClient& peer, std::string migration_id,
                                                     std::string stream,
                                                     std::vector<ShippedTree> trees,
                                                     const ShipOptions& options,
                                                     StreamStatistics& statistics);

  struct Round {
    bool final = false;
    // Paths in the container of files whose change the kernel may not show in their ctime, because
    // a process has them mapped shared and writable.
    std::set<std::string> always_compare = {};
  };
  // The bytes that this round had to send, before compression.
  Result<std::uint64_t> SendRound(const Round& round, const std::stop_token& stop);

  // Sends CRIU's page files of the only tree while CRIU appends to them, until `finished`.
  Result<> SendAppended(const std::function<bool()>& finished, const std::stop_token& stop);

 private:
  struct Tree {
    ShippedTree what;
    std::unique_ptr<FileTreeSender> sender;
  };
  TreeShipper(PeerClient& peer, std::string migration_id, std::string stream,
              const ShipOptions& options, StreamStatistics& statistics);

  Result<> Send(bool final, const std::stop_token& stop,
                const std::function<Result<>(Tree&, ByteSink&)>& send_tree);
  std::set<std::string> PathsBelow(const Tree& tree, const std::set<std::string>& paths) const;

  PeerClient& peer_;
  std::string migration_id_;
  std::string stream_;
  ShipOptions options_;
  StreamStatistics& statistics_;
  std::uint32_t rounds_ = 0;
  std::vector<Tree> trees_;
};

// Runs the target's Receive call in the background while `send` feeds the stream, and returns the
// error of the side that failed first.
Result<> SendWhilePeerReceives(PeerClient& peer, const v1::ReceiveRequest& request,
                               std::uint32_t stream_number, const ShipOptions& options,
                               StreamStatistics& statistics, const std::stop_token& stop,
                               const std::function<Result<>(ByteSink&)>& send);

}  // namespace migrate
