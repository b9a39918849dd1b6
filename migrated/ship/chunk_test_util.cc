#include "migrated/ship/chunk_test_util.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>

#include "base/check.h"
#include "migrated/ship/grpc_settings.h"

namespace migrate::testing {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void Reset(const OwnedFd& fd) {  // RST instead of FIN
  const linger hard{1, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
}

bool SendAll(const OwnedFd& fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t sent = send(fd.get(), data, size, MSG_NOSIGNAL);
    if (sent <= 0) {
      return false;
    }
    data += sent;
    size -= static_cast<std::size_t>(sent);
  }
  return true;
}

}  // namespace

std::uint64_t ByteMaker::Next() {
  state_ += 0x9e3779b97f4a7c15;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  z ^= z >> 31;
  return compressible_ ? (z & 0x0303) | 0x6161616161610000 : z;
}

void ByteMaker::Fill(std::span<std::byte> buffer) {
  std::size_t i = 0;
  while (i < buffer.size()) {
    if (left_ == 0 && buffer.size() - i >= sizeof word_) {
      const std::uint64_t word = Next();
      std::memcpy(buffer.data() + i, &word, sizeof word);
      i += sizeof word;
      continue;
    }
    if (left_ == 0) {
      word_ = Next();
      left_ = sizeof word_;
    }
    buffer[i++] = static_cast<std::byte>(word_);
    word_ >>= 8;
    --left_;
  }
}

TestPeer::TestPeer() : service_(std::make_unique<ShipService>()) {
  grpc::ServerBuilder builder;
  ApplyServerKeepalive(builder);
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(service_->grpc_service());
  server_ = builder.BuildAndStart();
  CHECK(server_ && port_ != 0);
}

TestPeer::~TestPeer() {
  service_->Shutdown();
  StopServer();
}

void TestPeer::StopServer() {
  if (server_) {
    server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }
}

std::shared_ptr<grpc::Channel> TestPeer::Connect(int port) {
  return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port),
                                   grpc::InsecureChannelCredentials(),
                                   MakePeerChannelArguments(PeerChannelUse::kBulk));
}

FlakyProxy::FlakyProxy(int target_port, int cuts, std::size_t mean_bytes, unsigned seed)
    : target_port_(target_port),
      mean_bytes_(mean_bytes),
      listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      cuts_left_(cuts),
      random_(seed) {
  sockaddr_in address = Loopback(0);
  CHECK(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  CHECK(listen(listener_.get(), 16) == 0);
  socklen_t size = sizeof address;
  CHECK(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { AcceptLoop(); });
}

FlakyProxy::~FlakyProxy() {
  stop_ = true;
  thread_.join();
  for (std::thread& pump : pumps_) {
    pump.join();
  }
}

void FlakyProxy::CutAll() { refuse_ = true; }

void FlakyProxy::AcceptLoop() {
  while (!stop_) {
    pollfd ready{listener_.get(), POLLIN, 0};
    if (poll(&ready, 1, 20) <= 0) {
      continue;
    }
    OwnedFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client || refuse_) {
      continue;
    }
    std::size_t budget = SIZE_MAX;
    if (cuts_left_ > 0) {
      --cuts_left_;
      budget = std::uniform_int_distribution<std::size_t>(1, 2 * mean_bytes_)(random_);
    }
    pumps_.emplace_back(
        [this, budget, fd = std::move(client)]() mutable { Pump(std::move(fd), budget); });
  }
}

void FlakyProxy::Pump(OwnedFd client, std::size_t budget) {
  OwnedFd server(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = Loopback(target_port_);
  if (connect(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return;
  }
  const auto forward = [&](const OwnedFd& from, const OwnedFd& to) {
    char buffer[16384];
    const ssize_t size = recv(from.get(), buffer, std::min(sizeof buffer, budget), 0);
    if (size <= 0 || !SendAll(to, buffer, static_cast<std::size_t>(size))) {
      return false;
    }
    budget -= budget == SIZE_MAX ? 0 : static_cast<std::size_t>(size);
    return true;
  };
  while (!stop_ && !refuse_) {
    if (swallow_) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      continue;
    }
    pollfd ends[] = {{client.get(), POLLIN, 0}, {server.get(), POLLIN, 0}};
    if (poll(ends, 2, 20) <= 0) {
      continue;
    }
    if ((ends[0].revents != 0 && !forward(client, server)) ||
        (ends[1].revents != 0 && budget > 0 && !forward(server, client))) {
      return;
    }
    if (budget == 0) {
      ++cuts_done_;
      if (cuts_done_ % 2 == 0) {  // now and then a FIN, now and then a RST
        Reset(client);
        Reset(server);
      }
      return;
    }
  }
}

Result<std::size_t> ReadAndCompare(ByteSource& source, ByteMaker maker) {
  std::vector<std::byte> got(100'003);
  std::vector<std::byte> expected(got.size());
  std::size_t total = 0;
  while (true) {
    const std::size_t size = TRY(source.Read(got));
    if (size == 0) {
      return total;
    }
    maker.Fill(std::span(expected).first(size));
    if (std::memcmp(got.data(), expected.data(), size) != 0) {
      return MakeError(ErrorCode::kInternal, "different bytes near " + std::to_string(total));
    }
    total += size;
  }
}

Result<> WriteAll(ByteSink& sink, ByteMaker maker, std::size_t total, std::size_t piece) {
  std::vector<std::byte> buffer(piece);
  while (total > 0) {
    const auto part = std::span(buffer).first(std::min(piece, total));
    maker.Fill(part);
    TRY(sink.Write(part));
    total -= part.size();
  }
  return sink.Finish();
}

}  // namespace migrate::testing
