#include "base/subnet.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>

namespace migrate {
namespace {

struct Cidr {
  int family = AF_UNSPEC;
  std::array<unsigned char, 16> bytes{};
  int prefix = 0;
};

std::optional<Cidr> ParseCidr(const std::string& text) {
  Cidr cidr;
  const std::size_t slash = text.find('/');
  const std::string address = text.substr(0, slash);
  if (inet_pton(AF_INET, address.c_str(), cidr.bytes.data()) == 1) {
    cidr.family = AF_INET;
    cidr.prefix = 32;
  } else if (inet_pton(AF_INET6, address.c_str(), cidr.bytes.data()) == 1) {
    cidr.family = AF_INET6;
    cidr.prefix = 128;
  } else {
    return std::nullopt;
  }
  if (slash != std::string::npos) {
    cidr.prefix = std::clamp(std::atoi(text.c_str() + slash + 1), 0, cidr.prefix);
  }
  return cidr;
}

bool SamePrefix(const Cidr& a, const Cidr& b, int bits) {
  for (int bit = 0; bit < bits; ++bit) {
    const auto index = static_cast<std::size_t>(bit / 8);
    const unsigned mask = 0x80U >> (bit % 8);
    if (((a.bytes[index] ^ b.bytes[index]) & mask) != 0) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool SubnetsOverlap(const std::string& a, const std::string& b) {
  const auto x = ParseCidr(a);
  const auto y = ParseCidr(b);
  return x && y && x->family == y->family && SamePrefix(*x, *y, std::min(x->prefix, y->prefix));
}

bool SubnetContains(const std::string& subnet, const std::string& address) {
  const auto x = ParseCidr(subnet);
  const auto y = ParseCidr(address);
  return x && y && x->family == y->family && x->prefix <= y->prefix &&
         SamePrefix(*x, *y, x->prefix);
}

bool SameSubnet(const std::string& a, const std::string& b) {
  return SubnetContains(a, b) && SubnetContains(b, a);
}

}  // namespace migrate
