#include "cli/client.h"

#include <grpcpp/create_channel.h>

#include <cstdio>

#include "proto/ship.pb.h"

namespace migrate {

Client ConnectToDaemon(const std::string& socket) {
  auto channel = grpc::CreateChannel("unix:" + socket, grpc::InsecureChannelCredentials());
  return Client{socket, v1::Control::NewStub(channel)};
}

std::string ReasonOf(const grpc::Status& status) {
  v1::Failure failure;
  return failure.ParseFromString(status.error_details()) ? failure.reason() : std::string();
}

ExitCode ReportError(const Client& client, const grpc::Status& status) {
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && status.error_details().empty() &&
      status.error_message().find("connect") != std::string::npos) {
    std::fprintf(stderr,
                 "migrate: no daemon answers on %s: start migrated, run as root, or name its "
                 "socket with --socket\n",
                 client.socket.c_str());
    return ExitCode::kRefused;
  }
  std::fprintf(stderr, "migrate: %s\n", status.error_message().c_str());
  return ExitCodeOf(status);
}

}  // namespace migrate
