// The part of TargetMigration (target_migration.h) that takes in what the source ships: image,
// files, checkpoint.
#include <fcntl.h>

#include <condition_variable>
#include <filesystem>

#include "base/file_util.h"
#include "migrated/call_scope.h"
#include "migrated/docker/image_transfer.h"
#include "migrated/fault_point.h"
#include "migrated/ship/chunk_stream.h"
#include "migrated/target_migration.h"

namespace migrate {

// The thread reads the stream to its end, whatever becomes of the calls that wait for it. It ends
// at the latest when the stream does: with the migration, or some time after the source's last
// sign.
struct TargetMigration::Reception {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::optional<Result<v1::ReceiveReply>> result;  // guarded by mutex
  std::jthread thread;
};

std::shared_ptr<TargetMigration::Reception> TargetMigration::ReceptionOf(
    const v1::ReceiveRequest& request) {
  const std::lock_guard lock(receptions_mutex_);
  auto& reception = receptions_[request.stream() + "/" + std::to_string(request.number())];
  if (!reception) {
    reception = std::make_shared<Reception>();
    ++receiving_;
    reception->thread = std::jthread([this, request, own = reception.get()] {
      Result<v1::ReceiveReply> result =
          request.has_image() ? ReceiveImage(request) : ReceiveTrees(request);
      --receiving_;
      const std::lock_guard done(own->mutex);
      own->result = std::move(result);
      own->changed.notify_all();
    });
  }
  return reception;
}

Result<v1::ReceiveReply> TargetMigration::Receive(const v1::ReceiveRequest& request,
                                                  const std::stop_token& stop) {
  // Files and checkpoint arrive at the same time: these calls do not exclude each other.
  const CallScope call_scope(calls_, last_contact_ms_);
  TRY(RequireOpen());
  const auto reception = ReceptionOf(request);
  std::unique_lock lock(reception->mutex);
  if (!reception->changed.wait(
          lock, stop, [&] { return reception->result.has_value() || !NoInterference(); })) {
    return MakeError(ErrorCode::kCancelled, "the call was cancelled");
  }
  TRY(NoInterference());
  return *reception->result;
}

Result<v1::ReceiveReply> TargetMigration::ReceiveImage(const v1::ReceiveRequest& request) {
  progress_.EnterPhase(v1::PHASE_PRESYNC);
  const std::string& image_id = request.image().image_id();
  auto source = TRY(node_.ship().Accept(StreamKey{id_, request.stream(), request.number()}));
  if (auto loaded = ::migrate::ReceiveImage(node_.docker(), image_id, request.image().image_name(),
                                            *source, OnCreated());
      !loaded) {
    source->Fail(loaded.error());
    return loaded.error();
  }
  return v1::ReceiveReply();
}

Result<std::string> TargetMigration::TreeRoot(const v1::TreeName& tree) {
  const std::string directory = node_.MigrationDirectoryPath(id_);
  std::string path;
  switch (tree.kind()) {
    case v1::TreeName::CHECKPOINT:
      path = directory + "/image";
      break;
    case v1::TreeName::LOGS:
      path = directory + "/logs";
      break;
    default:
      if (!replica_) {
        return MakeError(ErrorCode::kFailedPrecondition, "files came before the container");
      }
      if (tree.kind() == v1::TreeName::WRITABLE_LAYER) {
        return replica_->upper_dir;
      }
      if (tree.kind() == v1::TreeName::VOLUME && replica_->volume_paths.contains(tree.name())) {
        return replica_->volume_paths.at(tree.name());
      }
      if (tree.kind() == v1::TreeName::BIND_MOUNT && replica_->bind_paths.contains(tree.name())) {
        return replica_->bind_paths.at(tree.name());
      }
      return MakeError(ErrorCode::kInvalidArgument,
                       "the container has no mount '" + tree.name() + "'");
  }
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    return ErrnoError("mkdir " + path, error.value());
  }
  return path;
}

Result<std::shared_ptr<FileTreeReceiver>> TargetMigration::ReceiverFor(const v1::TreeName& tree) {
  const std::lock_guard lock(mutex_);
  const std::string key = std::to_string(tree.kind()) + tree.name();
  auto& receiver = receivers_[key];
  if (!receiver) {
    const std::string root = TRY(TreeRoot(tree));
    FileTreeReceiverOptions options;
    // Only a writable layer has devices of its own (whiteouts); elsewhere they are not followed.
    options.allow_devices =
        tree.kind() == v1::TreeName::WRITABLE_LAYER || tree.kind() == v1::TreeName::VOLUME;
    receiver =
        std::make_shared<FileTreeReceiver>(TRY(OpenFile(root, O_RDONLY | O_DIRECTORY)), options);
  }
  return receiver;
}

Result<v1::ReceiveReply> TargetMigration::ReceiveTrees(const v1::ReceiveRequest& request) {
  auto source = TRY(node_.ship().Accept(StreamKey{id_, request.stream(), request.number()}));
  v1::ReceiveReply reply;
  for (const v1::TreeName& tree : request.trees().trees()) {
    auto receiver = ReceiverFor(tree);
    if (!receiver) {
      source->Fail(receiver.error());
      return receiver.error();
    }
    auto stats = (*receiver)->ReceiveRound(*source);
    if (!stats) {
      source->Fail(stats.error());
      return stats.error();
    }
    reply.set_bytes(reply.bytes() + stats->bytes_sent);
  }
  std::array<std::byte, 1> end{};
  if (TRY(source->Read(end)) != 0) {
    return MakeError(ErrorCode::kDataLoss, "more data than announced in " + request.stream());
  }
  TRY(Fault(FaultPoint::kTargetReceived));
  return reply;
}

// On the thread of Docker's events. Whoever waits for a stream is told at once.
void TargetMigration::OnInterference(const Error& what) {
  {
    const std::lock_guard lock(interference_mutex_);
    interference_ = what;
  }
  const std::lock_guard lock(receptions_mutex_);
  for (const auto& [name, reception] : receptions_) {
    const std::lock_guard waiting(reception->mutex);
    reception->changed.notify_all();
  }
}

}  // namespace migrate
