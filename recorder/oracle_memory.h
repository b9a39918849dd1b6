// The writable memory of a process, before and after a system call: for capture_oracle only. Plain
// data; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_set>
#include <vector>

namespace migrate {

struct MemoryRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};

class MemorySnapshot {
 public:
  // Private and writable mappings: shared memory may be changed by anybody at any time.
  static MemorySnapshot Take(int pid);

  // `range`, as far as it was taken.
  std::span<const std::byte> At(const MemoryRange& range) const;
  // What differs in `later`, in the order of addresses. The mappings must be the same: a page that
  // was not there yet was full of zeroes. A page of a file that the process has not written to yet
  // shows the file, and may change with it: the replica's file does the same.
  std::vector<MemoryRange> ChangesUntil(const MemorySnapshot& later) const;

 private:
  struct Run {  // of pages
    uint64_t begin = 0;
    std::vector<std::byte> bytes;

    uint64_t end() const { return begin + bytes.size(); }
  };
  const Run* RunWith(uint64_t address) const;
  void Read(int pid, uint64_t begin, uint64_t end);

  std::vector<Run> runs_;  // in the order of addresses
  std::unordered_set<uint64_t> file_pages_;
};

}  // namespace migrate
