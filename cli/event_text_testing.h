// For tests of the text of events: frames by the name of their call, and their text.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "cli/event_text.h"
#include "proto/event_frame.h"
#include "proto/syscall_table.h"

namespace migrate::testing {

inline constexpr std::uint64_t kMinusOne = ~std::uint64_t{0};
inline constexpr std::uint64_t kAtCwd = 0xffffff9c;

inline FrameBuilder Call(std::string_view name, std::initializer_list<std::uint64_t> args) {
  return FrameBuilder(EVENT_SYSCALL, 7).Number(FindSyscall(name)->number).Args(args);
}

inline std::string Text(const FrameBuilder& builder, std::size_t string_size = 32) {
  const std::vector<std::byte> frame = builder.Build();
  Event event;
  const FrameResult result = ParseFrame(frame, event);
  EXPECT_EQ(result.status, FrameStatus::kFrame) << result.reason;
  return EventText(event, string_size);
}

}  // namespace migrate::testing
