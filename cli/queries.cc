// `migrate status`, `list`, `abort`, `gc`, `node`: ask the daemon, print the answer.
#include "cli/commands.h"

namespace migrate {
namespace {

void PrintNode(const v1::Node& node) {
  std::printf("node       %s\n", node.name().c_str());
  std::printf("version    %s (protocol %u)\n", node.version().c_str(), node.protocol());
  std::printf("kernel     %s %s\n", node.kernel().c_str(), node.architecture().c_str());
  std::printf("criu       %s\n",
              node.criu_version().empty() ? "none" : node.criu_version().c_str());
  std::printf("runc       %s\n", node.runc_version().c_str());
  std::printf("docker     %s (cgroup v%u)\n", node.docker_version().c_str(), node.cgroup_version());
  std::printf("peers      %s%s\n", node.peer_endpoint().c_str(),
              node.insecure() ? " (INSECURE: no TLS)" : " (mutual TLS)");
  for (const std::string& problem : node.problems()) {
    std::printf("problem    %s\n", problem.c_str());
  }
  for (const std::string& limitation : node.limitations()) {
    std::printf("limitation %s\n", limitation.c_str());
  }
}

void PrintStatus(const v1::Migration& migration) {
  const bool source = migration.role() == v1::ROLE_SOURCE;
  std::printf("%s  %s %s %s  %s\n", migration.id().c_str(), migration.container_name().c_str(),
              source ? "to" : "from", migration.peer().c_str(), OutcomeName(migration).c_str());
  if (migration.outcome() != v1::OUTCOME_UNSPECIFIED) {
    std::printf("%s", Summary(migration).c_str());
  } else {
    ProgressPrinter(ProgressStyle::kPlain, stdout).Update(migration);
  }
}

void PrintOverview(const v1::Overview& overview) {
  std::printf("node       %s, migrated %s%s\n", overview.node().name().c_str(),
              overview.node().version().c_str(),
              overview.node().problems_size() == 0 ? ", ready" : "");
  for (const std::string& problem : overview.node().problems()) {
    std::printf("problem    %s\n", problem.c_str());
  }
  if (overview.migrations_size() == 0) {
    std::printf("migrations none under way\n");
  } else {
    std::printf("\n%s\n", ListHeader().c_str());
    for (const v1::Migration& migration : overview.migrations()) {
      std::printf("%s\n", ListLine(migration).c_str());
    }
    std::printf("%s\n", DoubtLines(overview.migrations()).c_str());
  }
  if (overview.relays_size() == 0) {
    std::printf("relays     none\n");
  } else {
    std::printf("\n%s\n", RelayTable(overview.relays()).c_str());
  }
  if (overview.garbage_size() > 0) {
    std::printf("garbage    %d things that dead migrations left; `migrate gc` shows them\n",
                overview.garbage_size());
  }
}

ExitCode RunOverview(const Client& client, const OutputOptions& output) {
  v1::Overview overview;
  v1::ListMigrationsRequest active;
  active.set_active_only(true);
  v1::ListMigrationsResponse migrations;
  v1::ListRelaysResponse relays;
  v1::CollectGarbageResponse garbage;
  using Stub = v1::Control::Stub;
  grpc::Status status = Call(client, &Stub::GetNode, v1::GetNodeRequest(), overview.mutable_node());
  if (status.ok()) {
    status = Call(client, &Stub::ListMigrations, active, &migrations);
  }
  if (status.ok()) {
    status = Call(client, &Stub::ListRelays, v1::ListRelaysRequest(), &relays);
  }
  if (status.ok()) {
    status = Call(client, &Stub::CollectGarbage, v1::CollectGarbageRequest(), &garbage);
  }
  if (!status.ok()) {
    return ReportError(client, status);
  }
  *overview.mutable_migrations() = std::move(*migrations.mutable_migrations());
  *overview.mutable_relays() = std::move(*relays.mutable_relays());
  *overview.mutable_garbage() = std::move(*garbage.mutable_items());
  if (output.json) {
    std::printf("%s\n", ToJson(overview).c_str());
  } else {
    PrintOverview(overview);
  }
  return ExitCode::kMoved;
}

}  // namespace

ExitCode RunStatus(const Client& client, std::string id, bool watch, const OutputOptions& output) {
  if (id.empty() && !watch) {
    return RunOverview(client, output);
  }
  if (id.empty()) {
    v1::ListMigrationsResponse list;
    const grpc::Status status =
        Call(client, &v1::Control::Stub::ListMigrations, v1::ListMigrationsRequest(), &list);
    if (!status.ok()) {
      return ReportError(client, status);
    }
    if (list.migrations_size() == 0) {
      std::printf("no migration yet\n");
      return ExitCode::kMoved;
    }
    id = list.migrations(list.migrations_size() - 1).id();
  }
  v1::GetMigrationRequest request;
  request.set_id(id);
  v1::Migration migration;
  const grpc::Status status = Call(client, &v1::Control::Stub::GetMigration, request, &migration);
  if (!status.ok()) {
    return ReportError(client, status);
  }
  if (watch && (migration.outcome() == v1::OUTCOME_UNSPECIFIED ||
                migration.outcome() == v1::OUTCOME_IN_DOUBT)) {
    return WatchToEnd(client, migration, Watcher::kSpectator, output);
  }
  if (output.json) {
    std::printf("%s\n", ToJson(migration).c_str());
  } else {
    PrintStatus(migration);
  }
  return ExitCode::kMoved;
}

ExitCode RunList(const Client& client, bool active_only, const OutputOptions& output) {
  v1::ListMigrationsRequest request;
  request.set_active_only(active_only);
  v1::ListMigrationsResponse response;
  const grpc::Status status = Call(client, &v1::Control::Stub::ListMigrations, request, &response);
  if (!status.ok()) {
    return ReportError(client, status);
  }
  if (output.json) {
    std::printf("%s\n", ToJson(response).c_str());
    return ExitCode::kMoved;
  }
  std::printf("%s\n", ListHeader().c_str());
  for (const v1::Migration& migration : response.migrations()) {
    std::printf("%s\n", ListLine(migration).c_str());
  }
  std::printf("%s", DoubtLines(response.migrations()).c_str());
  return ExitCode::kMoved;
}

ExitCode RunAbort(const Client& client, const std::string& id, const OutputOptions& output) {
  v1::AbortMigrationRequest request;
  request.set_id(id);
  v1::Migration migration;
  const grpc::Status status = Call(client, &v1::Control::Stub::AbortMigration, request, &migration);
  if (!status.ok()) {
    return ReportError(client, status);
  }
  if (output.json) {
    std::printf("%s\n", ToJson(migration).c_str());
  } else {
    std::printf("%s: %s; %s runs here\n", id.c_str(), OutcomeName(migration).c_str(),
                migration.container_name().c_str());
  }
  return ExitCode::kMoved;
}

ExitCode RunGc(const Client& client, bool remove, bool moved, const OutputOptions& output) {
  v1::CollectGarbageRequest request;
  request.set_remove(remove);
  request.set_moved_containers(moved);
  v1::CollectGarbageResponse response;
  const grpc::Status status = Call(client, &v1::Control::Stub::CollectGarbage, request, &response);
  if (!status.ok()) {
    return ReportError(client, status);
  }
  if (output.json) {
    std::printf("%s\n", ToJson(response).c_str());
    return ExitCode::kMoved;
  }
  for (const v1::GarbageItem& item : response.items()) {
    std::printf("%-8s %-16s %s%s%s\n", item.removed() ? "removed" : "found", item.kind().c_str(),
                item.name().c_str(), item.detail().empty() ? "" : ": ", item.detail().c_str());
  }
  if (response.items_size() == 0) {
    std::printf("nothing left behind\n");
  } else if (!remove) {
    std::printf("`migrate gc --remove` removes it\n");
  }
  return ExitCode::kMoved;
}

ExitCode RunNode(const Client& client, const OutputOptions& output) {
  v1::Node node;
  const grpc::Status status =
      Call(client, &v1::Control::Stub::GetNode, v1::GetNodeRequest(), &node);
  if (!status.ok()) {
    return ReportError(client, status);
  }
  if (output.json) {
    std::printf("%s\n", ToJson(node).c_str());
  } else {
    PrintNode(node);
  }
  return node.problems_size() == 0 ? ExitCode::kMoved : ExitCode::kRefused;
}

}  // namespace migrate
