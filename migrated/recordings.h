// `migrate record`: a checkpoint of a running container, its files at that moment and the log of
// everything that it did from then on, in a directory of this host (docs/recording.md). The
// container goes on; a recording does not move anything.
//
// What it changes on the host is in the journal before it is changed, and a watchdog puts it back if
// the daemon dies; Recover() does what is left. Thread-safe; Run() blocks for the whole recording.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "migrated/node.h"
#include "proto/control.pb.h"

namespace migrate {

class Registry;

class Recordings {
 public:
  Recordings(Node& node, Registry& registry) : node_(node), registry_(registry) {}

  // Puts back what recordings of a daemon that died have left.
  Result<> Recover();

  // `show` is called with every state, ten times a second; when `stop` is requested the recording
  // ends as if its time were over. An error is one that the last state shows as well.
  using Show = std::function<void(const v1::Recording&)>;
  Result<> Run(const v1::RecordRequest& request, const std::stop_token& stop, const Show& show);
  // kNotFound if no such recording is under way.
  Result<> Stop(const std::string& id);

 private:
  Node& node_;
  Registry& registry_;
  std::mutex mutex_;
  std::map<std::string, std::stop_source> running_;  // by id; guarded by mutex_
};

}  // namespace migrate
