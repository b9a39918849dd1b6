// One event of the log as strace would write it: what `migrate log` prints. Everything about a call
// comes from its row of the syscall table, every byte from the spans of the event. One line of
// ASCII without its end, whatever the log says.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "proto/event_frame.h"

namespace migrate {

// `read(5<socket>, "GET / HT"..., 16384) = 78`, `+++ exited with 0 +++`, `switch to 14`.
// Strings are cut at `string_size` bytes, arrays at as many elements; paths are not.
std::string EventText(const Event& event, std::size_t string_size);

std::string SyscallName(std::uint16_t number);  // "syscall_999" if there is none

// "syscall", "task_new", ...
std::string_view EventKindName(event_kind kind);

}  // namespace migrate
