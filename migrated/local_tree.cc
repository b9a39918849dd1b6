#include "migrated/local_tree.h"

#include <fcntl.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include "base/file_util.h"
#include "migrated/ship/file_tree_receiver.h"
#include "migrated/ship/file_tree_sender.h"

namespace migrate {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

// The stream between the two threads of a round. Whichever side fails ends the other.
class Pipe : public ByteSink, public ByteSource {
 public:
  Result<> Write(std::span<const std::byte> data) override {
    while (!data.empty()) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return broken_ || buffer_.size() < kBufferBytes; });
      if (broken_) {
        return MakeError(ErrorCode::kCancelled, "cancelled");
      }
      const std::size_t size = std::min(data.size(), kBufferBytes - buffer_.size());
      buffer_.insert(buffer_.end(), data.begin(), data.begin() + static_cast<std::ptrdiff_t>(size));
      data = data.subspan(size);
      changed_.notify_all();
    }
    return {};
  }

  Result<> Finish() override {
    const std::lock_guard lock(mutex_);
    finished_ = true;
    changed_.notify_all();
    return {};
  }

  Result<std::size_t> Read(std::span<std::byte> buffer) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return broken_ || finished_ || !buffer_.empty(); });
    if (broken_) {
      return MakeError(ErrorCode::kCancelled, "cancelled");
    }
    const std::size_t size = std::min(buffer.size(), buffer_.size());
    std::copy_n(buffer_.begin(), size, buffer.begin());
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(size));
    changed_.notify_all();
    return size;
  }

  void Break() {
    const std::lock_guard lock(mutex_);
    broken_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::byte> buffer_;
  bool finished_ = false;
  bool broken_ = false;
};

}  // namespace

LocalTreeCopy::LocalTreeCopy() = default;
LocalTreeCopy::~LocalTreeCopy() = default;

Result<std::unique_ptr<LocalTreeCopy>> LocalTreeCopy::Create(const std::string& from,
                                                             const std::string& to,
                                                             std::vector<std::string> excludes) {
  std::error_code error;
  std::filesystem::create_directories(to, error);
  if (error) {
    return ErrnoError("mkdir " + to, error.value());
  }
  std::unique_ptr<LocalTreeCopy> copy(new LocalTreeCopy());
  FileTreeSenderOptions sender;
  sender.excludes = std::move(excludes);
  // What a copied-up file was copied from is known by a file handle of this host's disk.
  sender.skip_xattrs = {"trusted.overlay.origin"};
  copy->sender_ = std::make_unique<FileTreeSender>(TRY(OpenFile(from, O_RDONLY | O_DIRECTORY)),
                                                   std::move(sender));
  FileTreeReceiverOptions receiver;
  receiver.allow_devices = true;  // whiteouts of overlayfs
  copy->receiver_ =
      std::make_unique<FileTreeReceiver>(TRY(OpenFile(to, O_RDONLY | O_DIRECTORY)), receiver);
  return copy;
}

Result<std::uint64_t> LocalTreeCopy::Round(bool final, const std::stop_token& stop) {
  Pipe pipe;
  const std::stop_callback cancel(stop, [&] { pipe.Break(); });
  Result<RoundStats> received;
  std::jthread receiver([&] {
    received = receiver_->ReceiveRound(pipe, stop);
    if (!received) {
      pipe.Break();
    }
  });
  RoundOptions options;
  options.final = final;
  options.stop = stop;
  const Result<RoundStats> sent = sender_->SendRound(pipe, options);
  if (!sent) {
    pipe.Break();
  }
  receiver.join();
  if (!received && received.error().code != ErrorCode::kCancelled) {
    return received.error();  // the cause of the sender's
  }
  if (!sent) {
    return sent.error();
  }
  TRY(received);
  return sent->bytes_sent;
}

}  // namespace migrate
