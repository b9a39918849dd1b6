// Frames: TreeMessages on a byte stream, each with its length and a checksum that also covers its
// position, so that a flipped, lost, doubled or reordered frame is found. Both classes borrow the
// stream for one round and own only a buffer. One thread. Both read or write exactly the round's
// bytes, never beyond.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <vector>

#include "base/result.h"
#include "migrated/ship/byte_stream.h"
#include "migrated/ship/file_tree.h"
#include "proto/file_tree.pb.h"

namespace migrate {

inline constexpr std::uint32_t kTreeFormatVersion = 1;

Error TreeCancelled();

// Calls the user's callback now and then.
class TreeProgressMeter {
 public:
  explicit TreeProgressMeter(const TreeProgress& progress) : progress_(progress) {}
  void Report(std::uint64_t bytes);

 private:
  const TreeProgress& progress_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

class FrameWriter {
 public:
  FrameWriter(ByteSink& sink, std::stop_token stop, const TreeProgress& progress);

  Result<> Send(const v1::TreeMessage& message);
  // TreeData and TreeAppend without copying the message each time.
  Result<> SendData(std::uint64_t offset, const std::byte* data, std::size_t size);
  Result<> Flush();

  std::uint64_t bytes() const { return bytes_; }        // on the stream, those not flushed included
  std::uint64_t messages() const { return sequence_; }  // sent so far
  const std::stop_token& stop() const { return stop_; }

 private:
  ByteSink& sink_;
  std::stop_token stop_;
  TreeProgressMeter meter_;
  std::vector<std::byte> buffer_;
  v1::TreeMessage data_;
  std::uint64_t sequence_ = 0;
  std::uint64_t bytes_ = 0;
};

class FrameReader {
 public:
  FrameReader(ByteSource& source, std::stop_token stop, const TreeProgress& progress);

  // The end of the stream is an error: a round says itself where it ends.
  Result<> Next(v1::TreeMessage& message);

  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t messages() const { return sequence_; }

 private:
  Result<> ReadExactly(std::byte* data, std::size_t size);

  ByteSource& source_;
  std::stop_token stop_;
  TreeProgressMeter meter_;
  std::vector<std::byte> buffer_;
  std::uint64_t sequence_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace migrate
