#include "migrated/network/sockets.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <memory>

#include "migrated/network/in_netns.h"

namespace migrate {
namespace {

struct MnlDeleter {
  void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
};
using MnlSocket = std::unique_ptr<mnl_socket, MnlDeleter>;

std::string AddressText(int family, const void* address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (family == AF_INET6) {
    in6_addr six;
    std::memcpy(&six, address, sizeof six);
    if (IN6_IS_ADDR_V4MAPPED(&six)) {
      return AddressText(AF_INET, &six.s6_addr[12]);
    }
  }
  return inet_ntop(family, address, text.data(), text.size());
}

struct DumpState {
  Protocol protocol;
  std::vector<SocketInfo>* sockets;
  std::vector<inet_diag_msg>* raw = nullptr;  // of the same length, if asked for
};

int OnSocket(const nlmsghdr* header, void* data) {
  auto* state = static_cast<DumpState*>(data);
  if (mnl_nlmsg_get_payload_len(header) < sizeof(inet_diag_msg)) {
    return MNL_CB_OK;
  }
  const auto* message = static_cast<const inet_diag_msg*>(mnl_nlmsg_get_payload(header));
  SocketInfo info;
  info.protocol = state->protocol;
  info.state = static_cast<SocketState>(message->idiag_state);
  info.ipv6 = message->idiag_family == AF_INET6;
  info.local_address = AddressText(message->idiag_family, message->id.idiag_src);
  info.local_port = ntohs(message->id.idiag_sport);
  info.remote_address = AddressText(message->idiag_family, message->id.idiag_dst);
  info.remote_port = ntohs(message->id.idiag_dport);
  info.inode = message->idiag_inode;
  info.uid = message->idiag_uid;
  info.receive_queue = message->idiag_rqueue;
  info.send_queue = message->idiag_wqueue;
  state->sockets->push_back(std::move(info));
  if (state->raw != nullptr) {
    state->raw->push_back(*message);
  }
  return MNL_CB_OK;
}

Result<> Dump(mnl_socket* socket, std::uint8_t family, Protocol protocol,
              std::vector<SocketInfo>& sockets, std::vector<inet_diag_msg>* raw = nullptr) {
  std::vector<char> buffer(64 * 1024);
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header->nlmsg_seq = static_cast<std::uint32_t>(std::time(nullptr));
  auto* request =
      static_cast<inet_diag_req_v2*>(mnl_nlmsg_put_extra_header(header, sizeof(inet_diag_req_v2)));
  request->sdiag_family = family;
  request->sdiag_protocol = static_cast<std::uint8_t>(protocol);
  request->idiag_states = ~0U;
  std::uint32_t sequence = header->nlmsg_seq;
  if (mnl_socket_sendto(socket, header, header->nlmsg_len) < 0) {
    return ErrnoError("sock_diag request");
  }
  DumpState state{protocol, &sockets, raw};
  for (int more = MNL_CB_OK; more > MNL_CB_STOP;) {
    auto size = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
    if (size < 0) {
      return ErrnoError("sock_diag answer");
    }
    more = mnl_cb_run(buffer.data(), static_cast<std::size_t>(size), sequence,
                      mnl_socket_get_portid(socket), OnSocket, &state);
    if (more < 0) {
      return ErrnoError("sock_diag dump");
    }
  }
  return {};
}

Result<std::vector<SocketInfo>> ListHere() {
  MnlSocket socket(mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC));
  if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) != 0) {
    return ErrnoError("sock_diag socket");
  }
  std::vector<SocketInfo> sockets;
  for (std::uint8_t family : {AF_INET, AF_INET6}) {
    for (Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      auto dumped = Dump(socket.get(), family, protocol, sockets);
      // A kernel without IPv6 has no sockets of that family.
      if (!dumped && family == AF_INET) {
        return Error(std::move(dumped).error());
      }
    }
  }
  return sockets;
}

