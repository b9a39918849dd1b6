#include "base/tracee_memory.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "base/file_util.h"

namespace migrate {
namespace {

Error MemoryError(const char* what, pid_t pid, uint64_t address, std::size_t size,
                  int error_number) {
  char place[96];
  std::snprintf(place, sizeof place, "%s %zu bytes at 0x%llx of process %d", what, size,
                static_cast<unsigned long long>(address), pid);
  Error error = ErrnoError(place, error_number == 0 ? EFAULT : error_number);
  if (error_number == ESRCH || error_number == ENOENT) {
    error.code = ErrorCode::kNotFound;
  }
  return error;
}

Result<OwnedFd> OpenMemory(pid_t pid, int flags) {
  return OpenFile("/proc/" + std::to_string(pid) + "/mem", flags | O_CLOEXEC);
}

}  // namespace

Result<> ReadTraceeMemory(pid_t pid, uint64_t address, std::span<std::byte> to) {
  if (to.empty()) {
    return {};
  }
  const iovec local = {to.data(), to.size()};
  const iovec remote = {reinterpret_cast<void*>(address), to.size()};
  const ssize_t direct = process_vm_readv(pid, &local, 1, &remote, 1, 0);
  if (direct == static_cast<ssize_t>(to.size())) {
    return {};
  }
  if (direct < 0 && errno == ESRCH) {
    return MemoryError("read", pid, address, to.size(), ESRCH);
  }
  const OwnedFd memory = TRY(OpenMemory(pid, O_RDONLY));
  std::size_t done = 0;
  while (done < to.size()) {
    const ssize_t count = pread(memory.get(), to.data() + done, to.size() - done,
                                static_cast<off_t>(address + done));
    if (count <= 0) {
      return MemoryError("read", pid, address, to.size(), count == 0 ? 0 : errno);
    }
    done += static_cast<std::size_t>(count);
  }
  return {};
}

Result<> WriteTraceeMemory(pid_t pid, uint64_t address, std::span<const std::byte> from) {
  if (from.empty()) {
    return {};
  }
  const iovec local = {const_cast<std::byte*>(from.data()), from.size()};
  const iovec remote = {reinterpret_cast<void*>(address), from.size()};
  const ssize_t direct = process_vm_writev(pid, &local, 1, &remote, 1, 0);
  if (direct == static_cast<ssize_t>(from.size())) {
    return {};
  }
  if (direct < 0 && errno == ESRCH) {
    return MemoryError("write", pid, address, from.size(), ESRCH);
  }
  const OwnedFd memory = TRY(OpenMemory(pid, O_RDWR));
  std::size_t done = 0;
  while (done < from.size()) {
    const ssize_t count = pwrite(memory.get(), from.data() + done, from.size() - done,
                                 static_cast<off_t>(address + done));
    if (count <= 0) {
      return MemoryError("write", pid, address, from.size(), count == 0 ? 0 : errno);
    }
    done += static_cast<std::size_t>(count);
  }
  return {};
}

}  // namespace migrate
