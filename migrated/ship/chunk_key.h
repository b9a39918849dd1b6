// StreamKey: the name of one ship stream between two daemons. A value.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace migrate {

struct StreamKey {
  std::string migration_id;
  std::string name;          // "files", "image", "checkpoint": [a-z0-9._-], short
  std::uint32_t number = 0;  // tells streams of one name apart

  auto operator<=>(const StreamKey&) const = default;
  // For messages: "stream files", "stream files 2".
  std::string Describe() const {
    return "stream " + name + (number == 0 ? "" : " " + std::to_string(number));
  }
};

}  // namespace migrate
