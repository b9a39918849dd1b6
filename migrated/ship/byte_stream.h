// The two ends of an ordered byte stream that crosses hosts. What is shipped (file trees, the
// checkpoint, image archives, later the event log) is written against these, and knows nothing of
// chunks, compression, checksums or connections; chunk_stream.h provides them over gRPC.
//
// Ownership: the caller's buffers are only borrowed for the call. Threads: one writer, one reader.
// Both block: Write until there is room in the bounded window, Read until there is data.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"

namespace migrate {

class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual Result<> Write(std::span<const std::byte> data) = 0;
  // Everything written has been consumed by the other side when this returns without an error.
  virtual Result<> Finish() = 0;
};

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Fills a part of `buffer`; 0 is the end of the stream. A stream that broke off or was corrupt
  // is an Error, never an early end.
  virtual Result<std::size_t> Read(std::span<std::byte> buffer) = 0;
};

}  // namespace migrate
