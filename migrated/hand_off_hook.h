// `--network=hook`: the admin's program that moves what is not ours to move, a load balancer or a
// DNS name. Run at the source when the container runs at the target; the facts are in its
// environment (docs/operations.md lists them). Blocks until it ends, kHookTimeout at most.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "migrated/config.h"
#include "proto/journal.pb.h"

namespace migrate {

inline constexpr auto kHookTimeout = std::chrono::seconds(30);
inline constexpr int kHookAttempts = 3;

// Pure: what the hook is told, MIGRATE_*.
std::vector<std::pair<std::string, std::string>> HookEnvironment(const Config& config,
                                                                 const v1::MigrationRecord& record);

// Whether there is a hook that can be run.
Result<> CheckHandOffHook(const Config& config);

// Tried kHookAttempts times; the error says how the last one ended.
Result<> RunHandOffHook(const Config& config, const v1::MigrationRecord& record);

}  // namespace migrate
