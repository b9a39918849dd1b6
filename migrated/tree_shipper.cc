#include "migrated/tree_shipper.h"

#include <fcntl.h>

#include <thread>

#include "base/file_util.h"
#include "base/limits.h"
#include "base/stop_wait.h"
#include "migrated/ship/chunk_stream.h"

namespace migrate {
namespace {

// Moving everything else can take as long as it takes; a stream that stalls ends by itself.
constexpr auto kReceiveTimeout = std::chrono::hours(24);

SendOptions ToSendOptions(const ShipOptions& options, const std::stop_token& stop,
                          StreamStatistics& statistics) {
  SendOptions sender;
  sender.rate = options.rate;
  sender.stop = stop;
  // Borrowed: the statistics outlive the sender.
  sender.statistics = std::shared_ptr<StreamStatistics>(std::shared_ptr<void>(), &statistics);
  if (options.compression_level > 0) {
    sender.compression_level = options.compression_level;
  } else if (options.compression_level < 0) {
    sender.compression_level = 0;
  }
  return sender;
}

// The call waits at the target for as long as the stream takes. One that is lost with its
// connection, as the stream's own may be, is made again.
Result<v1::ReceiveReply> ReceiveAtPeer(PeerClient& peer, const v1::ReceiveRequest& request,
                                       const std::stop_token& stop) {
  for (int attempt = 1;; ++attempt) {
    auto received = peer.Receive(request, {.timeout = kReceiveTimeout, .stop = stop});
    if (received || received.error().reason != "PEER_UNREACHABLE" ||
        attempt > limits::kStreamReconnects ||
        WaitForStop(stop, attempt * limits::kStreamReconnectDelay)) {
      return received;
    }
  }
}

}  // namespace

Result<> SendWhilePeerReceives(PeerClient& peer, const v1::ReceiveRequest& request,
                               std::uint32_t stream_number, const ShipOptions& options,
                               StreamStatistics& statistics, const std::stop_token& stop,
                               const std::function<Result<>(ByteSink&)>& send) {
  std::stop_source both;  // whichever side fails ends the other
  const std::stop_callback outer(stop, [&] { both.request_stop(); });
  Result<v1::ReceiveReply> received;
  bool receiver_failed_first = false;
  std::jthread receiver([&] {
    received = ReceiveAtPeer(peer, request, both.get_token());
    if (!received && !both.stop_requested()) {
      receiver_failed_first = true;
      both.request_stop();
    }
  });
  Result<> sent;
  {
    ChunkSender sender(peer.BulkChannel(),
                       StreamKey{request.migration_id(), request.stream(), stream_number},
                       ToSendOptions(options, both.get_token(), statistics));
    sent = send(sender);
    if (sent) {
      sent = sender.Finish();
    }
  }
  if (!sent && sent.error().code == ErrorCode::kCancelled) {
    both.request_stop();
  }
  receiver.join();
  if (stop.stop_requested()) {
    return MakeError(ErrorCode::kCancelled, "cancelled");
  }
  if (receiver_failed_first || (sent && !received)) {
    return received.error();
  }
  return sent;
}

TreeShipper::TreeShipper(PeerClient& peer, std::string migration_id, std::string stream,
                         const ShipOptions& options, StreamStatistics& statistics)
    : peer_(peer),
      migration_id_(std::move(migration_id)),
      stream_(std::move(stream)),
      options_(options),
      statistics_(statistics) {}

Result<std::unique_ptr<TreeShipper>> TreeShipper::Create(PeerClient& peer, std::string migration_id,
                                                         std::string stream,
                                                         std::vector<ShippedTree> trees,
                                                         const ShipOptions& options,
                                                         StreamStatistics& statistics) {
  std::unique_ptr<TreeShipper> shipper(
      new TreeShipper(peer, std::move(migration_id), std::move(stream), options, statistics));
  for (ShippedTree& tree : trees) {
    OwnedFd root = TRY(OpenFile(tree.path, O_RDONLY | O_DIRECTORY));
    FileTreeSenderOptions sender;
    sender.excludes = tree.excludes;
    // What a copied-up file was copied from is known by a file handle of this host's disk.
    sender.skip_xattrs = {"trusted.overlay.origin"};
    shipper->trees_.push_back(
        {std::move(tree), std::make_unique<FileTreeSender>(std::move(root), std::move(sender))});
  }
  return shipper;
}

Result<> TreeShipper::Send(bool final, const std::stop_token& stop,
                           const std::function<Result<>(Tree&, ByteSink&)>& send_tree) {
  v1::ReceiveRequest request;
  request.set_migration_id(migration_id_);
  request.set_stream(stream_);
  request.set_number(rounds_++);
  v1::ReceiveTrees* trees = request.mutable_trees();
  trees->set_final(final);
  for (const Tree& tree : trees_) {
    v1::TreeName* name = trees->add_trees();
    name->set_kind(tree.what.kind);
    name->set_name(tree.what.name);
  }
  return SendWhilePeerReceives(peer_, request, request.number(), options_, statistics_, stop,
                               [&](ByteSink& sink) -> Result<> {
                                 for (Tree& tree : trees_) {
                                   if (auto sent = send_tree(tree, sink); !sent) {
                                     return std::move(sent).error().WithContext(tree.what.path);
                                   }
                                 }
                                 return {};
                               });
}

// Relative to the tree's root; a path belongs to the deepest mount that it lies in.
std::set<std::string> TreeShipper::PathsBelow(const Tree& tree,
                                              const std::set<std::string>& paths) const {
  const auto below = [](const std::string& path, const std::string& mount_point) {
    return !mount_point.empty() &&
           (mount_point == "/" || path.starts_with(mount_point + "/") || path == mount_point);
  };
  std::set<std::string> relative;
  for (const std::string& path : paths) {
    const Tree* owner = nullptr;
    for (const Tree& candidate : trees_) {
      if (below(path, candidate.what.mount_point) &&
          (owner == nullptr ||
           candidate.what.mount_point.size() > owner->what.mount_point.size())) {
        owner = &candidate;
      }
    }
    if (owner == &tree) {
      const std::size_t prefix =
          tree.what.mount_point == "/" ? 1 : tree.what.mount_point.size() + 1;
      relative.insert(path.size() > prefix ? path.substr(prefix) : "");
    }
  }
  return relative;
}

Result<std::uint64_t> TreeShipper::SendRound(const Round& round, const std::stop_token& stop) {
  std::uint64_t bytes = 0;
  TRY(Send(round.final, stop, [&](Tree& tree, ByteSink& sink) -> Result<> {
    RoundOptions options;
    options.final = round.final;
    options.always_compare.paths = PathsBelow(tree, round.always_compare);
    options.stop = stop;
    const RoundStats stats = TRY(tree.sender->SendRound(sink, options));
    bytes += stats.bytes_sent;
    return {};
  }));
  return bytes;
}

Result<> TreeShipper::SendAppended(const std::function<bool()>& finished,
                                   const std::stop_token& stop) {
  return Send(false, stop, [&](Tree& tree, ByteSink& sink) -> Result<> {
    TRY(tree.sender->SendAppendedFiles(sink, {.finished = finished, .stop = stop}));
    return {};
  });
}

}  // namespace migrate
