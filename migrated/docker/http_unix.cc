#include "migrated/docker/http_unix.h"

#include <sys/socket.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <exception>
#include <optional>

#include "base/limits.h"

namespace migrate {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

struct HttpConnection::Impl {
  using Stream = beast::basic_stream<asio::local::stream_protocol>;

  explicit Impl(std::string path) : socket_path(std::move(path)) {}

  // Starts one asynchronous operation and runs it to its end or to the timeout.
  template <typename Start>
  beast::error_code Run(Start start) {
    beast::error_code result = asio::error::operation_aborted;
    if (cancelled.load()) {
      return result;
    }
    stream.expires_after(timeout);
    start([&result](beast::error_code error, auto&&...) { result = error; });
    io.restart();
    io.run();
    return result;
  }

  Error ToError(const beast::error_code& error, std::string_view doing) const {
    if (cancelled.load()) {
      return MakeError(ErrorCode::kCancelled, "docker engine: cancelled");
    }
    const std::string where =
        "docker engine at " + socket_path + ": " + std::string(doing) + ": " + error.message();
    if (error == beast::error::timeout) {
      return MakeError(ErrorCode::kDeadlineExceeded, where);
    }
    if (error == http::error::body_limit) {
      return MakeError(ErrorCode::kResourceExhausted, where);
    }
    return MakeError(ErrorCode::kUnavailable, where);
  }

