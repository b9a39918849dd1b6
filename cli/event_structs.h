// What a system call wrote or read, as text: strings and the structures of the kernel. Bytes that
// are too few for their structure are printed as a string; the text is ASCII whatever the bytes
// are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "cli/logged_memory.h"
#include "proto/syscall_table.h"

namespace migrate {

using Bytes = std::span<const std::byte>;

// "GET / HT"...; `cut`: there is more than was logged.
std::string QuotedText(Bytes bytes, std::size_t limit, bool cut = false);
std::string PathText(Bytes bytes, bool cut);  // up to its zero, in full

// The structure behind a pointer, by its kind; `limit`: elements of an array, bytes of a string.
// Empty: not a kind of structure.
std::string StructText(ArgKind kind, Bytes bytes, std::size_t limit);

std::string SockaddrText(Bytes bytes);
std::string SiginfoText(Bytes bytes);
std::string SecondsText(std::uint64_t seconds, std::uint64_t fraction, int digits);  // "12.000345"

// The buffers of readv, recvmsg and recvmmsg are found by the order in which they were logged.
std::string IovecText(std::span<const EventSpan> spans, std::size_t limit);
std::string MsghdrText(std::span<const EventSpan> spans, std::uint64_t address, std::size_t limit);
std::string MmsghdrText(std::span<const EventSpan> spans, std::uint64_t address,
                        std::uint64_t count, std::size_t limit);

}  // namespace migrate
