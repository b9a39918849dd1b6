#include "migrated/hold_keeper.h"

#include <spdlog/spdlog.h>

namespace migrate {

Result<> HoldKeeper::Hold(FdRef host_netns, const HoldSpec& spec) {
  const std::lock_guard lock(mutex_);
  const auto found = holds_.find(spec.id);
  if (found != holds_.end()) {
    return found->second->Update(spec);
  }
  holds_.emplace(spec.id, TRY(HoldQueue::Start(host_netns, spec)));
  return {};
}

bool HoldKeeper::Has(const std::string& id) {
  const std::lock_guard lock(mutex_);
  return holds_.contains(id);
}

HoldStats HoldKeeper::Release(const std::string& id) {
  std::unique_ptr<HoldQueue> hold;
  {
    const std::lock_guard lock(mutex_);
    const auto found = holds_.find(id);
    if (found == holds_.end()) {
      return {};
    }
    hold = std::move(found->second);
    holds_.erase(found);
  }
  auto stats = hold->Release();
  if (!stats) {
    spdlog::error("hold {}: {}", id, stats.error().message);
    return {};
  }
  return *stats;
}

}  // namespace migrate
