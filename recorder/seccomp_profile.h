// The seccomp profile that keeps a container recordable: for `docker run --security-opt
// seccomp=FILE`. It is Docker's default profile with one difference: calls whose effect cannot be
// recorded, and that programs do without by themselves (io_uring, ...), answer ENOSYS as on a
// kernel that lacks them. Which calls cannot be recorded is said by proto/syscall_table.h. Values;
// any thread.
//
// "Docker's default" is what both 20.10.24 and 23.0 allow on x86-64, so that the profile opens
// nothing on either. Engines before 20.10.10 do not read `errnoRet` and answer EPERM instead.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace migrate {

// What answers ENOSYS, sorted.
std::vector<std::string> SeccompRefusedCalls();

// The profile as JSON, the same text every time. Fails if libseccomp does not know one of the
// names: then Docker's would not either, and drop the rule without a word.
Result<std::string> SeccompProfile();

}  // namespace migrate
