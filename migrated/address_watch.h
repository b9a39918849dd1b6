// Docker gives the address of a container that left to the next one that wants it. From that moment
// this host must not answer for it any more (network/stand_in.h): the new container is reached
// under it, and clients of the one that left keep their connections, which do not depend on it.
//
// Owns a thread that looks whenever a container joins a network, when the engine is back, and once
// at the start. The destructor ends it. Thread-safe.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "migrated/docker/events.h"
#include "migrated/node.h"

namespace migrate {

class AddressWatch {
 public:
  explicit AddressWatch(Node& node);
  ~AddressWatch();
  AddressWatch(const AddressWatch&) = delete;
  AddressWatch& operator=(const AddressWatch&) = delete;

 private:
  void Run(const std::stop_token& stop);
  Result<> CheckNetwork(const std::string& network);
  Result<> CheckAllNetworks();

  Node& node_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<std::string> networks_;  // to be looked at; guarded by mutex_
  bool all_ = true;                    // guarded by mutex_
  DockerEvents::Subscription subscription_;
  std::jthread thread_;
};

}  // namespace migrate