  std::string socket_path;
  asio::io_context io{1};
  Stream stream{io};
  beast::flat_buffer buffer;
  std::chrono::milliseconds timeout{};
  std::optional<http::response_parser<http::buffer_body>> body;
  std::atomic<bool> cancelled{false};
};

namespace {

http::verb Verb(const std::string& method) { return http::string_to_verb(method); }

template <typename Body>
http::request<Body> MakeRequest(const HttpRequest& request) {
  http::request<Body> message{Verb(request.method), request.target, 11};
  message.set(http::field::host, "docker");
  message.set(http::field::user_agent, "migrated");
  message.keep_alive(false);
  return message;
}

// The libraries may throw where the system has run out of something.
template <typename F>
auto Guarded(F function) -> decltype(function()) {
  try {
    return function();
  } catch (const std::exception& error) {
    return MakeError(ErrorCode::kInternal, std::string("docker engine: ") + error.what());
  }
}

}  // namespace

HttpConnection::HttpConnection(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpConnection::~HttpConnection() = default;

Result<std::unique_ptr<HttpConnection>> HttpConnection::Open(const std::string& socket_path,
                                                             std::chrono::milliseconds timeout) {
  return Guarded([&]() -> Result<std::unique_ptr<HttpConnection>> {
    auto impl = std::make_unique<Impl>(socket_path);
    // Opened here because asio would open it without close-on-exec.
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
      return ErrnoError("socket");
    }
    impl->stream.socket().assign(asio::local::stream_protocol(), fd);
    impl->timeout = timeout;
    const auto error = impl->Run([&](auto done) {
      impl->stream.async_connect(asio::local::stream_protocol::endpoint(socket_path), done);
    });
    if (error == asio::error::access_denied) {
      return MakeError(ErrorCode::kPermissionDenied,
                       "docker engine at " + socket_path + ": " + error.message());
    }
    if (error) {
      return MakeError(ErrorCode::kUnavailable, "docker engine not reachable at " + socket_path +
                                                    " (" + error.message() + ")");
    }
    return std::unique_ptr<HttpConnection>(new HttpConnection(std::move(impl)));
  });
}

Result<HttpResponse> HttpConnection::Call(const HttpRequest& request) {
  return Guarded([&]() -> Result<HttpResponse> {
    impl_->timeout = request.timeout;
    auto message = MakeRequest<http::string_body>(request);
    if (!request.body.empty()) {
      message.set(http::field::content_type, request.content_type);
      message.body() = request.body;
    }
    message.prepare_payload();
    if (auto error =
            impl_->Run([&](auto done) { http::async_write(impl_->stream, message, done); })) {
      return impl_->ToError(error, request.method + " " + request.target);
    }
    http::response_parser<http::string_body> parser;
    parser.body_limit(limits::kDockerMaxResponseBytes);
    if (request.method == "HEAD") {
      parser.skip(true);
    }
    if (auto error = impl_->Run(
            [&](auto done) { http::async_read(impl_->stream, impl_->buffer, parser, done); })) {
      return impl_->ToError(error, request.method + " " + request.target);
    }
    HttpResponse response;
    response.status = parser.get().result_int();
    response.api_version = std::string(parser.get()["Api-Version"]);
    response.body = std::move(parser.get().body());
    return response;
  });
}

Result<int> HttpConnection::BeginDownload(const HttpRequest& request) {
  return Guarded([&]() -> Result<int> {
    impl_->timeout = request.timeout;
    auto message = MakeRequest<http::empty_body>(request);
    message.prepare_payload();
    if (auto error =
            impl_->Run([&](auto done) { http::async_write(impl_->stream, message, done); })) {
      return impl_->ToError(error, request.method + " " + request.target);
    }
    return ReadStatus();
  });
}

Result<> HttpConnection::BeginUpload(const HttpRequest& request) {
  return Guarded([&]() -> Result<> {
    impl_->timeout = request.timeout;
    auto message = MakeRequest<http::empty_body>(request);
    message.set(http::field::content_type, request.content_type);
    message.chunked(true);
    http::request_serializer<http::empty_body> serializer{message};
    if (auto error = impl_->Run(
            [&](auto done) { http::async_write_header(impl_->stream, serializer, done); })) {
      return impl_->ToError(error, request.method + " " + request.target);
    }
    return {};
  });
}

Result<> HttpConnection::WriteBody(std::span<const std::byte> data) {
  if (data.empty()) {
    return {};  // an empty chunk would end the body
  }
  return Guarded([&]() -> Result<> {
    const auto chunk = http::make_chunk(asio::const_buffer(data.data(), data.size()));
    if (auto error =
            impl_->Run([&](auto done) { asio::async_write(impl_->stream, chunk, done); })) {
      return impl_->ToError(error, "sending");
    }
    return {};
  });
}

Result<> HttpConnection::EndUpload() {
  return Guarded([&]() -> Result<> {
    const auto last = http::make_chunk_last();
    if (auto error = impl_->Run([&](auto done) { asio::async_write(impl_->stream, last, done); })) {
      return impl_->ToError(error, "sending");
    }
    return {};
  });
}

Result<int> HttpConnection::ReadStatus() {
  return Guarded([&]() -> Result<int> {
    impl_->body.emplace();
    impl_->body->body_limit(boost::none);
    if (auto error = impl_->Run([&](auto done) {
          http::async_read_header(impl_->stream, impl_->buffer, *impl_->body, done);
        })) {
      return impl_->ToError(error, "waiting for the answer");
    }
    return static_cast<int>(impl_->body->get().result_int());
  });
}

Result<std::size_t> HttpConnection::ReadBody(std::span<std::byte> buffer) {
  return Guarded([&]() -> Result<std::size_t> {
    auto& parser = *impl_->body;
    while (!parser.is_done()) {
      parser.get().body().data = buffer.data();
      parser.get().body().size = buffer.size();
      // async_read_some returns after one read of the socket: an event must not wait for the next.
      auto error = impl_->Run(
          [&](auto done) { http::async_read_some(impl_->stream, impl_->buffer, parser, done); });
      if (error && error != http::error::need_buffer) {
        return impl_->ToError(error, "reading");
      }
      const std::size_t got = buffer.size() - parser.get().body().size;
      if (got > 0) {
        return got;
      }
    }
    return std::size_t{0};
  });
}

Result<std::string> HttpConnection::ReadRest() {
  std::string text;
  std::byte buffer[4096];
  while (text.size() < limits::kDockerMaxResponseBytes) {
    const std::size_t got = TRY(ReadBody(buffer));
    if (got == 0) {
      break;
    }
    text.append(reinterpret_cast<const char*>(buffer), got);
  }
  return text;
}

void HttpConnection::Cancel() {
  if (!impl_->cancelled.exchange(true)) {
    asio::post(impl_->io, [impl = impl_.get()] { impl->stream.cancel(); });
  }
}

}  // namespace migrate
