// Calls to another daemon. A PeerClient is one channel (mutual TLS, or plain in insecure mode) with
// keepalive, shared by the control calls of one migration; bulk streams get channels of their own.
// Thread-safe. gRPC's headers stay in the .cc file.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "base/limits.h"
#include "base/result.h"
#include "migrated/config.h"
#include "proto/peer.pb.h"

namespace grpc {
class Channel;
}

namespace migrate {

struct CallOptions {
  std::chrono::milliseconds timeout = limits::kPeerCallTimeout;
  std::stop_token stop = {};  // cancels the call
};

class PeerClient {
 public:
  // Does not connect yet; an Error only if the TLS files cannot be read.
  static Result<std::unique_ptr<PeerClient>> Create(const Config& config,
                                                    const std::string& endpoint);
  ~PeerClient();
  PeerClient(const PeerClient&) = delete;
  PeerClient& operator=(const PeerClient&) = delete;

  const std::string& endpoint() const { return endpoint_; }

  Result<v1::HelloReply> Hello(const v1::HelloRequest& request, const CallOptions& options = {});
  Result<v1::PrepareReply> Prepare(const v1::PrepareRequest& request,
                                   const CallOptions& options = {});
  Result<v1::ReceiveReply> Receive(const v1::ReceiveRequest& request, const CallOptions& options);
  Result<v1::CreateReplicaReply> CreateReplica(const v1::CreateReplicaRequest& request,
                                               const CallOptions& options);
  Result<v1::RestoreReply> Restore(const v1::RestoreRequest& request, const CallOptions& options);
  Result<v1::CommitReply> Commit(const v1::CommitRequest& request, const CallOptions& options = {});
  Result<v1::PeerAbortReply> Abort(const v1::PeerAbortRequest& request,
                                   const CallOptions& options = {});
  Result<v1::RenewReply> Renew(const v1::RenewRequest& request, const CallOptions& options = {});
  Result<v1::GetDecisionReply> GetDecision(const v1::GetDecisionRequest& request,
                                           const CallOptions& options = {});
  Result<v1::RepointRelayReply> RepointRelay(const v1::RepointRelayRequest& request,
                                             const CallOptions& options = {});
  Result<v1::RemoveRelaySideReply> RemoveRelaySide(const v1::RemoveRelaySideRequest& request,
                                                   const CallOptions& options = {});
  Result<v1::HoldRelayReply> HoldRelay(const v1::HoldRelayRequest& request,
                                       const CallOptions& options = {});
  Result<v1::ReleaseHoldReply> ReleaseHold(const v1::ReleaseHoldRequest& request,
                                           const CallOptions& options = {});
  Result<v1::GetStandingReply> GetStanding(const v1::GetStandingRequest& request,
                                           const CallOptions& options = {});

  // A new connection, for a bulk stream.
  std::shared_ptr<grpc::Channel> BulkChannel() const;

 private:
  struct Impl;
  PeerClient(std::string endpoint, std::unique_ptr<Impl> impl);

  std::string endpoint_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace migrate