// By its cookie: what took the connection's place since the dump is left alone.
Result<> EndOne(mnl_socket* socket, const inet_diag_msg& which) {
  std::array<char, 1024> buffer{};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = SOCK_DESTROY;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  auto* request =
      static_cast<inet_diag_req_v2*>(mnl_nlmsg_put_extra_header(header, sizeof(inet_diag_req_v2)));
  request->sdiag_family = which.idiag_family;
  request->sdiag_protocol = IPPROTO_TCP;
  request->idiag_states = ~0U;
  request->id = which.id;
  if (mnl_socket_sendto(socket, header, header->nlmsg_len) < 0) {
    return ErrnoError("sock_diag request");
  }
  std::array<char, 4096> answer{};
  const auto size = mnl_socket_recvfrom(socket, answer.data(), answer.size());
  if (size < 0 ||
      mnl_cb_run(answer.data(), static_cast<std::size_t>(size), 0, 0, nullptr, nullptr) < 0) {
    if (errno == ENOENT || errno == ESTALE) {
      return {};  // it has ended by itself
    }
    if (errno == EOPNOTSUPP) {
      return MakeError(ErrorCode::kFailedPrecondition,
                       "the kernel cannot end connections (CONFIG_INET_DIAG_DESTROY)");
    }
    return ErrnoError("end a connection");
  }
  return {};
}

Result<int> EndHere(const std::function<bool(const Connection&)>& which) {
  MnlSocket socket(mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC));
  if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) != 0) {
    return ErrnoError("sock_diag socket");
  }
  std::vector<SocketInfo> sockets;
  std::vector<inet_diag_msg> raw;
  TRY(Dump(socket.get(), AF_INET, Protocol::kTcp, sockets, &raw));
  (void)Dump(socket.get(), AF_INET6, Protocol::kTcp, sockets, &raw);  // mapped addresses
  int ended = 0;
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    if (sockets[i].state != SocketState::kListen && which(sockets[i].connection())) {
      TRY(EndOne(socket.get(), raw[i]));
      ++ended;
    }
  }
  return ended;
}

bool IsRelayable(const std::string& address) {
  in_addr four{};
  in6_addr six{};
  if (inet_pton(AF_INET, address.c_str(), &four) == 1) {
    return (ntohl(four.s_addr) >> 24) != 127;
  }
  return inet_pton(AF_INET6, address.c_str(), &six) == 1 && !IN6_IS_ADDR_LOOPBACK(&six) &&
         !IN6_IS_ADDR_LINKLOCAL(&six);
}

bool HasLivePeer(const SocketInfo& socket) {
  switch (socket.state) {
    case SocketState::kEstablished:
    case SocketState::kFinWait1:
    case SocketState::kFinWait2:
    case SocketState::kCloseWait:
    case SocketState::kLastAck:
    case SocketState::kClosing:
    case SocketState::kSynSent:
      return true;
    default:
      return false;
  }
}

bool Waits(const SocketInfo& socket) {
  return socket.state == SocketState::kListen ||
         (socket.protocol == Protocol::kUdp && socket.state == SocketState::kClose);
}

}  // namespace

Result<int> EndConnections(FdRef netns, const std::function<bool(const Connection&)>& which) {
  return ValueInNetns<int>(netns, [&] { return EndHere(which); });
}

Result<std::vector<SocketInfo>> ListSockets(FdRef netns) {
  return ValueInNetns<std::vector<SocketInfo>>(netns, ListHere);
}

RelaySockets SelectRelaySockets(const std::vector<SocketInfo>& sockets) {
  RelaySockets selected;
  for (const auto& socket : sockets) {
    if (!IsRelayable(socket.local_address)) {
      continue;
    }
    if (HasLivePeer(socket) && IsRelayable(socket.remote_address)) {
      selected.connections.push_back(socket.connection());
    } else if (Waits(socket) && socket.local_port != 0 && socket.local_address != "0.0.0.0" &&
               socket.local_address != "::") {
      selected.bound.push_back({socket.protocol, socket.local_address, socket.local_port});
    }
  }
  // Sockets may share a port (SO_REUSEPORT); a map has each key once.
  auto deduplicate = [](auto& list) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  };
  deduplicate(selected.connections);
  deduplicate(selected.bound);
  return selected;
}

}  // namespace migrate
