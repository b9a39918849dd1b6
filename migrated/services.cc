#include "migrated/services.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/stop_wait.h"
#include "migrated/compatibility.h"
#include "migrated/credentials.h"
#include "migrated/garbage.h"
#include "migrated/hold_keeper.h"
#include "migrated/preflight.h"
#include "migrated/recordings.h"
#include "migrated/relay_leads.h"
#include "migrated/relays.h"
#include "migrated/resolve.h"
#include "migrated/ship/chunk_stream.h"
#include "migrated/ship/grpc_settings.h"
#include "migrated/ship/grpc_status.h"
#include "proto/control.grpc.pb.h"
#include "proto/peer.grpc.pb.h"

namespace migrate {
namespace {

using grpc::ServerContext;
using grpc::Status;

constexpr auto kWatchInterval = std::chrono::milliseconds(100);
constexpr auto kShutdownGrace = std::chrono::seconds(2);

template <typename Message>
Status Answer(Result<Message> result, Message* reply) {
  if (!result) {
    return ToStatus(result.error());
  }
  *reply = std::move(*result);
  return Status::OK;
}

// A source that listens everywhere does not know what we call it: the address it comes from.
// `peer` is gRPC's "ipv4:10.0.0.1:43210" or "ipv6:%5B::1%5D:43210".
void NameSource(v1::PrepareRequest& request, const std::string& peer) {
  const auto endpoint = ParseHostPort(request.source().peer_endpoint(), kDefaultPeerPort);
  if (!endpoint || (endpoint->host != "0.0.0.0" && endpoint->host != "::")) {
    return;
  }
  const auto begin = peer.find(':') + 1;
  const auto end = peer.rfind(':');
  if (begin == 0 || end <= begin) {
    return;
  }
  std::string host = peer.substr(begin, end - begin);
  for (const std::string_view bracket : {"%5B", "%5D", "[", "]"}) {
    if (const auto at = host.find(bracket); at != std::string::npos) {
      host.erase(at, bracket.size());
    }
  }
  request.mutable_source()->set_peer_endpoint(HostPort{host, endpoint->port}.ToString());
}

void SayHealthy(grpc::Server& server, const std::vector<std::string>& services) {
  for (const std::string& service : services) {
    server.GetHealthCheckService()->SetServingStatus(service, true);
  }
}

class ControlService final : public v1::Control::Service {
 public:
  ControlService(Node& node, Registry& registry, Recordings& recordings)
      : node_(node), registry_(registry), recordings_(recordings) {}

  Status StartMigration(ServerContext*, const v1::StartMigrationRequest* request,
                        v1::Migration* reply) override {
    return Answer(registry_.Start(*request), reply);
  }

  Status GetMigration(ServerContext*, const v1::GetMigrationRequest* request,
                      v1::Migration* reply) override {
    return Answer(registry_.Get(request->id()), reply);
  }

  Status ListMigrations(ServerContext*, const v1::ListMigrationsRequest* request,
                        v1::ListMigrationsResponse* reply) override {
    auto list = registry_.List(request->active_only());
    if (!list) {
      return ToStatus(list.error());
    }
    for (v1::Migration& migration : *list) {
      *reply->add_migrations() = std::move(migration);
    }
    return Status::OK;
  }

  Status WatchMigration(ServerContext* context, const v1::WatchMigrationRequest* request,
                        grpc::ServerWriter<v1::Migration>* writer) override {
    const auto progress = registry_.FindProgress(request->id());
    if (!progress) {
      auto ended = registry_.Get(request->id());
      if (!ended) {
        return ToStatus(ended.error());
      }
      writer->Write(*ended);
      return Status::OK;
    }
    std::uint64_t seen = 0;
    while (!context->IsCancelled()) {
      const Progress::Version version = progress->WaitForChange(seen, kWatchInterval);
      const bool ended = request->past_doubt()
                             ? HasEnded(version.migration)
                             : version.migration.outcome() != v1::OUTCOME_UNSPECIFIED;
      seen = version.number;
      if (!writer->Write(version.migration) || ended) {
        break;
      }
      std::this_thread::sleep_for(kWatchInterval);
    }
    return Status::OK;
  }

  Status AbortMigration(ServerContext*, const v1::AbortMigrationRequest* request,
                        v1::Migration* reply) override {
    return Answer(registry_.Abort(request->id()), reply);
  }

  Status Preflight(ServerContext*, const v1::PreflightRequest* request,
                   v1::PreflightResponse* reply) override {
    return Answer(RunPreflight(node_, *request), reply);
  }

  Status GetNode(ServerContext*, const v1::GetNodeRequest*, v1::Node* reply) override {
    *reply = node_.Describe();
    return Status::OK;
  }

  Status CollectGarbage(ServerContext*, const v1::CollectGarbageRequest* request,
                        v1::CollectGarbageResponse* reply) override {
    return Answer(::migrate::CollectGarbage(node_, registry_, *request), reply);
  }

