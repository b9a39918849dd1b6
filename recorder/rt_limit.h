// The host's limit on real-time tasks (kernel.sched_rt_runtime_us), lifted as long as anything is
// recorded.
//
// It stalls a real-time task that uses its whole CPU for 50 ms in each second; and where the kernel
// has real-time group scheduling, it also forbids SCHED_FIFO in every cgroup without a budget of its
// own, and the budgets of all containers together may not exceed one CPU. Without the limit (-1)
// the kernel asks for no budgets either, with cgroup v1 and v2 alike, so one number is all that is
// changed. What keeps the other tasks of the CPU alive then is the kernel's fair server (6.12), or
// the starvation watchdog.
//
// Several recordings share it: each leaves a file with its name in a directory, and the last one to
// go puts the old limit back. The directory is in /run: both are gone after a boot. Any thread, any
// process.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace migrate {

struct RtLimitPlaces {
  std::filesystem::path limit = "/proc/sys/kernel/sched_rt_runtime_us";
  std::filesystem::path users = "/run/migrate-rt-limit";
};

// `user`: a file name. Twice the same is once.
Result<> LiftRtLimit(std::string_view user, const RtLimitPlaces& places = {});
// Of tasks in cgroups without a budget none may be real-time any more. Without a prior
// LiftRtLimit() it does nothing.
Result<> ReturnRtLimit(std::string_view user, const RtLimitPlaces& places = {});

}  // namespace migrate
