// What the two ends of a file tree share with their users: statistics, limits, progress.
//
// A tree (writable layer, volume, log files, checkpoint directory) travels in rounds: presync
// rounds while the container runs and writes, and a final one in the freeze that carries only the
// difference. FileTreeSender and FileTreeReceiver are the ends; proto/file_tree.proto is between
// them; byte_stream.h is the transport. Kept: content, holes, hard links, owners, modes, mtimes to
// the nanosecond, all user/trusted/security xattrs and ACLs, fifos, sockets, devices, whiteouts.
// Not kept: atime, ctime, birth time, preallocated but unwritten space, inode flags (chattr).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace migrate {

struct RoundStats {
  std::uint64_t entries = 0;        // seen by the sender; named in the stream, for the receiver
  std::uint64_t files_changed = 0;  // whose content, whole or in part, was in the stream
  std::uint64_t bytes_read = 0;     // of file content, on this host
  std::uint64_t bytes_sent = 0;     // on the stream, frames included
  std::uint64_t removed = 0;        // names, a subtree counting as one
  std::uint64_t unstable = 0;       // changed or vanished under the walk; for the next round
  bool final = false;
  std::chrono::microseconds elapsed{0};
};

// Bytes on the stream of this round so far. Called by the thread that runs the round, at most about
// every 100 ms.
using TreeProgress = std::function<void(std::uint64_t bytes)>;

namespace limits {
inline constexpr std::size_t kMaxNameBytes = 255;
inline constexpr std::size_t kMaxTreeEntries = 4'000'000;
inline constexpr std::size_t kMaxTreeXattrTotalBytes = 1024 * 1024;  // of one entry
inline constexpr std::size_t kMaxTreeFrameBytes = 2 * 1024 * 1024;
inline constexpr std::size_t kTreePieceBytes = 256 * 1024;  // one read, one TreeData at most
inline constexpr std::size_t kTreeWriteBytes = 256 * 1024;  // collected before a ByteSink write
// 24 bytes each. Files beyond it are sent whole when they change.
inline constexpr std::size_t kMaxTreeIndexBlocks = 8'000'000;
inline constexpr auto kTreeProgressInterval = std::chrono::milliseconds(100);
inline constexpr auto kTreeFollowInterval = std::chrono::milliseconds(5);
}  // namespace limits

}  // namespace migrate
