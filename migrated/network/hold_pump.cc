#include "migrated/network/hold_pump.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <thread>
#include <utility>

namespace migrate::internal {
namespace {

constexpr int kNice = -20;
constexpr std::size_t kBurst = 64;
constexpr auto kBurstGap = std::chrono::milliseconds(1);

}  // namespace

HoldPump::HoldPump(NfQueue queue, OwnedFd wake, std::size_t max_bytes)
    : max_bytes_(max_bytes),
      queue_(std::move(queue)),
      wake_(std::move(wake)),
      thread_([this] { Run(); }) {}

HoldPump::~HoldPump() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  Wake();
  thread_.join();
}

void HoldPump::Open() {
  {
    std::lock_guard lock(mutex_);
    open_ = true;
  }
  Wake();
}

bool HoldPump::Drain(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  auto wanted = ++drain_wanted_;
  Wake();
  return drained_.wait_for(lock, limit, [&] { return drain_done_ >= wanted; });
}

HoldStats HoldPump::stats() const {
  std::lock_guard lock(mutex_);
  auto stats = stats_;
  stats.dropped += queue_.KernelDrops();
  return stats;
}

void HoldPump::Wake() { eventfd_write(wake_.get(), 1); }

void HoldPump::Run() {
  // Of this thread alone. When the rules go, what it has not accepted yet is overtaken.
  setpriority(PRIO_PROCESS, 0, kNice);
  bool more = false;
  while (true) {
    std::array<pollfd, 2> fds{{{queue_.fd().get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}}};
    poll(fds.data(), fds.size(), more ? 0 : -1);
    if ((fds[1].revents & POLLIN) != 0) {
      eventfd_t count = 0;
      eventfd_read(wake_.get(), &count);
    }
    bool open = false;
    std::uint64_t wanted = 0;
    {
      std::lock_guard lock(mutex_);
      if (stop_) {
        return;
      }
      open = open_;
      wanted = drain_wanted_;
    }
    more = Round(open);
    if (!more) {
      std::lock_guard lock(mutex_);
      drain_done_ = wanted;
      drained_.notify_all();
    }
  }
}

bool HoldPump::Round(bool open) {
  arrived_.clear();
  int messages = queue_.Receive(arrived_);
  Keep(!open);
  if (open) {
    AcceptAll();
  }
  std::lock_guard lock(mutex_);
  stats_.lost = queue_.lost();
  return messages > 0;
}

// A packet that is accepted at once counts as held, too, since it was queued behind those that
// were.
void HoldPump::Keep(bool bounded) {
  std::vector<NfQueue::Packet> dropped;
  std::uint64_t kept_bytes = 0;
  if (held_.empty()) {
    oldest_ = Clock::now();
  }
  for (const auto& packet : arrived_) {
    if (bounded && held_bytes_ + packet.bytes > max_bytes_) {
      dropped.push_back(packet);
    } else {
      held_.push_back(packet);
      held_bytes_ += packet.bytes;
      kept_bytes += packet.bytes;
    }
  }
  queue_.Drop(dropped);
  std::lock_guard lock(mutex_);
  stats_.packets += arrived_.size() - dropped.size();
  stats_.bytes += kept_bytes;
  stats_.dropped += dropped.size();
}

void HoldPump::AcceptAll() {
  if (held_.empty()) {
    return;
  }
  // A receive queue holds a few hundred small packets: its reader gets time in between.
  for (std::size_t first = 0; first < held_.size(); first += kBurst) {
    if (first > 0) {
      std::this_thread::sleep_for(kBurstGap);
    }
    const auto begin = held_.begin() + static_cast<std::ptrdiff_t>(first);
    queue_.Accept(
        {begin, begin + static_cast<std::ptrdiff_t>(std::min(kBurst, held_.size() - first))});
  }
  held_.clear();
  held_bytes_ = 0;
  auto time = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - oldest_);
  std::lock_guard lock(mutex_);
  stats_.longest = std::max(stats_.longest, time);
}

}  // namespace migrate::internal