  Status ListRelays(ServerContext*, const v1::ListRelaysRequest*,
                    v1::ListRelaysResponse* reply) override {
    return Answer(::migrate::ListRelays(node_), reply);
  }

  Status RemoveRelay(ServerContext*, const v1::RemoveRelayRequest* request,
                     v1::RemoveRelayResponse* reply) override {
    return Answer(::migrate::RemoveRelay(node_, *request), reply);
  }

  Status ResolveMigration(ServerContext*, const v1::ResolveMigrationRequest* request,
                          v1::Migration* reply) override {
    return Answer(registry_.Resolve(*request), reply);
  }

  Status StopRecording(ServerContext*, const v1::StopRecordingRequest* request,
                       v1::StopRecordingResponse*) override {
    const Result<> stopped = recordings_.Stop(request->id());
    return stopped ? Status::OK : ToStatus(stopped.error());
  }

  // The call lasts as long as the recording, and ends it when it is cancelled.
  Status Record(ServerContext* context, const v1::RecordRequest* request,
                grpc::ServerWriter<v1::Recording>* writer) override {
    std::stop_source stop;
    std::jthread watch([&](const std::stop_token& done) {
      while (!WaitForStop(done, kWatchInterval)) {
        if (context->IsCancelled()) {
          stop.request_stop();
        }
      }
    });
    const Result<> result =
        recordings_.Run(*request, stop.get_token(), [&](const v1::Recording& state) {
          if (!writer->Write(state)) {
            stop.request_stop();
          }
        });
    return result ? Status::OK : ToStatus(result.error());
  }

 private:
  Node& node_;
  Registry& registry_;
  Recordings& recordings_;
};

class PeerService final : public v1::Peer::Service {
 public:
  PeerService(Node& node, Registry& registry) : node_(node), registry_(registry) {}

  Status Hello(ServerContext*, const v1::HelloRequest* request, v1::HelloReply* reply) override {
    *reply->mutable_node() = node_.Describe();
    for (v1::Blocker& blocker : CompatibilityBlockers(request->node(), reply->node())) {
      *reply->add_blockers() = std::move(blocker);
    }
    return Status::OK;
  }

  Status Prepare(ServerContext* context, const v1::PrepareRequest* original,
                 v1::PrepareReply* reply) override {
    v1::PrepareRequest request = *original;
    NameSource(request, context->peer());
    if (request.dry_run()) {
      v1::MigrationRecord record;
      record.mutable_migration()->set_id(request.migration_id());
      TargetMigration dry(node_, std::move(record));
      return Answer(dry.Prepare(request), reply);
    }
    auto target = registry_.OpenTarget(request);
    if (!target) {
      return ToStatus(target.error());
    }
    const Status status = Answer((*target)->Prepare(request), reply);
    if (!status.ok() || reply->blockers_size() > 0) {
      registry_.ForgetTarget(request.migration_id());
    }
    return status;
  }

  Status Receive(ServerContext* context, const v1::ReceiveRequest* request,
                 v1::ReceiveReply* reply) override {
    // A source that gives up cancels its call; the stream is then not waited for any longer.
    std::stop_source stop;
    std::jthread watch([&](const std::stop_token& done) {
      do {
        if (context->IsCancelled()) {
          stop.request_stop();
          return;
        }
      } while (!WaitForStop(done, kWatchInterval));
    });
    return With<v1::ReceiveReply>(*request, reply, [&](TargetMigration& target) {
      return target.Receive(*request, stop.get_token());
    });
  }

  Status CreateReplica(ServerContext*, const v1::CreateReplicaRequest* request,
                       v1::CreateReplicaReply* reply) override {
    return With<v1::CreateReplicaReply>(
        *request, reply, [](TargetMigration& target) { return target.CreateReplica(); });
  }

  Status Restore(ServerContext*, const v1::RestoreRequest* request,
                 v1::RestoreReply* reply) override {
    return With<v1::RestoreReply>(
        *request, reply, [&](TargetMigration& target) { return target.Restore(*request); });
  }

  Status Commit(ServerContext*, const v1::CommitRequest* request, v1::CommitReply* reply) override {
    if (const auto activated = registry_.ActivatedReplica(request->migration_id())) {
      // The answer to an earlier call was lost, and this daemon has been restarted since.
      reply->set_container_id(*activated);
      const Result<> owed = OweRelaysOf(
          node_, *activated, {request->relays_to_lead().begin(), request->relays_to_lead().end()});
      return owed ? Status::OK : ToStatus(owed.error());
    }
    return With<v1::CommitReply>(
        *request, reply, [&](TargetMigration& target) { return target.Commit(*request); });
  }

  Status Abort(ServerContext*, const v1::PeerAbortRequest* request,
               v1::PeerAbortReply* reply) override {
    const auto target = registry_.FindTarget(request->migration_id());
    if (!target) {
      if (registry_.ActivatedReplica(request->migration_id())) {
        return ToStatus(MakeError(
            ErrorCode::kFailedPrecondition,
            "the container of migration " + request->migration_id() + " runs at the target",
            "PAST_COMMIT_POINT"));
      }
      return Status::OK;  // nothing here to undo
    }
    return Answer(target->Abort(MakeError(ErrorCode::kAborted, "the source gave the migration up")),
                  reply);
  }

