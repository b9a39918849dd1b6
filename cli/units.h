// What people type and read: "200M", "2m", "1.4 GB", "12.3 s". Pure functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace migrate {

// "200M", "1.5G", "64k", "1000": powers of 1000, as network people count; "KiB"/"MiB"/"GiB" too.
Result<std::uint64_t> ParseBytes(std::string_view text);

// "500ms", "30s", "2m", "1h"; a bare number is seconds.
Result<std::chrono::milliseconds> ParseDuration(std::string_view text);

std::string FormatBytes(std::uint64_t bytes);
std::string FormatMilliseconds(double milliseconds);

}  // namespace migrate
