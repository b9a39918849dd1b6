#include "migrated/network/announce.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/ether.h>
#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "migrated/network/in_netns.h"
#include "migrated/network/relay_names.h"
#include "migrated/network/rtnl.h"

namespace migrate {
namespace {

using Mac = std::array<std::uint8_t, ETH_ALEN>;

constexpr Mac kBroadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr Mac kAllNodesMac{0x33, 0x33, 0, 0, 0, 1};
constexpr char kAllNodes[] = "ff02::1";
constexpr std::uint8_t kNeighbourHopLimit = 255;  // receivers drop what was forwarded (RFC 4861)

struct __attribute__((packed)) ArpFrame {
  ether_header ethernet;
  arphdr arp;
  Mac sender_mac;
  in_addr sender;
  Mac target_mac;
  in_addr target;
};

struct __attribute__((packed)) AdvertisementFrame {
  ether_header ethernet;
  ip6_hdr ip;
  nd_neighbor_advert advertisement;
  nd_opt_hdr option;
  Mac mac;
};

struct Segment {
  OwnedFd socket;
  int index = 0;
  Mac mac{};
};

Result<Segment> OpenSegment(const std::string& link) {
  Segment segment;
  // Protocol 0: it receives nothing.
  segment.socket = OwnedFd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!segment.socket) {
    return ErrnoError("packet socket");
  }
  ifreq request{};
  if (link.empty() || link.size() >= IFNAMSIZ) {
    return MakeError(ErrorCode::kInvalidArgument, "\"" + link + "\" is not a device name");
  }
  link.copy(request.ifr_name, IFNAMSIZ - 1);
  if (ioctl(segment.socket.get(), SIOCGIFINDEX, &request) != 0) {
    return MakeError(ErrorCode::kNotFound, "there is no device " + link);
  }
  segment.index = request.ifr_ifindex;
  if (ioctl(segment.socket.get(), SIOCGIFHWADDR, &request) != 0) {
    return ErrnoError("hardware address of " + link);
  }
  if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
    return MakeError(ErrorCode::kFailedPrecondition, link + " is not an Ethernet device");
  }
  std::memcpy(segment.mac.data(), request.ifr_hwaddr.sa_data, segment.mac.size());
  return segment;
}

Result<Mac> ParseMac(const std::string& text) {
  ether_addr parsed{};
  if (ether_aton_r(text.c_str(), &parsed) == nullptr) {
    return MakeError(ErrorCode::kInvalidArgument, "\"" + text + "\" is not a MAC address");
  }
  Mac mac;
  std::memcpy(mac.data(), parsed.ether_addr_octet, mac.size());
  return mac;
}

ether_header EthernetHeader(const Mac& to, const Mac& from, std::uint16_t type) {
  ether_header header{};
  std::memcpy(header.ether_dhost, to.data(), to.size());
  std::memcpy(header.ether_shost, from.data(), from.size());
  header.ether_type = htons(type);
  return header;
}

ArpFrame MakeArp(std::uint16_t operation, in_addr address, const Mac& mac) {
  ArpFrame frame{};
  frame.ethernet = EthernetHeader(kBroadcast, mac, ETHERTYPE_ARP);
  frame.arp.ar_hrd = htons(ARPHRD_ETHER);
  frame.arp.ar_pro = htons(ETHERTYPE_IP);
  frame.arp.ar_hln = ETH_ALEN;
  frame.arp.ar_pln = sizeof address;
  frame.arp.ar_op = htons(operation);
  frame.sender_mac = mac;
  frame.sender = address;
  frame.target = address;
  if (operation == ARPOP_REPLY) {
    frame.target_mac = mac;  // otherwise Linux does not take it for a gratuitous one
  }
  return frame;
}

// Over the pseudo header as well (RFC 8200).
std::uint16_t Icmp6Checksum(const AdvertisementFrame& frame) {
  constexpr std::size_t kStart = offsetof(AdvertisementFrame, advertisement);
  constexpr std::size_t kSize = sizeof frame - kStart;
  std::uint32_t sum = IPPROTO_ICMPV6 + kSize;
  auto add = [&](const void* data, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; i += 2) {
      std::uint16_t word;
      std::memcpy(&word, static_cast<const char*>(data) + i, sizeof word);
      sum += ntohs(word);
    }
  };
  add(&frame.ip.ip6_src, 2 * sizeof(in6_addr));  // source and destination
  add(reinterpret_cast<const char*>(&frame) + kStart, kSize);
  while (sum > 0xffff) {
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return htons(static_cast<std::uint16_t>(~sum));
}

AdvertisementFrame MakeAdvertisement(const in6_addr& address, const Mac& mac) {
  AdvertisementFrame frame{};
  frame.ethernet = EthernetHeader(kAllNodesMac, mac, ETHERTYPE_IPV6);
  frame.ip.ip6_flow = htonl(6U << 28);
  frame.ip.ip6_plen = htons(sizeof frame - offsetof(AdvertisementFrame, advertisement));
  frame.ip.ip6_nxt = IPPROTO_ICMPV6;
  frame.ip.ip6_hlim = kNeighbourHopLimit;
  frame.ip.ip6_src = address;
  in6_addr all_nodes;
  inet_pton(AF_INET6, kAllNodes, &all_nodes);
  frame.ip.ip6_dst = all_nodes;
  frame.advertisement.nd_na_type = ND_NEIGHBOR_ADVERT;
  frame.advertisement.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
  frame.advertisement.nd_na_target = address;
  frame.option.nd_opt_type = ND_OPT_TARGET_LINKADDR;
  frame.option.nd_opt_len = 1;  // in units of 8 bytes
  frame.mac = mac;
  frame.advertisement.nd_na_cksum = Icmp6Checksum(frame);
  return frame;
}

