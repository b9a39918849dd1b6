// Names of the numbers in system calls, for text. Constant data; any thread. A number without a
// name is printed as it is; nothing here fails.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "proto/syscall_table.h"

namespace migrate {

std::string HexText(std::uint64_t value);      // "0x1f"; "0" for 0
std::string PointerText(std::uint64_t value);  // "NULL" for 0
std::string OctalText(std::uint64_t value);    // "0644"

// "O_RDONLY|O_CLOEXEC": of a kind whose names depend on no other argument; otherwise none.
std::optional<std::string> NamedText(ArgKind kind, std::uint64_t value);

std::string SignalText(std::uint64_t signal);               // "SIGTERM"
std::string SignalCodeText(int signal, int code);           // si_code: "SI_USER"
std::string ErrorText(int error);                           // "ENOENT (No such file or directory)"
std::string AtFlagsText(std::uint64_t flags, bool access);  // access: of faccessat2
std::string SocketOptionText(std::uint64_t level, std::uint64_t option);
std::string ControlMessageText(int level, int type);  // "SOL_SOCKET, SCM_RIGHTS"
std::string PollEventsText(std::uint64_t events);
std::string EpollEventsText(std::uint64_t events);
std::string FileModeText(std::uint64_t mode);  // "S_IFREG|0644"
std::string SignalFlagsText(std::uint64_t sa_flags);
std::string IoctlText(std::uint32_t command);  // without a name: "_IOC(...)"

// What follows the command of fcntl, prctl and futex.
struct CommandText {
  std::uint8_t shown = 0xff;  // bit per argument behind the command: whether it has a meaning
  ArgKind argument = ArgKind::kHex;    // the first of them
  ArgKind second = ArgKind::kPointer;  // of futex, which has a number there for some operations
  ArgKind result = ArgKind::kLong;
};
// `kind`: kFcntlCommand, kPrctlCommand or kFutexOperation.
CommandText CommandTextOf(ArgKind kind, std::uint32_t command);

}  // namespace migrate
