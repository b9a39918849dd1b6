// TLS credentials of the peer port, both directions, from the files of the configuration. gRPC
// headers: for .cc files only.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "base/result.h"
#include "migrated/config.h"

namespace migrate {

Result<std::shared_ptr<grpc::ChannelCredentials>> PeerChannelCredentials(const Config& config);
Result<std::shared_ptr<grpc::ServerCredentials>> PeerServerCredentials(const Config& config);

}  // namespace migrate
