// HTTP/1.1 over a unix socket, one exchange per connection: what docker_client.cc is built on.
//
// Blocks the caller, with a limit on every wait. One thread uses a connection; only Cancel() may
// come from another one. Destruction closes the connection, in the middle of a body too.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace migrate {

struct HttpRequest {
  std::string method;
  std::string target;
  std::string body = {};
  std::string content_type = "application/json";
  std::chrono::milliseconds timeout;  // of the whole exchange; of each step for a stream
};

struct HttpResponse {
  int status = 0;
  std::string body;
  std::string api_version;  // the Api-Version header
};

class HttpConnection {
 public:
  // kUnavailable if nothing listens at `socket_path`.
  static Result<std::unique_ptr<HttpConnection>> Open(const std::string& socket_path,
                                                      std::chrono::milliseconds timeout);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  // The whole exchange; the body is limited to kDockerMaxResponseBytes.
  Result<HttpResponse> Call(const HttpRequest& request);

  // A response whose body is read piece by piece. Returns the status.
  Result<int> BeginDownload(const HttpRequest& request);
  // A request whose body (chunked) is written piece by piece. ReadStatus follows EndUpload, or a
  // failed WriteBody: the engine may have answered with an error before it has read everything.
  Result<> BeginUpload(const HttpRequest& request);
  Result<> WriteBody(std::span<const std::byte> data);
  Result<> EndUpload();
  Result<int> ReadStatus();
  // 0 is the end of the body; a connection that broke off is an error.
  Result<std::size_t> ReadBody(std::span<std::byte> buffer);
  // The rest of a body, e.g. the text of an error.
  Result<std::string> ReadRest();

  void Cancel();  // any thread: the pending and all later steps fail with kCancelled

 private:
  struct Impl;
  explicit HttpConnection(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace migrate