  Status Renew(ServerContext*, const v1::RenewRequest* request, v1::RenewReply* reply) override {
    return With<v1::RenewReply>(*request, reply, [](TargetMigration& target) {
      target.Touch();
      return Result<v1::RenewReply>(v1::RenewReply());
    });
  }

  Status GetDecision(ServerContext*, const v1::GetDecisionRequest* request,
                     v1::GetDecisionReply* reply) override {
    reply->set_decision(registry_.DecisionOf(request->migration_id()));
    return Status::OK;
  }

  // What its caller does not wait for any more must not be done late: the container may be
  // elsewhere by then.
  Status RepointRelay(ServerContext* context, const v1::RepointRelayRequest* request,
                      v1::RepointRelayReply* reply) override {
    return Answer(RepointOwnRelay(node_, *request, [&] { return context->IsCancelled(); }), reply);
  }

  Status RemoveRelaySide(ServerContext*, const v1::RemoveRelaySideRequest* request,
                         v1::RemoveRelaySideReply* reply) override {
    return Answer(::migrate::RemoveRelaySide(node_, *request), reply);
  }

  Status HoldRelay(ServerContext* context, const v1::HoldRelayRequest* request,
                   v1::HoldRelayReply* reply) override {
    const auto held = HoldRelayFor(node_, *request);
    if (context->IsCancelled()) {
      node_.holds().Release(request->migration_id());  // nobody would
    }
    return Answer(held, reply);
  }

  Status ReleaseHold(ServerContext*, const v1::ReleaseHoldRequest* request,
                     v1::ReleaseHoldReply* reply) override {
    return Answer(ReleaseHoldFor(node_, *request), reply);
  }

  Status GetStanding(ServerContext*, const v1::GetStandingRequest* request,
                     v1::GetStandingReply* reply) override {
    return Answer(registry_.StandingOf(request->migration_id()), reply);
  }

 private:
  template <typename Reply, typename Request, typename Function>
  Status With(const Request& request, Reply* reply, const Function& function) {
    const auto target = registry_.FindTarget(request.migration_id());
    if (!target) {
      return ToStatus(MakeError(ErrorCode::kNotFound,
                                "the target knows no migration " + request.migration_id() +
                                    ": its daemon has given it up or lost it",
                                "UNKNOWN_MIGRATION"));
    }
    return Answer(function(*target), reply);
  }

  Node& node_;
  Registry& registry_;
};

}  // namespace

struct Services::Impl {
  Impl(Node& node, Registry& registry, Recordings& recordings)
      : ship(node.ship()), control(node, registry, recordings), peer(node, registry) {}

  ShipService& ship;
  ControlService control;
  PeerService peer;
  std::unique_ptr<grpc::Server> control_server;
  std::unique_ptr<grpc::Server> peer_server;
};

Services::Services(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Services>> Services::Start(Node& node, Registry& registry,
                                                  Recordings& recordings) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  auto impl = std::make_unique<Impl>(node, registry, recordings);

  grpc::ServerBuilder peer;
  ApplyServerKeepalive(peer);
  int port = 0;
  peer.AddListeningPort(node.config().peer_listen, TRY(PeerServerCredentials(node.config())),
                        &port);
  peer.RegisterService(&impl->peer);
  peer.RegisterService(node.ship().grpc_service());
  impl->peer_server = peer.BuildAndStart();
  if (!impl->peer_server || port == 0) {
    return MakeError(ErrorCode::kUnavailable,
                     "cannot listen on " + node.config().peer_listen +
                         ": is the address one of this host's, and the port free?");
  }

  const std::string& socket = node.config().control_socket;
  unlink(socket.c_str());  // a dead daemon's; a live one holds the journal and was found there
  const mode_t mask = umask(0177);
  grpc::ServerBuilder control;
  control.AddListeningPort("unix:" + socket, grpc::InsecureServerCredentials());
  control.RegisterService(&impl->control);
  impl->control_server = control.BuildAndStart();
  umask(mask);
  if (!impl->control_server) {
    return MakeError(ErrorCode::kUnavailable, "cannot listen on " + socket);
  }
  SayHealthy(*impl->peer_server, {"migrate.v1.Peer", "migrate.v1.Shipping"});
  SayHealthy(*impl->control_server, {"migrate.v1.Control"});
  return std::unique_ptr<Services>(new Services(std::move(impl)));
}

Services::~Services() {
  impl_->ship.Shutdown();
  const auto deadline = std::chrono::system_clock::now() + kShutdownGrace;
  impl_->control_server->Shutdown(deadline);
  impl_->peer_server->Shutdown(deadline);
}

}  // namespace migrate
