#include "migrated/network/nfnetlink.h"

#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>

namespace migrate::internal {
namespace {

constexpr timeval kAnswerTime{5, 0};
constexpr std::size_t kAnswerBytes = 8192;

}  // namespace

Result<OwnedFd> OpenNfnetlink() {
  OwnedFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  sockaddr_nl any{};
  any.nl_family = AF_NETLINK;
  if (!socket || bind(socket.get(), reinterpret_cast<sockaddr*>(&any), sizeof any) != 0) {
    return ErrnoError("netfilter socket");
  }
  setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTime, sizeof kAnswerTime);
  // An error then does not carry the message that it is about.
  int on = 1;
  setsockopt(socket.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  return socket;
}

Result<int> RequestNfnetlink(FdRef socket, const void* messages, std::size_t bytes, int acks) {
  if (send(socket.get(), messages, bytes, 0) < 0) {
    return ErrnoError("netfilter request");
  }
  alignas(nlmsghdr) std::array<char, kAnswerBytes> answer{};
  while (acks > 0) {
    auto got = recv(socket.get(), answer.data(), answer.size(), 0);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return ErrnoError("netfilter answer");
    }
    int left = static_cast<int>(got);
    for (auto* header = reinterpret_cast<nlmsghdr*>(answer.data()); mnl_nlmsg_ok(header, left);
         header = mnl_nlmsg_next(header, &left)) {
      if (header->nlmsg_type != NLMSG_ERROR) {
        continue;
      }
      int error = static_cast<nlmsgerr*>(mnl_nlmsg_get_payload(header))->error;
      if (error != 0) {
        return -error;
      }
      --acks;
    }
  }
  return 0;
}

}  // namespace migrate::internal
