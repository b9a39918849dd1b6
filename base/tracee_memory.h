// Reads and writes the memory of another process: process_vm_readv and writev, and /proc/PID/mem
// where they are refused (pages that the process itself may not read or write: program text, the
// vDSO). Needs the right to ptrace, not that the process is traced or stopped. Values; any thread.
// All or nothing: a partial transfer is an error, of code kNotFound if the process is gone.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "base/result.h"

namespace migrate {

Result<> ReadTraceeMemory(pid_t pid, uint64_t address, std::span<std::byte> to);

// Also to read-only private mappings, which get a copy of the page.
Result<> WriteTraceeMemory(pid_t pid, uint64_t address, std::span<const std::byte> from);

template <typename T>
Result<T> ReadTracee(pid_t pid, uint64_t address) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  TRY(ReadTraceeMemory(pid, address, std::as_writable_bytes(std::span(&value, 1))));
  return value;
}

template <typename T>
Result<> WriteTracee(pid_t pid, uint64_t address, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return WriteTraceeMemory(pid, address, std::as_bytes(std::span(&value, 1)));
}

}  // namespace migrate
