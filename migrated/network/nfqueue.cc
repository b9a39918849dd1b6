#include "migrated/network/nfqueue.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <sstream>
#include <string>
#include <thread>

#include "migrated/network/nfnetlink.h"

namespace migrate::internal {
namespace {

constexpr std::uint16_t kFirstNumber = 7748;
constexpr std::uint16_t kNumbersTried = 256;
// Only the length of a packet is wanted, which comes with any part of it.
constexpr int kCopyBytes = 4;
// The kernel drops a packet whose message does not fit. Not memory that is taken in advance: enough
// for as many messages as packets may wait, were the reader that slow.
constexpr int kSocketBufferBytes = 64 * 1024 * 1024;
constexpr std::size_t kMessageBytes = 4096;
constexpr int kReceiveMessages = 256;   // in one Receive()
constexpr std::size_t kVerdicts = 256;  // in one system call
constexpr std::size_t kVerdictBytes = 64;
constexpr int kSendRetries = 1000;
constexpr auto kSendRetryDelay = std::chrono::milliseconds(1);

// The error number; everything in one message, so that no packet meets a half-configured queue.
Result<int> TryBind(FdRef socket, std::uint16_t number, std::uint32_t max_packets) {
  alignas(nlmsghdr) std::array<char, kMessageBytes> buffer{};
  auto* header = nfq_nlmsg_put(buffer.data(), NFQNL_MSG_CONFIG, number);
  header->nlmsg_flags |= NLM_F_ACK;
  nfq_nlmsg_cfg_put_cmd(header, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
  nfq_nlmsg_cfg_put_params(header, NFQNL_COPY_PACKET, kCopyBytes);
  nfq_nlmsg_cfg_put_qmaxlen(header, max_packets);
  // GSO: large segments stay whole, checksums unfinished; nobody looks at them here. Without
  // FAIL_OPEN: what does not fit must not go on to the old place.
  mnl_attr_put_u32(header, NFQA_CFG_FLAGS, htonl(NFQA_CFG_F_GSO));
  mnl_attr_put_u32(header, NFQA_CFG_MASK, htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN));
  return RequestNfnetlink(socket, header, header->nlmsg_len, 1);
}

// With id 0, which the kernel gives to no packet, if it is not one.
NfQueue::Packet Parse(const nlmsghdr* header) {
  std::array<nlattr*, NFQA_MAX + 1> attributes{};
  if (nfq_nlmsg_parse(header, attributes.data()) != MNL_CB_OK ||
      attributes[NFQA_PACKET_HDR] == nullptr) {
    return {};
  }
  const auto* packet =
      static_cast<const nfqnl_msg_packet_hdr*>(mnl_attr_get_payload(attributes[NFQA_PACKET_HDR]));
  std::uint32_t bytes = 0;
  if (attributes[NFQA_CAP_LEN] != nullptr) {
    bytes = ntohl(mnl_attr_get_u32(attributes[NFQA_CAP_LEN]));
  } else if (attributes[NFQA_PAYLOAD] != nullptr) {
    bytes = mnl_attr_get_payload_len(attributes[NFQA_PAYLOAD]);
  }
  bool reroute = packet->hook == NF_INET_LOCAL_OUT && attributes[NFQA_MARK] == nullptr;
  return {ntohl(packet->packet_id), bytes, reroute};
}

}  // namespace

Result<NfQueue> NfQueue::Bind(std::uint32_t max_packets) {
  NfQueue queue;
  queue.socket_ = TRY(OpenNfnetlink());
  int on = 1;
  setsockopt(queue.socket_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kSocketBufferBytes,
             sizeof kSocketBufferBytes);
  // An overrun shows in KernelDrops(); as an error it would only be in the way.
  setsockopt(queue.socket_.get(), SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof on);
  queue.counters_ =
      OwnedFd(open("/proc/thread-self/net/netfilter/nfnetlink_queue", O_RDONLY | O_CLOEXEC));
  for (std::uint16_t i = 0; i < kNumbersTried; ++i) {
    queue.number_ = static_cast<std::uint16_t>(kFirstNumber + i);
    int refused = TRY(TryBind(queue.socket_, queue.number_, max_packets));
    if (refused == 0) {
      return queue;
    }
    // Taken by another program, or by another socket of this one.
    if (refused == EBUSY || (refused == EPERM && i + 1 < kNumbersTried)) {
      continue;
    }
    if (refused == EINVAL || refused == EOPNOTSUPP) {
      return MakeError(ErrorCode::kFailedPrecondition,
                       "this kernel has no NETFILTER_NETLINK_QUEUE, so packets cannot be held",
                       "HOLD_UNSUPPORTED");
    }
    return ErrnoError("bind a netfilter queue", refused);
  }
  return MakeError(ErrorCode::kResourceExhausted, "all netfilter queues from " +
                                                      std::to_string(kFirstNumber) + " to " +
                                                      std::to_string(queue.number_) + " are taken");
}

int NfQueue::Receive(std::vector<Packet>& packets) {
  alignas(nlmsghdr) std::array<char, kMessageBytes> buffer;
  int messages = 0;
  while (messages < kReceiveMessages) {
    auto got = recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      break;  // nothing more, or an error that the next call meets again if it is not over
    }
    ++messages;
    int left = static_cast<int>(got);
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer.data()); mnl_nlmsg_ok(header, left);
         header = mnl_nlmsg_next(header, &left)) {
      if (header->nlmsg_type == NLMSG_ERROR) {
        auto error = static_cast<nlmsgerr*>(mnl_nlmsg_get_payload(header))->error;
        lost_ += error == -ENOENT ? 1 : 0;
      } else if (header->nlmsg_type == ((NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_PACKET)) {
        auto packet = Parse(header);
        if (packet.id != 0) {
          packets.push_back(packet);
        }
      }
    }
  }
  return messages;
}

