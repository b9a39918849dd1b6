// Address ranges in CIDR notation, IPv4 and IPv6; an address alone is a range of one. Pure.
#pragma once

#include <string>

namespace migrate {

// False if one of them is no such text, or they are of different families.
bool SubnetsOverlap(const std::string& a, const std::string& b);
bool SubnetContains(const std::string& subnet, const std::string& address);
// The same range, however its host bits are written.
bool SameSubnet(const std::string& a, const std::string& b);

}  // namespace migrate
