#include "base/file_util.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "base/scope_exit.h"

namespace migrate {

Result<OwnedFd> OpenFile(const std::filesystem::path& path, int flags, unsigned mode) {
  OwnedFd fd(open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) {
    return ErrnoError("open " + path.string());
  }
  return fd;
}

Result<std::string> ReadSmallFile(const std::filesystem::path& path, std::size_t limit) {
  const OwnedFd fd = TRY(OpenFile(path, O_RDONLY));
  std::string text;
  std::array<char, 16384> buffer{};
  for (;;) {
    const auto count = read(fd.get(), buffer.data(), buffer.size());
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      return ErrnoError("read " + path.string());
    }
    if (count == 0) {
      return text;
    }
    if (text.size() + static_cast<std::size_t>(count) > limit) {
      return MakeError(ErrorCode::kResourceExhausted,
                       path.string() + ": longer than " + std::to_string(limit) + " bytes");
    }
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
}

Result<> WriteFully(FdRef fd, const void* data, std::size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const auto count = write(fd.get(), next, size);
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      return ErrnoError("write");
    }
    next += count;
    size -= static_cast<std::size_t>(count);
  }
  return {};
}

Result<> WriteControlFile(const std::filesystem::path& path, std::string_view text) {
  const OwnedFd fd = TRY(OpenFile(path, O_WRONLY));
  if (write(fd.get(), text.data(), text.size()) < 0) {
    return ErrnoError("write '" + std::string(text) + "' to " + path.string());
  }
  return {};
}

Result<> WriteFileAtomically(const std::filesystem::path& path, std::string_view text,
                             unsigned mode) {
  const std::string temporary = path.string() + ".new";
  ScopeExit remove([&] { unlink(temporary.c_str()); });
  {
    const OwnedFd fd = TRY(OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC, mode));
    TRY(WriteFully(fd, text.data(), text.size()));
    if (fsync(fd.get()) != 0) {
      return ErrnoError("fsync " + temporary);
    }
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    return ErrnoError("rename " + temporary);
  }
  remove.Dismiss();
  const OwnedFd directory =
      TRY(OpenFile(path.has_parent_path() ? path.parent_path() : ".", O_RDONLY | O_DIRECTORY));
  if (fsync(directory.get()) != 0) {
    return ErrnoError("fsync " + path.parent_path().string());
  }
  return {};
}

}  // namespace migrate
