#include "recorder/control_stops.h"
#include "recorder/recording.h"
#include "recorder/serialize.h"

namespace migrate {

Result<> UndoRecording(const RecordingUndo& undo, const std::filesystem::path& cgroup) {
  switch (undo.kind) {
    case RecordingUndo::Kind::kScheduling:
      return UndoSerialize(TRY(SerializeUndo::FromJson(undo.value)));
    case RecordingUndo::Kind::kVdso:
    case RecordingUndo::Kind::kTsc:
      return UndoControlStops(cgroup);
  }
  return {};
}

}  // namespace migrate
