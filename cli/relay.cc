// `migrate relay list` and `migrate relay rm`: what this host does for containers that left it.
#include "cli/commands.h"

namespace migrate {
namespace {

// The other daemon is told as well, which may have to time out.
constexpr auto kRemoveTimeout = std::chrono::seconds(120);

}  // namespace

ExitCode RunRelayList(const Client& client, const OutputOptions& output) {
  v1::ListRelaysResponse response;
  const grpc::Status status =
      Call(client, &v1::Control::Stub::ListRelays, v1::ListRelaysRequest(), &response);
  if (!status.ok()) {
    return ReportError(client, status);
  }
  if (output.json) {
    std::printf("%s\n", ToJson(response).c_str());
  } else {
    std::printf("%s", RelayTable(response.relays()).c_str());
  }
  return ExitCode::kMoved;
}

ExitCode RunRelayRemove(const Client& client, const v1::RemoveRelayRequest& request,
                        const OutputOptions& output) {
  v1::RemoveRelayResponse response;
  const grpc::Status status =
      Call(client, &v1::Control::Stub::RemoveRelay, request, &response, kRemoveTimeout);
  if (!status.ok()) {
    return ReportError(client, status);
  }
  if (output.json) {
    std::printf("%s\n", ToJson(response).c_str());
    return ExitCode::kMoved;
  }
  for (const std::string& warning : response.warnings()) {
    std::fprintf(stderr, "migrate: %s\n", warning.c_str());
  }
  std::printf("relay %s of %s removed, %u connections ended\n", response.relay().id().c_str(),
              response.relay().container_name().c_str(), response.connections_ended());
  return ExitCode::kMoved;
}

}  // namespace migrate
