// For the tests of the bulk transport: a peer with a real gRPC server on the loopback, bytes that
// both ends can make again from a seed, and a TCP proxy that cuts connections.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/owned_fd.h"
#include "migrated/ship/chunk_stream.h"

namespace migrate::testing {

inline constexpr char kMigration[] = "0123456789abcdef";

inline std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// An endless sequence of bytes: random ones, or ones that shrink about fourfold.
class ByteMaker {
 public:
  explicit ByteMaker(std::uint64_t seed, bool compressible = false)
      : state_(seed), compressible_(compressible) {}
  void Fill(std::span<std::byte> buffer);

 private:
  std::uint64_t Next();
  std::uint64_t state_;
  bool compressible_;
  std::uint64_t word_ = 0;
  int left_ = 0;  // bytes of word_
};

// One daemon's receiving side.
class TestPeer {
 public:
  TestPeer();
  ~TestPeer();

  ShipService& service() { return *service_; }
  int port() const { return port_; }
  void StopServer();  // the port is closed, connections are cut
  std::shared_ptr<grpc::Channel> Connect() const { return Connect(port_); }
  static std::shared_ptr<grpc::Channel> Connect(int port);

 private:
  std::unique_ptr<ShipService> service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

// Forwards TCP connections to a port of the loopback. May cut each after a random number of bytes.
class FlakyProxy {
 public:
  FlakyProxy(int target_port, int cuts, std::size_t mean_bytes, unsigned seed);
  ~FlakyProxy();

  int port() const { return port_; }
  int cuts_done() const { return cuts_done_; }
  void Swallow() { swallow_ = true; }  // connections stay open, nothing passes any more
  void CutAll();                       // and refuse new ones

 private:
  void AcceptLoop();
  void Pump(OwnedFd client, std::size_t budget);  // of bytes, then it is cut

  const int target_port_;
  const std::size_t mean_bytes_;
  OwnedFd listener_;
  int port_ = 0;
  std::atomic<int> cuts_left_;
  std::atomic<int> cuts_done_ = 0;
  std::atomic<bool> swallow_ = false;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> refuse_ = false;
  std::mt19937 random_;  // of the accepting thread
  std::list<std::thread> pumps_;
  std::thread thread_;
};

// Reads until the end; the bytes must be those of `maker`. Returns how many there were.
Result<std::size_t> ReadAndCompare(ByteSource& source, ByteMaker maker);

// Writes `total` bytes in pieces of `piece`, then Finish().
Result<> WriteAll(ByteSink& sink, ByteMaker maker, std::size_t total, std::size_t piece);

}  // namespace migrate::testing
