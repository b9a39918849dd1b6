// The files in which an engine keeps the output of a container, so that `docker logs` shows the
// history on the target. json-file: <id>-json.log and rotated <id>-json.log.1, .2.gz, ...; local:
// local-logs/container.log and the like. Other drivers keep theirs elsewhere: no files.
//
// They are placed before the first start of the container there; the engine then appends to them.
// The engine itself may still be writing at the source until the container is stopped or frozen
// and its pipes are drained: the last copy is taken then.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "migrated/docker/docker_types.h"

namespace migrate {

struct LogFile {
  std::string path;  // absolute, at the source
  // Relative to the container's directory, with "ID" in place of the container id.
  std::string portable_name;
};

// The files that are there now; an empty list for a driver without files.
Result<std::vector<LogFile>> LogFiles(const ContainerInfo& info, const std::string& docker_root);

// Where the file belongs on the target, whose container directory and id these are.
// kInvalidArgument for a name that leads out of the directory.
Result<std::string> LogPathAt(const std::string& container_dir, const std::string& container_id,
                              const std::string& portable_name);

}  // namespace migrate
