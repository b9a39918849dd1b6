// Of cli/event_structs.h: addresses and messages of sockets, and buffers in pieces.
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstdio>

#include "cli/event_names.h"
#include "cli/event_structs.h"

namespace migrate {
namespace {

static_assert(sizeof(msghdr) == 56 && sizeof(mmsghdr) == 64 && sizeof(cmsghdr) == 16);

constexpr std::size_t kFamilyBytes = sizeof(sa_family_t);
constexpr std::size_t kAddressBytes = sizeof(sockaddr_storage);  // shown of one that is not known

// cmsghdr, without the array that ends it.
struct ControlHead {
  std::uint64_t length;
  std::int32_t level;
  std::int32_t type;
};

std::string InetText(const sockaddr_in& address) {
  char text[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
  return "{AF_INET, " + std::string(text) + ":" + std::to_string(ntohs(address.sin_port)) + "}";
}

std::string Inet6Text(const sockaddr_in6& address) {
  char text[INET6_ADDRSTRLEN];
  inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof text);
  const std::string scope =
      address.sin6_scope_id == 0 ? "" : "%" + std::to_string(address.sin6_scope_id);
  return "{AF_INET6, [" + std::string(text) + scope +
         "]:" + std::to_string(ntohs(address.sin6_port)) + "}";
}

// Unnamed, abstract (it begins with a zero, its length counts) or a path.
std::string UnixText(Bytes name) {
  if (name.empty()) {
    return "{AF_UNIX}";
  }
  const bool abstract = name[0] == std::byte{0};
  return "{AF_UNIX, " +
         (abstract ? "@" + QuotedText(name.subspan(1), kAddressBytes) : PathText(name, false)) +
         "}";
}

std::string OneControlMessage(const ControlHead& head, Bytes data, std::size_t limit) {
  const std::string text = "{" + ControlMessageText(head.level, head.type) + ", ";
  if (head.level == SOL_SOCKET && head.type == SCM_RIGHTS) {
    return text + StructText(ArgKind::kIntPair, data, limit) + "}";
  }
  if (const auto sender = ValueOf<ucred>(data);
      sender && head.level == SOL_SOCKET && head.type == SCM_CREDENTIALS) {
    return text + "{pid=" + std::to_string(sender->pid) + ", uid=" + std::to_string(sender->uid) +
           ", gid=" + std::to_string(sender->gid) + "}}";
  }
  return text + StructText(ArgKind::kOptionValue, data, limit) + "}";
}

std::string ControlText(Bytes bytes, std::size_t limit) {
  std::string text = "[";
  for (std::size_t shown = 0; shown < limit; ++shown) {
    const auto head = ValueOf<ControlHead>(bytes);
    if (!head || head->length < sizeof *head || head->length > bytes.size()) {
      break;
    }
    text += shown == 0 ? "" : ", ";
    text +=
        OneControlMessage(*head, bytes.subspan(sizeof *head, head->length - sizeof *head), limit);
    bytes = bytes.subspan(std::min(bytes.size(), CMSG_ALIGN(head->length)));
  }
  return text + "]";
}

}  // namespace

// The header, then what the pointers in it name, then the data.
std::string MsghdrText(std::span<const EventSpan> spans, std::uint64_t address, std::size_t limit) {
  const LoggedMemory memory(spans);
  const auto head = memory.Get<msghdr>(address);
  if (!head) {
    return PointerText(address);
  }
  const auto name = reinterpret_cast<std::uintptr_t>(head->msg_name);
  const auto control = reinterpret_cast<std::uintptr_t>(head->msg_control);
  std::string text = "{";
  if (const Bytes bytes = memory.From(name); name != 0 && head->msg_namelen != 0) {
    text += "msg_name=" +
            SockaddrText(bytes.first(std::min<std::size_t>(bytes.size(), head->msg_namelen))) +
            ", ";
  }
  std::vector<EventSpan> data;
  for (const EventSpan& span : spans) {
    const bool part = span.address == address || span.address == address + sizeof(msghdr) ||
                      (name != 0 && span.address == name) ||
                      (control != 0 && span.address == control);
    if (!part && data.size() <= limit) {
      data.push_back(span);
    }
  }
  text += "msg_iov=" + IovecText(data, limit);
  if (const Bytes bytes = memory.From(control); control != 0 && head->msg_controllen != 0) {
    text += ", msg_control=" +
            ControlText(bytes.first(std::min(bytes.size(), head->msg_controllen)), limit);
  }
  return text + ", msg_flags=" +
         *NamedText(ArgKind::kMessageFlags, static_cast<std::uint32_t>(head->msg_flags)) + "}";
}

std::string SockaddrText(Bytes bytes) {
  const auto family = ValueOf<sa_family_t>(bytes);
  if (!family) {
    return QuotedText(bytes, kAddressBytes);
  }
  if (*family == AF_UNIX) {
    return UnixText(bytes.subspan(kFamilyBytes));
  }
  if (const auto address = ValueOf<sockaddr_in>(bytes); address && *family == AF_INET) {
    return InetText(*address);
  }
  if (const auto address = ValueOf<sockaddr_in6>(bytes); address && *family == AF_INET6) {
    return Inet6Text(*address);
  }
  if (const auto address = ValueOf<sockaddr_nl>(bytes); address && *family == AF_NETLINK) {
    return "{AF_NETLINK, pid=" + std::to_string(address->nl_pid) +
           ", groups=" + HexText(address->nl_groups) + "}";
  }
  const Bytes rest = bytes.subspan(kFamilyBytes);
  return "{" + *NamedText(ArgKind::kFamily, *family) + ", " + QuotedText(rest, kAddressBytes) + "}";
}

std::string IovecText(std::span<const EventSpan> spans, std::size_t limit) {
  std::string text = "[";
  std::size_t shown = 0;
  for (const EventSpan& span : spans) {
    if ((span.flags & EVENT_SPAN_INPUT) != 0) {
      continue;
    }
    text += shown == 0 ? "" : ", ";
    if (shown++ == limit) {
      text += "...";
      break;
    }
    text += QuotedText(span.bytes, limit);
  }
  return text + "]";
}

std::string MmsghdrText(std::span<const EventSpan> spans, std::uint64_t address,
                        std::uint64_t count, std::size_t limit) {
  std::string text = "[";
  for (std::uint64_t i = 0; i < count; ++i, address += sizeof(mmsghdr)) {
    const auto begin = std::ranges::find(spans, address, &EventSpan::address);
    if (begin == spans.end()) {
      return i == 0 ? PointerText(address) : text + ", ...]";
    }
    text += i == 0 ? "" : ", ";
    if (i == limit) {
      return text + "...]";
    }
    spans = spans.subspan(static_cast<std::size_t>(begin - spans.begin()));
    const auto end = std::ranges::find(spans, address + sizeof(mmsghdr), &EventSpan::address);
    const auto own = spans.first(static_cast<std::size_t>(end - spans.begin()));
    text += MsghdrText(own, address, limit);
  }
  return text + "]";
}

}  // namespace migrate
