#include "cli/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

namespace migrate {
namespace {

struct Quantity {
  double value;
  std::string_view unit;
};

Result<Quantity> Split(std::string_view text, std::string_view example) {
  Quantity quantity{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), quantity.value);
  if (error != std::errc{} || quantity.value < 0 || !std::isfinite(quantity.value)) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        "'" + std::string(text) + "' is not a quantity such as " + std::string(example));
  }
  quantity.unit = text.substr(static_cast<std::size_t>(end - text.data()));
  return quantity;
}

template <std::size_t N>
Result<double> Scale(std::string_view text, std::string_view example,
                     const std::array<std::pair<std::string_view, double>, N>& units) {
  const Quantity quantity = TRY(Split(text, example));
  for (const auto& [name, factor] : units) {
    if (quantity.unit == name) {
      return quantity.value * factor;
    }
  }
  return MakeError(ErrorCode::kInvalidArgument, "unknown unit '" + std::string(quantity.unit) +
                                                    "' in '" + std::string(text) +
                                                    "'; write for example " + std::string(example));
}

}  // namespace

Result<std::uint64_t> ParseBytes(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, double>, 12> kUnits{
      {{"", 1},
       {"B", 1},
       {"k", 1e3},
       {"K", 1e3},
       {"M", 1e6},
       {"G", 1e9},
       {"kB", 1e3},
       {"MB", 1e6},
       {"GB", 1e9},
       {"KiB", 1024},
       {"MiB", 1048576},
       {"GiB", 1073741824}}};
  return static_cast<std::uint64_t>(TRY(Scale(text, "200M", kUnits)));
}

Result<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, double>, 5> kUnits{
      {{"ms", 1}, {"s", 1e3}, {"", 1e3}, {"m", 6e4}, {"h", 3.6e6}}};
  return std::chrono::milliseconds(static_cast<std::int64_t>(TRY(Scale(text, "2m", kUnits))));
}

std::string FormatBytes(std::uint64_t bytes) {
  static constexpr std::array<const char*, 5> kNames{"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1000 && unit + 1 < kNames.size()) {
    value /= 1000;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", value, kNames[unit]);
  return text.data();
}

std::string FormatMilliseconds(double milliseconds) {
  std::array<char, 32> text{};
  if (milliseconds < 1000) {
    std::snprintf(text.data(), text.size(), "%.0f ms", milliseconds);
  } else {
    std::snprintf(text.data(), text.size(), "%.2f s", milliseconds / 1000);
  }
  return text.data();
}

}  // namespace migrate
