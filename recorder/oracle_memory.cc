#include "recorder/oracle_memory.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "base/owned_fd.h"

namespace migrate {
namespace {

constexpr uint64_t kPage = 4096;
// Of an entry of /proc/PID/pagemap.
constexpr uint64_t kPresentOrSwapped = uint64_t{3} << 62;
constexpr uint64_t kOfFile = uint64_t{1} << 61;
constexpr std::array<std::byte, kPage> kZeroes{};

void AddChanges(const std::byte* a, const std::byte* b, uint64_t begin,
                std::vector<MemoryRange>& ranges) {
  if (memcmp(a, b, kPage) == 0) {
    return;
  }
  for (uint64_t at = 0; at < kPage; at++) {
    if (a[at] == b[at]) {
      continue;
    }
    if (!ranges.empty() && ranges.back().end == begin + at) {
      ranges.back().end++;
    } else {
      ranges.push_back({begin + at, begin + at + 1});
    }
  }
}

}  // namespace

void MemorySnapshot::Read(int pid, uint64_t begin, uint64_t end) {
  Run run{begin, std::vector<std::byte>(end - begin)};
  iovec to{run.bytes.data(), run.bytes.size()};
  iovec from{reinterpret_cast<void*>(begin), run.bytes.size()};
  const ssize_t got = process_vm_readv(pid, &to, 1, &from, 1, 0);
  if (got > 0) {
    run.bytes.resize(static_cast<size_t>(got) / kPage * kPage);
    runs_.push_back(std::move(run));
  }
}

MemorySnapshot MemorySnapshot::Take(int pid) {
  MemorySnapshot snapshot;
  const std::string directory = "/proc/" + std::to_string(pid);
  const OwnedFd pagemap(open((directory + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC));
  std::ifstream maps(directory + "/maps");
  std::string line;
  std::vector<uint64_t> pages;
  while (std::getline(maps, line)) {
    uint64_t begin = 0;
    uint64_t end = 0;
    uint64_t inode = 0;
    std::array<char, 5> mode{};
    if (sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %*x %*s %" SCNu64, &begin, &end,
               mode.data(), &inode) != 4 ||
        mode[0] != 'r' || mode[1] != 'w' || mode[3] != 'p') {
      continue;
    }
    pages.assign((end - begin) / kPage, 0);
    if (pread(pagemap.get(), pages.data(), pages.size() * sizeof(uint64_t),
              static_cast<off_t>(begin / kPage * sizeof(uint64_t))) < 0) {
      continue;
    }
    if (inode != 0) {
      snapshot.Read(pid, begin, end);  // also what is not there yet: the file's bytes
      for (size_t i = 0; i < pages.size(); i++) {
        if ((pages[i] & kPresentOrSwapped) == 0 || (pages[i] & kOfFile) != 0) {
          snapshot.file_pages_.insert(begin + i * kPage);
        }
      }
      continue;
    }
    for (size_t i = 0; i < pages.size(); i++) {
      const size_t first = i;
      while (i < pages.size() && (pages[i] & kPresentOrSwapped) != 0) {
        i++;
      }
      if (i > first) {
        snapshot.Read(pid, begin + first * kPage, begin + i * kPage);
      }
    }
  }
  return snapshot;
}

const MemorySnapshot::Run* MemorySnapshot::RunWith(uint64_t address) const {
  const auto after = std::ranges::upper_bound(runs_, address, {}, &Run::begin);
  if (after == runs_.begin() || address >= std::prev(after)->end()) {
    return nullptr;
  }
  return &*std::prev(after);
}

std::span<const std::byte> MemorySnapshot::At(const MemoryRange& range) const {
  const Run* run = RunWith(range.begin);
  if (run == nullptr) {
    return {};
  }
  const uint64_t end = std::min(range.end, run->end());
  return std::span(run->bytes).subspan(range.begin - run->begin, end - range.begin);
}

std::vector<MemoryRange> MemorySnapshot::ChangesUntil(const MemorySnapshot& later) const {
  std::vector<MemoryRange> ranges;
  for (const Run& now : later.runs_) {
    for (uint64_t page = now.begin; page < now.end(); page += kPage) {
      if (later.file_pages_.contains(page)) {
        continue;
      }
      const auto then = At({page, page + kPage});
      AddChanges(then.empty() ? kZeroes.data() : then.data(), now.bytes.data() + (page - now.begin),
                 page, ranges);
    }
  }
  return ranges;
}

}  // namespace migrate
