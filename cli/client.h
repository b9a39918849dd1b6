// The CLI's connection to the local daemon over its unix socket.
#pragma once

#include <grpcpp/client_context.h>

#include <chrono>
#include <memory>
#include <string>

#include "cli/exit_code.h"
#include "proto/control.grpc.pb.h"

namespace migrate {

struct Client {
  std::string socket;
  std::unique_ptr<v1::Control::Stub> stub;
};

Client ConnectToDaemon(const std::string& socket);

// The machine-readable reason of an error of the daemon, e.g. "NAME_TAKEN"; may be empty.
std::string ReasonOf(const grpc::Status& status);

// Prints the error as one line and returns its exit code.
ExitCode ReportError(const Client& client, const grpc::Status& status);

inline constexpr auto kCallTimeout = std::chrono::seconds(60);

// A unary call with a deadline.
template <typename Method, typename Request, typename Response>
grpc::Status Call(const Client& client, Method method, const Request& request, Response* response,
                  std::chrono::seconds timeout = kCallTimeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  return (client.stub.get()->*method)(&context, request, response);
}

}  // namespace migrate
