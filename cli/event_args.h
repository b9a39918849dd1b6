// The arguments of a logged system call as text, from its row of the syscall table: the kind of
// each says how, the outputs say which pointers lead to bytes in the log. Others are printed as
// addresses.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "proto/event_frame.h"
#include "proto/syscall_table.h"

namespace migrate {

struct ArgumentText {
  std::string_view name;  // of the row
  std::string text;
};

// Those that have a meaning: the mode of an open() that creates nothing is left out.
std::vector<ArgumentText> ArgumentTexts(const SyscallRow& row, const Event& event,
                                        std::size_t string_size);

// "3", "0x7f0012340000", "-1 ENOENT (No such file or directory)", "? ERESTARTSYS (...)".
// `row`: may be none.
std::string ResultText(const SyscallRow* row, const Event& event);

}  // namespace migrate