void NfQueue::Accept(std::span<const Packet> packets) { Judge(packets, NF_ACCEPT); }

void NfQueue::Drop(std::span<const Packet> packets) { Judge(packets, NF_DROP); }

void NfQueue::Judge(std::span<const Packet> packets, int verdict) {
  alignas(nlmsghdr) std::array<char, kVerdicts * kVerdictBytes> buffer;
  while (!packets.empty()) {
    auto part = packets.first(std::min(packets.size(), kVerdicts));
    packets = packets.subspan(part.size());
    std::size_t bytes = 0;
    for (const auto& packet : part) {
      auto* header = nfq_nlmsg_put(buffer.data() + bytes, NFQNL_MSG_VERDICT, number_);
      nfq_nlmsg_verdict_put(header, static_cast<int>(packet.id), verdict);
      if (packet.reroute && verdict == NF_ACCEPT) {
        nfq_nlmsg_verdict_put_mark(header, kRerouteMark);
      }
      bytes += header->nlmsg_len;
    }
    // Fails for lack of memory at most. A packet without a verdict waits until the queue ends.
    int retries = 0;
    while (send(socket_.get(), buffer.data(), bytes, 0) < 0 && retries < kSendRetries) {
      ++retries;
      std::this_thread::sleep_for(kSendRetryDelay);
    }
    lost_ += retries == kSendRetries ? part.size() : 0;
  }
}

std::uint64_t NfQueue::KernelDrops() const {
  std::array<char, kMessageBytes * 4> text{};
  auto got = pread(counters_.get(), text.data(), text.size(), 0);
  std::istringstream lines(std::string(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::uint64_t number = 0, owner = 0, waiting = 0, mode = 0, range = 0, full = 0, overrun = 0;
    if (fields >> number >> owner >> waiting >> mode >> range >> full >> overrun &&
        number == number_) {
      return full + overrun;
    }
  }
  return 0;
}

Result<> CheckNfQueue() {
  TRY(NfQueue::Bind(1));
  return {};
}

}  // namespace migrate::internal
