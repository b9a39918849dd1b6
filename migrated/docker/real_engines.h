// Real Docker Engines for tests: each dockerd in a network and mount namespace of its own, with
// its own directories. Owns everything that it starts; the destructor leaves nothing behind.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "base/owned_fd.h"
#include "migrated/docker/docker_client.h"

namespace migrate::testing {

class RealEngine {
 public:
  // `dockerd`: the program. `with_runtime`: the engine knows runc under the name "migrate", too.
  RealEngine(const std::string& dockerd, bool with_runtime);
  ~RealEngine();

  DockerClient& client() { return *client_; }
  // `docker ARGS`; checks success; the output without its last newline.
  std::string Docker(const std::vector<std::string>& args);
  std::string Inspect(const std::string& what, const std::string& format);
  // As Docker(), with whatever it printed and without a check.
  std::string TryDocker(const std::vector<std::string>& args);
  FdRef netns() const { return netns_; }
  const std::string& directory() const { return directory_; }
  // Imports a directory tree with a shell as image `tag`; returns the image id.
  void ImportBase(const std::string& tag);

 private:
  std::string directory_;
  pid_t pid_ = -1;
  OwnedFd netns_;
  std::unique_ptr<DockerClient> client_;
};

}  // namespace migrate::testing
