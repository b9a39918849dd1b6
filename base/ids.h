// Ids that two hosts exchange. A migration id is 16 lower-case hex digits from the kernel's random
// source; short enough for interface and table names in part, long enough never to repeat.
#pragma once

#include <string>
#include <string_view>

namespace migrate {

std::string NewMigrationId();
bool IsMigrationId(std::string_view text);

// 64 hex digits, as Docker writes them.
bool IsContainerId(std::string_view text);

}  // namespace migrate
