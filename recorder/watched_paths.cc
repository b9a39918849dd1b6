#include "recorder/watched_paths.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <set>
#include <sstream>

#include "base/file_util.h"
#include "base/limits.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

struct Inode {
  dev_t device = 0;
  ino_t number = 0;
  auto operator<=>(const Inode&) const = default;
};

// fdinfo writes devices as the kernel has them: 12 bits major, 20 bits minor.
dev_t FromKernelDevice(unsigned device) { return makedev(device >> 20, device & 0xfffff); }

void CollectWatches(int pid, std::set<Inode>& inodes) {
  const fs::path process = "/proc/" + std::to_string(pid);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(process / "fd", error)) {
    const auto target = fs::read_symlink(entry.path(), error);
    if (error || target != "anon_inode:inotify") {
      error.clear();
      continue;
    }
    const auto info = ReadSmallFile(process / "fdinfo" / entry.path().filename());
    std::istringstream lines(info.value_or(std::string()));
    for (std::string line; std::getline(lines, line);) {
      unsigned long number = 0;
      unsigned device = 0;
      if (std::sscanf(line.c_str(), "inotify wd:%*x ino:%lx sdev:%x", &number, &device) == 2) {
        inodes.insert({FromKernelDevice(device), number});
      }
    }
  }
}

class Search {
 public:
  Search(int init_pid, std::set<Inode> wanted)
      : root_("/proc/" + std::to_string(init_pid) + "/root"), wanted_(std::move(wanted)) {}

  bool Done() const { return wanted_.empty(); }

  // True if it is a directory to go into.
  bool Look(const std::string& path) {
    struct stat info {};
    if (fstatat(AT_FDCWD, (root_ + path).c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      return false;
    }
    if (wanted_.erase({info.st_dev, info.st_ino}) != 0) {
      paths_.push_back(path);
    }
    return S_ISDIR(info.st_mode);
  }

  // Breadth first: what is watched is rarely deep. Ends when all is found or at the limits.
  void Walk() {
    const auto deadline = std::chrono::steady_clock::now() + limits::kWatchSearchTimeout;
    std::deque<std::string> directories{"/"};
    Look("/");
    std::size_t seen = 0;
    while (!directories.empty() && !Done()) {
      const std::string directory = std::move(directories.front());
      directories.pop_front();
      std::error_code error;
      const auto options = fs::directory_options::skip_permission_denied;
      for (fs::directory_iterator it(root_ + directory, options, error), end;
           !error && it != end && !Done(); it.increment(error)) {
        const std::string path =
            (directory == "/" ? "/" : directory + "/") + it->path().filename().string();
        if (path == "/proc" || path == "/sys") {
          continue;  // endless, and not watchable in a way that moves
        }
        if (Look(path)) {
          directories.push_back(path);
        }
        if (++seen > limits::kWatchSearchEntries || std::chrono::steady_clock::now() > deadline) {
          return;
        }
      }
    }
  }

  WatchedPaths Take() {
    std::sort(paths_.begin(), paths_.end(), [](const std::string& a, const std::string& b) {
      return a.size() != b.size() ? a.size() > b.size() : a < b;
    });
    return {std::move(paths_), static_cast<int>(wanted_.size())};
  }

 private:
  const std::string root_;  // leads into the container's mounts
  std::set<Inode> wanted_;
  std::vector<std::string> paths_;
};

}  // namespace

Result<WatchedPaths> FindWatchedPaths(int init_pid, const std::vector<int>& processes,
                                      const std::vector<std::string>& hints) {
  std::set<Inode> inodes;
  for (const int pid : processes) {
    CollectWatches(pid, inodes);
  }
  Search search(init_pid, std::move(inodes));
  for (const std::string& hint : hints) {
    search.Look(hint);
  }
  if (!search.Done()) {
    search.Walk();
  }
  return search.Take();
}

}  // namespace migrate
