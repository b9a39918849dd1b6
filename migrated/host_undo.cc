#include "migrated/host_undo.h"

#include <charconv>
#include <filesystem>

#include "base/cgroup.h"
#include "base/netns.h"
#include "migrated/container_processes.h"
#include "migrated/docker/create_on_target.h"
#include "migrated/network/netlock.h"
#include "migrated/oci_runtime/ticket.h"

namespace migrate {
namespace {

Result<std::string> Thaw(const std::string& cgroup) {
  if (!std::filesystem::exists(cgroup)) {
    return std::string();  // the container has been stopped or removed meanwhile
  }
  TRY(FrozenCgroup::Thaw(cgroup));
  return std::string("the container runs again");
}

Result<std::string> Unlock(const v1::UndoItem& item) {
  int pid = 0;
  std::from_chars(item.name().data(), item.name().data() + item.name().size(), pid);
  const auto start_time = StartTimeOf(pid);
  if (!start_time || *start_time != item.detail()) {
    return std::string();  // that process has ended, and its namespace with it
  }
  TRY(UnlockNetns(TRY(OpenNetns(pid))));
  return std::string("its network is unlocked");
}

Result<std::string> RemoveDirectory(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) {
    return ErrnoError("remove " + path, error.value());
  }
  return std::string();
}

Result<std::string> UndoDocker(Node& node, const v1::UndoItem& item) {
  const UndoKind kind = TRY(UndoKindFromName(item.detail()));
  TRY(UndoCreate(node.docker(), {UndoItem{kind, item.name()}}));
  return item.detail() + " " + item.name() + " removed at " + node.config().node_name;
}

}  // namespace

Result<std::string> UndoOnHost(Node& node, const v1::UndoItem& item) {
  switch (item.kind()) {
    case v1::UndoItem::FROZEN_CGROUP:
      return Thaw(item.name());
    case v1::UndoItem::NETWORK_LOCK:
      return Unlock(item);
    case v1::UndoItem::DIRECTORY:
      return RemoveDirectory(item.name());
    case v1::UndoItem::DOCKER:
      return UndoDocker(node, item);
    case v1::UndoItem::TICKET:
      TRY(RemoveTicket(node.config().runtime_state_dir, item.name()));
      return std::string();
    default:
      return MakeError(ErrorCode::kInternal, "an undo entry of an unknown kind");
  }
}

}  // namespace migrate
