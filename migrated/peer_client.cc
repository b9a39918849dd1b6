#include "migrated/peer_client.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

#include "migrated/credentials.h"
#include "migrated/ship/grpc_settings.h"
#include "migrated/ship/grpc_status.h"
#include "proto/peer.grpc.pb.h"

namespace migrate {

struct PeerClient::Impl {
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  std::unique_ptr<v1::Peer::Stub> stub;
};

namespace {

// gRPC's own words for a peer that is not there or does not trust us are for gRPC's developers.
Error Explain(Error error, const grpc::Status& status, const std::string& endpoint) {
  if (!CarriesError(status) && error.code == ErrorCode::kDeadlineExceeded) {
    return MakeError(
        ErrorCode::kUnavailable,
        "the daemon on " + endpoint + " did not answer in time: is the host up and the port open?",
        "PEER_UNREACHABLE");
  }
  if (CarriesError(status) || error.code != ErrorCode::kUnavailable) {
    return error;
  }
  if (error.message.find("handshake") != std::string::npos ||
      error.message.find("certificate") != std::string::npos ||
      error.message.find("SSL") != std::string::npos) {
    return MakeError(ErrorCode::kUnauthenticated,
                     "the daemon on " + endpoint +
                         " and this one do not trust each other's certificates, or only one of "
                         "them runs in insecure mode (" +
                         error.message + "); check [tls] in both configurations",
                     "PEER_NOT_TRUSTED");
  }
  return MakeError(ErrorCode::kUnavailable,
                   "no daemon answers on " + endpoint +
                       ": is the host name right, migrated running there, and the port open? (" +
                       error.message + ")",
                   "PEER_UNREACHABLE");
}

template <typename Reply, typename Method, typename Request>
Result<Reply> Call(v1::Peer::Stub& stub, Method method, const Request& request,
                   const CallOptions& options, const std::string& endpoint) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + options.timeout);
  const std::stop_callback cancel(options.stop, [&] { context.TryCancel(); });
  Reply reply;
  const grpc::Status status = (stub.*method)(&context, request, &reply);
  if (status.ok()) {
    return reply;
  }
  if (options.stop.stop_requested() && status.error_code() == grpc::StatusCode::CANCELLED) {
    return MakeError(ErrorCode::kCancelled, "cancelled");
  }
  return Explain(FromStatus(status), status, endpoint);
}

}  // namespace

PeerClient::PeerClient(std::string endpoint, std::unique_ptr<Impl> impl)
    : endpoint_(std::move(endpoint)), impl_(std::move(impl)) {}

PeerClient::~PeerClient() = default;

Result<std::unique_ptr<PeerClient>> PeerClient::Create(const Config& config,
                                                       const std::string& endpoint) {
  auto impl = std::make_unique<Impl>();
  impl->credentials = TRY(PeerChannelCredentials(config));
  impl->stub = v1::Peer::NewStub(
      grpc::CreateCustomChannel(endpoint, impl->credentials, MakePeerChannelArguments()));
  return std::unique_ptr<PeerClient>(new PeerClient(endpoint, std::move(impl)));
}

std::shared_ptr<grpc::Channel> PeerClient::BulkChannel() const {
  return grpc::CreateCustomChannel(endpoint_, impl_->credentials,
                                   MakePeerChannelArguments(PeerChannelUse::kBulk));
}

// One line per call of the service; the names are those of peer.proto.
#define MIGRATE_PEER_CALL(name)                                                         \
  Result<v1::name##Reply> PeerClient::name(const v1::name##Request& request,            \
                                           const CallOptions& options) {                \
    return Call<v1::name##Reply>(*impl_->stub, &v1::Peer::Stub::name, request, options, \
                                 endpoint_);                                            \
  }
MIGRATE_PEER_CALL(Hello)
MIGRATE_PEER_CALL(Prepare)
MIGRATE_PEER_CALL(Receive)
MIGRATE_PEER_CALL(CreateReplica)
MIGRATE_PEER_CALL(Restore)
MIGRATE_PEER_CALL(Commit)
MIGRATE_PEER_CALL(Renew)
MIGRATE_PEER_CALL(GetDecision)
MIGRATE_PEER_CALL(RepointRelay)
MIGRATE_PEER_CALL(RemoveRelaySide)
MIGRATE_PEER_CALL(HoldRelay)
MIGRATE_PEER_CALL(ReleaseHold)
MIGRATE_PEER_CALL(GetStanding)
#undef MIGRATE_PEER_CALL

Result<v1::PeerAbortReply> PeerClient::Abort(const v1::PeerAbortRequest& request,
                                             const CallOptions& options) {
  return Call<v1::PeerAbortReply>(*impl_->stub, &v1::Peer::Stub::Abort, request, options,
                                  endpoint_);
}

}  // namespace migrate
