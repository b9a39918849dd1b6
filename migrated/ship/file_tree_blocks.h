// Blocks: the unit in which a changed file is compared, on both sides. A block's digest covers its
// bytes, holes read as zeros; its layout says where the holes are, which the digest does not see.
// Plain objects for one thread; they borrow descriptors.
#pragma once

#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"

namespace migrate {

struct BlockState {
  XXH128_hash_t digest = {};
  std::uint64_t layout = 0;  // 0: no hole in it

  bool operator==(const BlockState& other) const {
    return XXH128_isEqual(digest, other.digest) != 0 && layout == other.layout;
  }
};

// A power of two, at least 64 KiB and size / 65536. `current` (0: none yet) is kept as long as it
// fits: with another block size all digests are void. A first choice leaves room to grow twofold.
std::uint64_t BlockSizeFor(std::uint64_t file_size, std::uint64_t current);

class Xxh3Stream {
 public:
  Xxh3Stream();
  void Reset();
  void Update(const void* data, std::size_t size);
  void UpdateZeros(std::uint64_t size);
  void UpdateDigest(const XXH128_hash_t& digest);  // in canonical form
  XXH128_hash_t Digest() const;

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

std::string CanonicalDigest(const XXH128_hash_t& digest);

struct Extent {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

// Where a file has data. Fast when asked in rising order of positions.
class ExtentCursor {
 public:
  ExtentCursor(FdRef fd, std::uint64_t file_size) : fd_(fd), size_(file_size) {}

  // The data extent at `position` or the next one behind it; {size, size} if there is none.
  Extent At(std::uint64_t position);

 private:
  FdRef fd_;
  std::uint64_t size_;
  std::uint64_t asked_ = 0;  // extent_ is the answer for all of [asked_, extent_.end)
  Extent extent_;
};

class BlockDigester {
 public:
  BlockDigester();

  struct Outcome {
    BlockState state;
    std::uint64_t bytes = 0;  // less than asked for: the file ends there
    std::uint64_t read = 0;   // of them from the file
  };
  Result<Outcome> Digest(FdRef fd, ExtentCursor& extents, std::uint64_t offset,
                         std::uint64_t length, std::string_view path);

  // Of a hole. The last one is remembered: a file has one block size.
  XXH128_hash_t ZeroDigest(std::uint64_t length);

 private:
  std::vector<std::byte> buffer_;
  Xxh3Stream stream_;
  std::uint64_t zero_length_ = 0;  // of the digest below
  XXH128_hash_t zero_digest_ = {};
};

// Part of a block's layout: hash of its data extents, relative to the block.
class LayoutHash {
 public:
  LayoutHash(ExtentCursor& extents, std::uint64_t offset, std::uint64_t length);
  std::uint64_t value() const { return value_; }
  bool all_hole() const { return all_hole_; }

 private:
  std::uint64_t value_ = 0;
  bool all_hole_ = false;
};

// Until `size` bytes are there or the file ends; the count.
Result<std::size_t> ReadAt(FdRef fd, std::uint64_t offset, std::byte* data, std::size_t size,
                           std::string_view path);

}  // namespace migrate
