// The gRPC services of the daemon: Control on the local unix socket, Peer and Shipping on the peer
// port, health and reflection on both. Thin: they translate, the registry acts. The only place
// where a Result becomes a grpc::Status.
//
// Owns the servers; the destructor ends them. Calls run on gRPC's threads.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "migrated/node.h"
#include "migrated/recordings.h"
#include "migrated/registry.h"

namespace migrate {

class Services {
 public:
  // Listens on both when it returns.
  static Result<std::unique_ptr<Services>> Start(Node& node, Registry& registry,
                                                 Recordings& recordings);
  ~Services();
  Services(const Services&) = delete;
  Services& operator=(const Services&) = delete;

 private:
  struct Impl;
  explicit Services(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace migrate
