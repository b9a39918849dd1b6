// A Docker Engine for tests: answers each request on a unix socket with what a handler says.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/owned_fd.h"

namespace migrate::testing {

struct FakeRequest {
  std::string method;
  std::string target;
  std::string body;  // without chunk framing
};

class FakeEngine {
 public:
  // The handler returns the raw response; it may be called from several threads. `/_ping` is
  // answered by the fake itself.
  using Handler = std::function<std::string(const FakeRequest&)>;

  explicit FakeEngine(Handler handler, std::string api_version = "1.41");
  ~FakeEngine();

  const std::string& path() const { return path_; }
  std::vector<FakeRequest> requests();

 private:
  void Serve();
  void ServeOne(OwnedFd connection);

  Handler handler_;
  std::string api_version_;
  std::string directory_;
  std::string path_;
  OwnedFd listener_;
  std::mutex mutex_;
  std::vector<FakeRequest> requests_;
  std::thread thread_;
  std::vector<std::thread> workers_;
};

std::string HttpText(int status, const std::string& body);
// The body in chunks of the given size.
std::string ChunkedText(int status, const std::string& body, std::size_t chunk);

}  // namespace migrate::testing
