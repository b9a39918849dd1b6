// The hold queues (network/hold_queue.h) of this daemon, by migration: at the source of a move, and
// at an origin whose relay leads to a container that moves between two other hosts. A hold ends by
// Release(), by its own time limit, or with the daemon. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/network/hold_queue.h"

namespace migrate {

class HoldKeeper {
 public:
  // Starts the hold `spec.id` or changes what it holds; what is held already stays.
  Result<> Hold(FdRef host_netns, const HoldSpec& spec);

  bool Has(const std::string& id);

  // Lets go of what is held, in order. Nothing if there is no such hold.
  HoldStats Release(const std::string& id);

 private:
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<HoldQueue>> holds_;  // guarded by mutex_
};

}  // namespace migrate
