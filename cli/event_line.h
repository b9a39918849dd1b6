// How `migrate log` lays out one event: columns in front of its text, or an object.
#pragma once

#include <cstddef>
#include <string>

#include "proto/event_frame.h"

namespace migrate {

// LSN, task and text in columns, without the end of the line; strings are cut at `string_size`
// bytes.
std::string EventLine(const Event& event, std::size_t string_size);
// One JSON object on one line.
std::string EventJsonLine(const Event& event, std::size_t string_size);

}  // namespace migrate