template <typename Frame>
Result<> Send(const Segment& segment, const std::string& link, const Frame& frame) {
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = segment.index;
  to.sll_protocol = frame.ethernet.ether_type;
  to.sll_halen = ETH_ALEN;
  std::memcpy(to.sll_addr, frame.ethernet.ether_dhost, ETH_ALEN);
  if (sendto(segment.socket.get(), &frame, sizeof frame, 0, reinterpret_cast<const sockaddr*>(&to),
             sizeof to) != static_cast<ssize_t>(sizeof frame)) {
    // The second one is how a device without carrier says it.
    if (errno == ENETDOWN || errno == ENOBUFS) {
      return MakeError(ErrorCode::kUnavailable, "announce from " + link + ": the device is down");
    }
    return ErrnoError("announce from " + link);
  }
  return {};
}

Result<> AnnounceHere(const std::string& link, const std::string& address,
                      const std::string& mac_text) {
  auto segment = TRY(OpenSegment(link));
  Mac mac = mac_text.empty() ? segment.mac : TRY(ParseMac(mac_text));
  in_addr four{};
  in6_addr six{};
  if (inet_pton(AF_INET, address.c_str(), &four) == 1) {
    TRY(Send(segment, link, MakeArp(ARPOP_REQUEST, four, mac)));
    return Send(segment, link, MakeArp(ARPOP_REPLY, four, mac));
  }
  if (inet_pton(AF_INET6, address.c_str(), &six) == 1) {
    return Send(segment, link, MakeAdvertisement(six, mac));
  }
  return MakeError(ErrorCode::kInvalidArgument, "\"" + address + "\" is not an IP address");
}

}  // namespace

Result<> Announce(FdRef netns, const std::string& link, const std::string& address,
                  const std::string& mac) {
  return InNetns(netns, [&] { return AnnounceHere(link, address, mac); });
}

namespace {

Result<std::vector<RouteInfo>> Gateways6() {
  auto rtnl = TRY(Rtnl::Open());
  auto routes = TRY(rtnl.Routes(AF_INET6));
  std::erase_if(routes, [](const RouteInfo& route) {
    return route.gateway.empty() || internal::IsRelayLink(route.link);
  });
  return routes;
}

Result<std::vector<AddressInfo>> Addresses6(FdRef netns) {
  return ValueInNetns<std::vector<AddressInfo>>(netns, []() -> Result<std::vector<AddressInfo>> {
    auto rtnl = TRY(Rtnl::Open());
    return rtnl.Addresses(AF_INET6);
  });
}

// These addresses have that MAC on `link`; verified some seconds after their first use.
Result<> Know(FdRef netns, const std::string& link, const std::vector<std::string>& addresses,
              const std::string& mac) {
  return InNetns(netns, [&]() -> Result<> {
    auto rtnl = TRY(Rtnl::Open());
    for (const auto& address : addresses) {
      TRY(rtnl.SetNeighbour(link, address, mac, /*for_good=*/false));
    }
    return {};
  });
}

std::string WithoutLength(const std::string& address) {
  return address.substr(0, address.find('/'));
}

}  // namespace

Result<> Introduce6(FdRef host_netns, FdRef container_netns) {
  const auto gateways = TRY(ValueInNetns<std::vector<RouteInfo>>(container_netns, Gateways6));
  if (gateways.empty()) {
    return {};
  }
  const auto host = TRY(Addresses6(host_netns));
  const auto container = TRY(Addresses6(container_netns));
  for (const auto& gateway : gateways) {
    const auto own = std::find_if(host.begin(), host.end(), [&](const AddressInfo& info) {
      return WithoutLength(info.address) == gateway.gateway;
    });
    if (own == host.end()) {
      continue;
    }
    std::vector<std::string> addresses;
    for (const auto& info : container) {
      if (info.link == gateway.link) {
        addresses.push_back(WithoutLength(info.address));
      }
    }
    TRY(Know(container_netns, gateway.link, {gateway.gateway},
             TRY(LinkMac(host_netns, own->link))));
    TRY(Know(host_netns, own->link, addresses, TRY(LinkMac(container_netns, gateway.link))));
  }
  return {};
}

Result<std::string> LinkMac(FdRef netns, const std::string& link) {
  return ValueInNetns<std::string>(netns, [&]() -> Result<std::string> {
    auto segment = TRY(OpenSegment(link));
    std::array<char, sizeof "00:00:00:00:00:00"> text{};
    const auto& mac = segment.mac;
    std::snprintf(text.data(), text.size(), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
                  mac[3], mac[4], mac[5]);
    return std::string(text.data());
  });
}

}  // namespace migrate
