// How `migrate log` prints one event: the seam to proto/event_text.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proto/event_frame.h"

namespace migrate {

// One line without its end; strings are cut at `string_size` bytes.
std::string EventLine(const Event& event, std::size_t string_size);
// One JSON object on one line.
std::string EventJsonLine(const Event& event, std::size_t string_size);

std::string SyscallName(std::uint16_t number);  // "syscall_999" if there is none
std::optional<std::uint16_t> SyscallNumber(std::string_view name);

// "syscall", "task_new", ...
std::string_view EventKindName(event_kind kind);

}  // namespace migrate
