#include "migrated/host_undo.h"

#include <filesystem>

#include "migrated/docker/create_on_target.h"
#include "migrated/hold_keeper.h"
#include "migrated/kernel_undo.h"
#include "migrated/oci_runtime/ticket.h"

namespace migrate {
namespace {

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
  if (item.kind() == v1::UndoItem::HOLD) {
    node.holds().Release(item.name());  // in order, if it is this daemon's
  }
  if (std::optional<std::string> undone = TRY(UndoInKernel(item))) {
    return std::move(*undone);
  }
  switch (item.kind()) {
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
