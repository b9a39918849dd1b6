#include "migrated/ship/grpc_settings.h"

#include <grpcpp/grpcpp.h>

#include <chrono>

#include "base/limits.h"
#include "migrated/ship/chunk_limits.h"

namespace migrate {
namespace {

using namespace std::chrono_literals;

int Milliseconds(std::chrono::milliseconds value) { return static_cast<int>(value.count()); }

// A peer that comes back must be found within a stream's own delays between attempts; the
// library's default grows to two minutes, in which every call fails at once.
constexpr auto kFirstReconnectBackoff = 200ms;
constexpr auto kLongestReconnectBackoff = 1s;

}  // namespace

grpc::ChannelArguments MakePeerChannelArguments(PeerChannelUse use) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(limits::kKeepaliveTime));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(limits::kKeepaliveTimeout));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // 0: no limit
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, Milliseconds(kFirstReconnectBackoff));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, Milliseconds(kLongestReconnectBackoff));
  // Despite its name, how long one attempt to connect may take.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, Milliseconds(limits::kPeerConnectTimeout));
  // Daemons reach each other directly, whatever http_proxy says.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // The library's own retries would buffer what the streams keep anyway.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetMaxReceiveMessageSize(limits::kMaxControlMessageBytes);
  arguments.SetMaxSendMessageSize(limits::kMaxControlMessageBytes);
  if (use == PeerChannelUse::kBulk) {
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  }
  return arguments;
}

void ApplyServerKeepalive(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(limits::kKeepaliveTime));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             Milliseconds(limits::kKeepaliveTimeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             Milliseconds(limits::kKeepaliveServerMinimum));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             limits::kConcurrentCallsPerConnection);
  // Two daemons on one address would each get a part of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(limits::kMaxControlMessageBytes);
  builder.SetMaxSendMessageSize(limits::kMaxControlMessageBytes);
}

}  // namespace migrate
