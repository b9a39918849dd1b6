#include "migrated/address_watch.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include "base/netns.h"
#include "migrated/network/relay.h"
#include "migrated/network/stand_in.h"

namespace migrate {

AddressWatch::AddressWatch(Node& node) : node_(node) {
  subscription_ = node.docker_events().Subscribe([this](const DockerEvent& event) {
    const bool joined = event.type == "network" && event.action == "connect";
    if (!joined && !(event.type == kStream && event.action == kStreamBack)) {
      return;
    }
    const std::lock_guard lock(mutex_);
    if (joined) {
      networks_.push_back(event.actor_id);
    } else {
      all_ = true;
    }
    changed_.notify_all();
  });
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

AddressWatch::~AddressWatch() { subscription_.Reset(); }

void AddressWatch::Run(const std::stop_token& stop) {
  for (;;) {
    std::vector<std::string> networks;
    bool all = false;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [this] { return all_ || !networks_.empty(); })) {
        return;
      }
      std::swap(networks, networks_);
      std::swap(all, all_);
    }
    Result<> looked = all ? CheckAllNetworks() : Result<>();
    for (const std::string& network : networks) {
      if (Result<> checked = CheckNetwork(network); !checked && looked) {
        looked = std::move(checked);
      }
    }
    if (!looked) {
      spdlog::debug("addresses in use: {}", looked.error().message);
    }
  }
}

Result<> AddressWatch::CheckAllNetworks() {
  for (const NetworkInfo& network : TRY(node_.docker().ListNetworks())) {
    if (network.driver == "bridge") {
      TRY(CheckNetwork(network.id));
    }
  }
  return {};
}

Result<> AddressWatch::CheckNetwork(const std::string& network_id) {
  const OwnedFd host = TRY(OpenNetns(getpid()));
  const std::vector<StandIn> stand_ins = TRY(FindStandIns(host));
  if (stand_ins.empty()) {
    return {};
  }
  const NetworkInfo network = TRY(node_.docker().InspectNetwork(network_id));
  for (const v1::LineageRecord& record : TRY(node_.journal().Lineages())) {
    if (!record.moved_away()) {
      continue;  // in the middle of a move the container itself still has its address
    }
    for (const StandIn& stand_in : stand_ins) {
      const auto user = network.addresses_in_use.find(stand_in.address);
      if (stand_in.id != record.own_relay().id() || user == network.addresses_in_use.end()) {
        continue;
      }
      spdlog::info("relay {}: its old address {} belongs to container {} now", stand_in.id,
                   stand_in.address, user->second);
      TRY(WithdrawAddress(host, stand_in.id, stand_in.address));
    }
  }
  return {};
}

}  // namespace migrate
