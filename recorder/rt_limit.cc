#include "recorder/rt_limit.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "base/file_util.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOldLimit = ".old";  // no user's name starts with a dot

bool IsFileName(std::string_view name) {
  return !name.empty() && name.front() != '.' && name.find('/') == std::string_view::npos;
}

// Holds the directory's lock until closed. Somebody else may remove the directory at any time
// before: then it is made anew.
Result<OwnedFd> LockUsers(const fs::path& users) {
  for (;;) {
    if (mkdir(users.c_str(), 0700) != 0 && errno != EEXIST) {
      return ErrnoError("mkdir " + users.string());
    }
    OwnedFd lock(open(users.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!lock) {
      if (errno == ENOENT) {
        continue;
      }
      return ErrnoError("open " + users.string());
    }
    if (flock(lock.get(), LOCK_EX) != 0) {
      return ErrnoError("lock " + users.string());
    }
    struct stat locked{};
    struct stat named{};
    if (fstat(lock.get(), &locked) == 0 && stat(users.c_str(), &named) == 0 &&
        locked.st_ino == named.st_ino) {
      return lock;
    }
  }
}

bool HasUsers(const fs::path& users) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(users, error)) {
    if (entry.path().filename() != kOldLimit) {
      return true;
    }
  }
  return false;
}

}  // namespace

Result<> LiftRtLimit(std::string_view user, const RtLimitPlaces& places) {
  if (!IsFileName(user)) {
    return MakeError(ErrorCode::kInvalidArgument, "not a file name: " + std::string(user));
  }
  const OwnedFd lock = TRY(LockUsers(places.users));
  const std::string limit = TRY(ReadSmallFile(places.limit));
  // The old limit first: whatever happens next, it is known.
  std::error_code error;
  if (!fs::exists(places.users / kOldLimit, error)) {
    TRY(WriteFileAtomically(places.users / kOldLimit, limit));
  }
  TRY(WriteFileAtomically(places.users / user, ""));
  return WriteControlFile(places.limit, "-1");
}

Result<> ReturnRtLimit(std::string_view user, const RtLimitPlaces& places) {
  std::error_code error;
  if (!IsFileName(user) || !fs::exists(places.users / user, error)) {
    return {};
  }
  const OwnedFd lock = TRY(LockUsers(places.users));
  fs::remove(places.users / user, error);
  if (HasUsers(places.users)) {
    return {};
  }
  const auto old = ReadSmallFile(places.users / kOldLimit);
  if (old) {
    const auto restored = WriteControlFile(places.limit, *old);
    if (!restored) {
      // So that the next attempt finds it.
      TRY(WriteFileAtomically(places.users / user, ""));
      return restored;
    }
  }
  fs::remove_all(places.users, error);
  return {};
}

}  // namespace migrate
