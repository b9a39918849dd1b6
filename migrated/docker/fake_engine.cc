#include "migrated/docker/fake_engine.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/check.h"

namespace migrate::testing {

namespace {

// More bytes from the peer; false at the end.
bool ReadMore(const OwnedFd& fd, std::string& text) {
  char buffer[65536];
  const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
  if (got <= 0) {
    return false;
  }
  text.append(buffer, static_cast<std::size_t>(got));
  return true;
}

// False if the connection ended within the body.
bool ReadChunked(const OwnedFd& fd, std::string& rest, std::string& body) {
  while (true) {
    std::size_t end = 0;
    while ((end = rest.find("\r\n")) == std::string::npos) {
      if (!ReadMore(fd, rest)) {
        return false;
      }
    }
    const std::size_t size = std::stoul(rest.substr(0, end), nullptr, 16);
    while (rest.size() < end + 2 + size + 2) {
      if (!ReadMore(fd, rest)) {
        return false;
      }
    }
    body += rest.substr(end + 2, size);
    rest.erase(0, end + 2 + size + 2);
    if (size == 0) {
      return true;
    }
  }
}

}  // namespace

std::string HttpText(int status, const std::string& body) {
  return "HTTP/1.1 " + std::to_string(status) +
         " Text\r\nApi-Version: 1.41\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

std::string ChunkedText(int status, const std::string& body, std::size_t chunk) {
  std::string text =
      "HTTP/1.1 " + std::to_string(status) + " Text\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (std::size_t at = 0; at < body.size(); at += chunk) {
    const std::string piece = body.substr(at, chunk);
    char size[32];
    std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
    text += size + piece + "\r\n";
  }
  return text + "0\r\n\r\n";
}

FakeEngine::FakeEngine(Handler handler, std::string api_version)
    : handler_(std::move(handler)), api_version_(std::move(api_version)) {
  char directory[] = "/tmp/fake-engine-XXXXXX";
  CHECK(::mkdtemp(directory) != nullptr);
  directory_ = directory;
  path_ = directory_ + "/docker.sock";
  listener_ = OwnedFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
  CHECK(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  CHECK(::listen(listener_.get(), 16) == 0);
  thread_ = std::thread([this] { Serve(); });
}

FakeEngine::~FakeEngine() {
  ::shutdown(listener_.get(), SHUT_RDWR);
  thread_.join();
  for (auto& worker : workers_) {
    worker.join();
  }
  std::filesystem::remove_all(directory_);
}

std::vector<FakeRequest> FakeEngine::requests() {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void FakeEngine::Serve() {
  while (true) {
    OwnedFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection) {
      return;
    }
    workers_.emplace_back([this](OwnedFd fd) { ServeOne(std::move(fd)); }, std::move(connection));
  }
}

void FakeEngine::ServeOne(OwnedFd connection) {
  std::string text;
  std::size_t end = 0;
  while ((end = text.find("\r\n\r\n")) == std::string::npos) {
    if (!ReadMore(connection, text)) {
      return;
    }
  }
  const std::string head = text.substr(0, end);
  std::string rest = text.substr(end + 4);
  FakeRequest request;
  const std::size_t space = head.find(' ');
  request.method = head.substr(0, space);
  request.target = head.substr(space + 1, head.find(' ', space + 1) - space - 1);
  const std::size_t length = head.find("Content-Length: ");
  if (head.find("chunked") != std::string::npos) {
    if (!ReadChunked(connection, rest, request.body)) {
      request.body += "<cut>";
    }
  } else if (length != std::string::npos) {
    const std::size_t size = std::stoul(head.substr(length + 16));
    while (rest.size() < size && ReadMore(connection, rest)) {
    }
    request.body = rest;
  }
  {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
  }
  const std::string response =
      request.target == "/_ping"
          ? "HTTP/1.1 200 OK\r\nApi-Version: " + api_version_ + "\r\nContent-Length: 2\r\n\r\nOK"
          : handler_(request);
  std::size_t sent = 0;
  while (sent < response.size()) {
    const ssize_t count =
        ::send(connection.get(), response.data() + sent, response.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) {
      return;
    }
    sent += static_cast<std::size_t>(count);
  }
}

}  // namespace migrate::testing
