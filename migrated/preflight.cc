#include "migrated/preflight.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <optional>

#include "base/cgroup.h"
#include "base/file_util.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/netns.h"
#include "migrated/address_mode.h"
#include "migrated/compatibility.h"
#include "migrated/container_processes.h"
#include "migrated/docker/image_transfer.h"
#include "migrated/docker/preflight.h"
#include "migrated/foreign_limits.h"
#include "migrated/hand_off_hook.h"
#include "migrated/log_tree.h"
#include "migrated/proxy_connections.h"
#include "migrated/relay_leads.h"
#include "migrated/relays.h"
#include "recorder/preflight.h"

namespace migrate {
namespace {

// Walking a large volume to the last file would take longer than the answer is worth.
constexpr int kMaxFilesCounted = 200'000;

v1::Blocker ToProto(const Blocker& blocker) {
  v1::Blocker proto;
  proto.set_code(blocker.code);
  proto.set_subject(blocker.subject);
  proto.set_detail(blocker.detail);
  proto.set_remedy(blocker.remedy);
  return proto;
}

BindMountPolicy BindMountsOf(const v1::MigrationOptions& options) {
  return options.bind_mounts() == v1::BIND_MOUNTS_COPY ? BindMountPolicy::kCopy
                                                       : BindMountPolicy::kExisting;
}

std::uint64_t ResidentBytes(const std::string& cgroup) {
  std::uint64_t bytes = 0;
  const auto processes = CgroupProcesses(cgroup);
  for (const int pid : processes ? *processes : std::vector<int>()) {
    const auto text = ReadSmallFile("/proc/" + std::to_string(pid) + "/statm");
    std::uint64_t size = 0;
    std::uint64_t resident = 0;
    if (text && std::sscanf(text->c_str(), "%lu %lu", &size, &resident) == 2) {
      bytes += resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    }
  }
  return bytes;
}

std::uint64_t TreeBytes(const std::string& path) {
  std::uint64_t bytes = 0;
  int files = 0;
  std::error_code error;
  for (auto it = std::filesystem::recursive_directory_iterator(
           path, std::filesystem::directory_options::skip_permission_denied, error);
       it != std::filesystem::recursive_directory_iterator() && files < kMaxFilesCounted;
       it.increment(error)) {
    struct stat status {};
    if (lstat(it->path().c_str(), &status) == 0) {
      bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    ++files;
  }
  return bytes;
}

// On either side the checkpoint is on the disk until the container has moved.
std::optional<Blocker> CheckpointSpaceBlocker(const Node& node, std::uint64_t memory_bytes) {
  const std::string& directory = node.config().state_dir;
  struct statvfs disk {};
  if (statvfs(directory.c_str(), &disk) != 0) {
    return std::nullopt;
  }
  const std::uint64_t free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  if (free >= memory_bytes) {
    return std::nullopt;
  }
  return Blocker{"NO_SPACE", node.config().node_name + ":" + directory,
                 "the checkpoint needs up to " + std::to_string(memory_bytes) + " bytes, " +
                     std::to_string(free) + " are free",
                 "make room, or set state.dir to a larger disk"};
}

std::optional<Blocker> ForeignLimitsBlocker(const Node& node, const std::string& cgroup) {
  const auto processes = CgroupProcesses(cgroup);
  const std::vector<int> foreign =
      processes ? WithUnreadableLimits(*processes) : std::vector<int>();
  const Result<> possible = foreign.empty() ? Result<>() : node.ForeignLimits();
  if (possible) {
    return std::nullopt;
  }
  return Blocker{possible.error().reason, "pid " + std::to_string(foreign.front()),
                 possible.error().message,
                 "let the daemon have CAP_SYS_RESOURCE (of the virtual machine or sandbox, or "
                 "CapabilityBoundingSet= of its unit), or run the container as root"};
}

void AddNodeProblems(Node& node, SourceInspection& inspection) {
  const v1::Node self = node.Describe();
  for (const std::string& problem : self.problems()) {
    v1::Blocker blocker;
    blocker.set_code("SOURCE_NOT_READY");
    blocker.set_subject(node.config().node_name);
    blocker.set_detail(problem);
    inspection.blockers.push_back(blocker);
  }
}

}  // namespace

Result<std::vector<ShippedTree>> ContainerTrees(Node& node, const ContainerInfo& container,
                                                const ContainerSpec& spec,
                                                const v1::MigrationOptions& options) {
  std::vector<ShippedTree> trees;
  trees.push_back({v1::TreeName::WRITABLE_LAYER, "", container.upper_dir, "/", {}});
  for (const MountSpec& mount : spec.mounts) {
    if (mount.kind == MountKind::kNamedVolume || mount.kind == MountKind::kAnonymousVolume) {
      for (const MountPoint& point : container.mounts) {
        if (point.destination == mount.destination) {
          trees.push_back(
              {v1::TreeName::VOLUME, mount.destination, point.source, mount.destination, {}});
        }
      }
    } else if (mount.kind == MountKind::kBind && mount.path_kind == PathKind::kDirectory &&
               options.bind_mounts() == v1::BIND_MOUNTS_COPY) {
      trees.push_back(
          {v1::TreeName::BIND_MOUNT, mount.destination, mount.source_path, mount.destination, {}});
    }
  }
  const EngineInfo engine = TRY(node.docker().Info());
  if (const auto logs = TRY(LogTreeOf(container, engine.root_dir))) {
    trees.push_back({v1::TreeName::LOGS, "", logs->directory, "", logs->excludes});
  }
  return trees;
}

Result<int> CountProxied(const ContainerInfo& container) {
  std::vector<std::string> addresses;
  for (const Endpoint& endpoint : container.endpoints) {
    for (const std::string& address : {endpoint.ipv4, endpoint.ipv6}) {
      if (!address.empty()) {
        addresses.push_back(address);
      }
    }
  }
  return CountProxiedConnections(TRY(OpenNetns(getpid())), addresses);
}

Result<SourceInspection> InspectSource(Node& node, const std::string& container,
                                       const v1::MigrationOptions& options) {
  SourceInspection inspection;
  inspection.container = TRY(node.docker().InspectContainer(container));
  inspection.spec = TRY(BuildSpec(node.docker(), inspection.container.id));
  inspection.lineage = TRY(LineageOf(node, inspection.container.id));
  AddNodeProblems(node, inspection);
  for (const Blocker& blocker : CheckSource(
           inspection.spec,
           {.bind_mounts = BindMountsOf(options), .runtime_name = node.config().runtime_name})) {
    inspection.blockers.push_back(ToProto(blocker));
  }
  if (!inspection.container.running || inspection.container.pid <= 0) {
    return inspection;  // the rest needs processes
  }
  const std::string cgroup =
      TRY(FindFreezerCgroup(inspection.container.pid, inspection.container.id));
  (void)WaitForExecsToEnd(inspection.container.pid, cgroup);  // a health check soon ends
  for (const Blocker& blocker : InspectContainerTasks(inspection.container.pid, cgroup)) {
    inspection.blockers.push_back(ToProto(blocker));
  }
  if (const auto blocker = ForeignLimitsBlocker(node, cgroup)) {
    inspection.blockers.push_back(ToProto(*blocker));
  }
  for (const Blocker& blocker : RelayBlockers(node, inspection.spec)) {
    inspection.blockers.push_back(ToProto(blocker));
  }
  if (options.network_mode() == v1::NETWORK_MODE_HOOK) {
    if (const Result<> hook = CheckHandOffHook(node.config()); !hook) {
      inspection.blockers.push_back(
          ToProto(Blocker{"NO_HOOK", node.config().node_name, hook.error().message,
                          "configure it, or use --network=relay"}));
    }
  }
  for (const std::string& note : RelayNotes(node, inspection.spec)) {
    inspection.notes.push_back(note);
  }
  if (const int proxied = TRY(CountProxied(inspection.container)); proxied > 0) {
    inspection.notes.push_back(DescribeProxiedConnections(proxied));
  }
  for (const Blocker& note : NotesOnSource(inspection.spec)) {
    inspection.notes.push_back(note.subject + ": " + note.detail);
  }
  inspection.memory_bytes = ResidentBytes(cgroup);
  if (const auto blocker = CheckpointSpaceBlocker(node, inspection.memory_bytes)) {
    inspection.blockers.push_back(ToProto(*blocker));
  }
  for (const ShippedTree& tree :
       TRY(ContainerTrees(node, inspection.container, inspection.spec, options))) {
    if (tree.kind != v1::TreeName::LOGS) {
      inspection.file_bytes += TreeBytes(tree.path);
    }
  }
  return inspection;
}

Result<v1::PrepareReply> InspectTarget(Node& node, PeerClient& peer,
                                       const SourceInspection& inspection,
                                       const v1::MigrationOptions& options,
                                       const std::string& migration_id, bool dry_run,
                                       const std::stop_token& stop) {
  v1::HelloRequest hello;
  *hello.mutable_node() = node.Describe();
  const v1::HelloReply answer =
      TRY(peer.Hello(hello, {.timeout = limits::kPeerConnectTimeout, .stop = stop}));
  v1::PrepareReply reply;
  if (IsAddressMode(options)) {
    for (const Blocker& blocker :
         AddressModeBlockers(inspection.spec, peer.endpoint(), v1::ROLE_SOURCE)) {
      *reply.add_blockers() = ToProto(blocker);
    }
  }
  for (v1::Blocker& blocker : CompatibilityBlockers(hello.node(), answer.node())) {
    *reply.add_blockers() = std::move(blocker);
  }
  if (reply.blockers_size() == 0) {
    *reply.mutable_blockers() = answer.blockers();
  }
  if (reply.blockers_size() > 0) {
    return reply;
  }
  v1::PrepareRequest request;
  request.set_migration_id(migration_id);
  *request.mutable_source() = hello.node();
  request.set_spec(SpecToJson(inspection.spec));
  *request.mutable_options() = options;
  request.set_file_bytes(inspection.file_bytes);
  request.set_memory_bytes(inspection.memory_bytes);
  request.set_dry_run(dry_run);
  *request.mutable_lineage() = inspection.lineage;
  return peer.Prepare(request, {.stop = stop});
}

Result<> FindTargetBlockers(Node& node, const ContainerSpec& spec,
                            const v1::PrepareRequest& request, v1::PrepareReply& reply) {
  TargetCheckOptions options;
  options.runtime_name = node.config().runtime_name;
  options.bind_mounts = BindMountsOf(request.options());
  options.ours_from_earlier_move = TRY(VolumesOfLineage(node, request.lineage().id()));
  options.required_bytes = static_cast<std::int64_t>(request.file_bytes());
  // The image, too, where it must come along; the checkpoint goes to the state directory.
  const std::size_t present = TRY(PresentLayers(node.docker(), spec.image_diff_ids));
  const auto image = node.docker().InspectImage(spec.image_id);
  reply.set_needs_image(!image.has_value());
  reply.set_layers_present(static_cast<std::uint32_t>(present));
  if (reply.needs_image()) {
    options.required_bytes += spec.image_bytes;
  }
  for (const Blocker& blocker : TRY(CheckTarget(node.docker(), spec, options))) {
    *reply.add_blockers() = ToProto(blocker);
  }
  if (IsAddressMode(request.options())) {
    for (const Blocker& blocker :
         AddressModeBlockers(spec, request.source().peer_endpoint(), v1::ROLE_TARGET)) {
      *reply.add_blockers() = ToProto(blocker);
    }
  }
  if (const auto blocker = CheckpointSpaceBlocker(node, request.memory_bytes())) {
    *reply.add_blockers() = ToProto(*blocker);
  }
  return {};
}

Result<v1::PreflightResponse> RunPreflight(Node& node, const v1::PreflightRequest& request) {
  const SourceInspection inspection =
      TRY(InspectSource(node, request.container(), request.options()));
  v1::PreflightResponse response;
  for (const v1::Blocker& blocker : inspection.blockers) {
    *response.add_blockers() = blocker;
  }
  for (const std::string& note : inspection.notes) {
    response.add_notes(note);
  }
  response.set_memory_bytes(inspection.memory_bytes);
  response.set_file_bytes(inspection.file_bytes);
  if (request.target().empty()) {
    return response;
  }
  const HostPort target = TRY(ParseHostPort(request.target(), kDefaultPeerPort));
  for (const std::string& note : NotesOnOrigins(node, inspection.lineage, target.ToString())) {
    response.add_notes(note);
  }
  auto peer = TRY(node.ConnectPeer(target.ToString()));
  const v1::PrepareReply reply =
      TRY(InspectTarget(node, *peer, inspection, request.options(), NewMigrationId(),
                        /*dry_run=*/true, {}));
  for (const v1::Blocker& blocker : reply.blockers()) {
    *response.add_blockers() = blocker;
  }
  for (const std::string& note : reply.notes()) {
    response.add_notes(note);
  }
  response.set_image_at_target(!reply.needs_image());
  return response;
}

}  // namespace migrate
