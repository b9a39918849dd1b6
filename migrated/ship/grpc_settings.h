// How daemons talk gRPC to each other: keepalive and limits, set on both ends together, because a
// server that finds the pings of its peer too frequent closes the connection. With them a pulled
// cable is an error within 16 s. Stateless; thread-safe.
#pragma once

namespace grpc {
class ChannelArguments;
class ServerBuilder;
}  // namespace grpc

namespace migrate {

// Bulk streams have a TCP connection of their own, so that control calls do not queue behind them.
enum class PeerChannelUse { kControl, kBulk };

grpc::ChannelArguments MakePeerChannelArguments(PeerChannelUse use = PeerChannelUse::kControl);

void ApplyServerKeepalive(grpc::ServerBuilder& builder);

}  // namespace migrate
