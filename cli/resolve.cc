// `migrate resolve`: the one case that needs a human. What is asserted is said by the daemon, in
// its refusal of a request without the assertion; on a terminal it may be given by typing the name
// of the other host, elsewhere only as a flag.
#include <unistd.h>

#include <iostream>

#include "cli/commands.h"

namespace migrate {
namespace {

// Longer than the daemon needs to ask the other one, and to end what is resolved.
constexpr auto kResolveTimeout = std::chrono::seconds(240);

std::string HostOf(const std::string& endpoint) { return endpoint.substr(0, endpoint.rfind(':')); }

bool ConfirmedOnTerminal(const Client& client, const std::string& id, const std::string& what) {
  v1::GetMigrationRequest request;
  request.set_id(id);
  v1::Migration migration;
  if (isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1 ||
      !Call(client, &v1::Control::Stub::GetMigration, request, &migration).ok()) {
    return false;
  }
  const std::string host = HostOf(migration.peer());
  std::fprintf(stderr,
               "%s%s\nType the name of that host, %s, if this is so: ", Summary(migration).c_str(),
               what.c_str(), host.c_str());
  std::string typed;
  std::getline(std::cin, typed);
  return typed == host;
}

}  // namespace

ExitCode RunResolve(const Client& client, const v1::ResolveMigrationRequest& command,
                    const OutputOptions& output) {
  if (command.verdict() == v1::ResolveMigrationRequest::VERDICT_UNSPECIFIED) {
    return RunStatus(client, command.id(), false, output);
  }
  v1::ResolveMigrationRequest request = command;
  v1::Migration migration;
  grpc::Status status =
      Call(client, &v1::Control::Stub::ResolveMigration, request, &migration, kResolveTimeout);
  if (!status.ok() && ReasonOf(status) == "ASSERTION_NEEDED" &&
      ConfirmedOnTerminal(client, request.id(), status.error_message())) {
    request.set_peer_is_gone(true);
    status =
        Call(client, &v1::Control::Stub::ResolveMigration, request, &migration, kResolveTimeout);
  }
  if (!status.ok()) {
    return ReportError(client, status);
  }
  if (output.json) {
    std::printf("%s\n", ToJson(migration).c_str());
  } else {
    std::printf("%s: %s\n", migration.id().c_str(), migration.resolution().c_str());
  }
  return ExitCode::kMoved;
}

}  // namespace migrate
