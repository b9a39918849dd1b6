// NfQueue: one NFQUEUE of the network namespace in which it was bound: packets that a rule puts
// into it wait in the kernel until they get a verdict here. Once it ends the kernel drops what
// still waits. Lengths in bytes.
//
// Internal to migrated/network. For one thread at a time, but KernelDrops() for any.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"

namespace migrate::internal {

// Verdicts make the kernel look for the route of a locally made packet once more if its mark has
// changed, and only then. Such packets come back with this mark; a rule has to take it off.
inline constexpr std::uint32_t kRerouteMark = 0x6d696772;

class NfQueue {
 public:
  struct Packet {
    std::uint32_t id = 0;
    std::uint32_t bytes = 0;
    bool reroute = false;  // made on this host, without a mark
  };

  // Takes a free number. The kernel drops further packets while `max_packets` wait.
  static Result<NfQueue> Bind(std::uint32_t max_packets);

  std::uint16_t number() const { return number_; }
  FdRef fd() const { return socket_; }

  // Appends what has come to `packets`, in order of arrival, without waiting. The number of
  // messages that were read: 0 if there was nothing.
  int Receive(std::vector<Packet>& packets);

  // In the order given. The kernel sends the packets on before the call returns.
  void Accept(std::span<const Packet> packets);
  void Drop(std::span<const Packet> packets);

  // Packets that the kernel dropped while they waited, as far as their verdicts have shown.
  std::uint64_t lost() const { return lost_; }
  // Packets that the kernel did not let wait, since there were too many.
  std::uint64_t KernelDrops() const;

 private:
  NfQueue() = default;
  void Judge(std::span<const Packet> packets, int verdict);

  OwnedFd socket_;
  OwnedFd counters_;
  std::uint16_t number_ = 0;
  std::uint64_t lost_ = 0;
};

// Removes nothing and leaves nothing: whether packets can be queued in this namespace.
Result<> CheckNfQueue();

}  // namespace migrate::internal
