// Every bound of the program, with a name. A queue, frame, round, retry or wait that is not here
// does not exist.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace migrate::limits {

using namespace std::chrono_literals;

// gRPC (conventions: control messages are small, bulk data goes in chunks).
inline constexpr int kMaxControlMessageBytes = 4 * 1024 * 1024;
inline constexpr std::size_t kMaxChunkBytes = 1024 * 1024;
inline constexpr auto kKeepaliveTime = 10s;
inline constexpr auto kKeepaliveTimeout = 5s;
inline constexpr auto kKeepaliveServerMinimum = 5s;
inline constexpr auto kPeerCallTimeout = 30s;    // control calls between daemons
inline constexpr auto kPeerConnectTimeout = 5s;  // the first call to a peer
inline constexpr auto kRestoreTimeout = 120s;    // docker start of an empty replica; see below
inline constexpr int kStreamReconnects = 5;      // a broken bulk stream is resumed this often
inline constexpr auto kStreamReconnectDelay = 500ms;

// Migrations.
inline constexpr int kMaxActiveMigrations = 8;  // per daemon and role
inline constexpr int kPresyncRoundsMax = 5;
inline constexpr auto kDefaultDeadline = 10min;
inline constexpr int kProgressEventsKept = 256;  // per watcher; the oldest are merged
inline constexpr auto kInDoubtRetry = 2s;        // target asks the source for its decision

// Docker Engine.
inline constexpr auto kDockerTimeout = 30s;
inline constexpr auto kDockerStreamIdleTimeout = 120s;
inline constexpr std::size_t kDockerMaxResponseBytes = 64 * 1024 * 1024;

// Subprocesses.
inline constexpr std::size_t kSubprocessMaxOutputBytes = 1024 * 1024;
inline constexpr auto kRuncTimeout = 120s;
// What a dump or a restore may take on top, by the size of the memory: CRIU that is killed in the
// middle can hurt the container, so this is far below what any disk does.
inline constexpr std::uint64_t kSlowestDiskBytesPerSecond = 10'000'000;
inline constexpr std::chrono::seconds TimeForMemory(std::uint64_t bytes) {
  return std::chrono::seconds(bytes / kSlowestDiskBytesPerSecond);
}
inline constexpr std::size_t kMaxCriuImageBytes = 256 * 1024 * 1024;  // one without memory pages

// Freezer.
inline constexpr auto kFreezeTimeout = 10s;

// Tracing.
inline constexpr auto kWaitTick = 10ms;           // a wait for stops looks up this often
inline constexpr auto kRemoteCallTimeout = 2s;    // of one stop of a call into a task
inline constexpr auto kSeizeTimeout = 2s;         // all tasks of a container
inline constexpr auto kSignalHold = 20ms;         // of CPU time, for a syscall boundary
inline constexpr std::size_t kMaxHeldSignals = 64;  // per task
inline constexpr int kMaxVdsoSteps = 20000;         // single steps to leave a clock function
inline constexpr int kVdsoFreezeTries = 50;         // freezes until no task is in the middle of one

// Search for the paths of inotify watches.
inline constexpr auto kWatchSearchTimeout = 5s;
inline constexpr std::size_t kWatchSearchEntries = 2'000'000;

// Recording: one CPU (recorder/serialize.h) and its watchdog (recorder/starvation.h).
inline constexpr auto kCpuLoadSample = 50ms;      // how long the CPUs are watched to choose one
inline constexpr auto kStarvationPoll = 5ms;
inline constexpr auto kStarvationLimit = 20ms;    // a task waits while another computes
inline constexpr auto kTurn = 5ms;                // of a task that makes system calls, but never waits
inline constexpr auto kMonopolyLimit = 2s;        // the same, and it does not give up the CPU
inline constexpr int kRunnableTasksNoted = 4;     // more at once are worth a word before

// File trees.
inline constexpr std::size_t kMaxPathBytes = 4096;
inline constexpr std::size_t kMaxXattrBytes = 64 * 1024;
inline constexpr std::size_t kMaxXattrsPerEntry = 256;
inline constexpr std::int64_t kMaxFileBytes = std::int64_t{1} << 44;  // 16 TiB
inline constexpr std::size_t kMinDeltaBlockBytes = 64 * 1024;
inline constexpr std::size_t kMaxDeltaBlocksPerFile = 65536;

// Event log (proto/event_layout.h bounds frames; these bound events, chunks and the writer).
inline constexpr std::size_t kMaxSpansPerEvent = std::size_t{1} << 20;
inline constexpr std::size_t kMaxTasksWithData = 64;  // between their data frames and the syscall
inline constexpr std::size_t kLogChunkBytes = 1024 * 1024;  // of frames: then a chunk is closed
// A chunk ends between events only, so one that holds the largest syscall is that much larger.
inline constexpr std::size_t kMaxLogChunkBytes = 80 * 1024 * 1024;
inline constexpr auto kLogChunkAge = 20ms;  // an older one is closed though it is small
inline constexpr std::size_t kMaxLogQueueBytes = 64 * 1024 * 1024;  // closed, not yet written
inline constexpr auto kLogQueueWait = 1s;     // for room in it, before the recording ends
inline constexpr auto kLogFollowPause = 50ms;  // `migrate log --follow` looks for more this often

}  // namespace migrate::limits
