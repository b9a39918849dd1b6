// The notation in which proto/syscall_rows_*.cc write the rows of the syscall table:
//
//   Row(0, "read", {Fd(), Buffer("buf"), Size("count")}).Rule(0, FileRule::kRead).Out(Result(1))
//
// A path among the arguments is logged without being named again. Constant expressions only: a row
// with too many arguments or outputs does not compile.
#pragma once

#include <initializer_list>

#include "proto/syscall_table.h"

namespace migrate::rows {

// ---- arguments ----

constexpr Argument Int(std::string_view name) { return {name, ArgKind::kInt}; }
constexpr Argument Long(std::string_view name) { return {name, ArgKind::kLong}; }
constexpr Argument Unsigned(std::string_view name) { return {name, ArgKind::kUnsigned}; }
constexpr Argument Hex(std::string_view name) { return {name, ArgKind::kHex}; }
constexpr Argument Mode(std::string_view name = "mode") { return {name, ArgKind::kOctal}; }
constexpr Argument Pointer(std::string_view name) { return {name, ArgKind::kPointer}; }
constexpr Argument Fd(std::string_view name = "fd") { return {name, ArgKind::kFd}; }
constexpr Argument DirFd(std::string_view name = "dirfd") { return {name, ArgKind::kDirFd}; }
constexpr Argument Path(std::string_view name = "path") { return {name, ArgKind::kPath}; }
constexpr Argument Signal(std::string_view name = "sig") { return {name, ArgKind::kSignal}; }
constexpr Argument Size(std::string_view name = "size") { return {name, ArgKind::kSize}; }
constexpr Argument Flags(std::string_view name = "flags") { return {name, ArgKind::kFlags}; }
constexpr Argument CreationFlags() { return {"flags", ArgKind::kCreationFlags}; }
constexpr Argument AtFlags() { return {"flags", ArgKind::kAtFlags}; }
constexpr Argument Buffer(std::string_view name = "buf") { return {name, ArgKind::kBuffer}; }
constexpr Argument Timespec(std::string_view name) { return {name, ArgKind::kTimespec}; }
constexpr Argument Timeval(std::string_view name) { return {name, ArgKind::kTimeval}; }
constexpr Argument Sigset(std::string_view name) { return {name, ArgKind::kSigset}; }
constexpr Argument Word32(std::string_view name) { return {name, ArgKind::kInt32Pointer}; }
constexpr Argument Word64(std::string_view name) { return {name, ArgKind::kInt64Pointer}; }
constexpr Argument Clock(std::string_view name = "clock") { return {name, ArgKind::kClock}; }
constexpr Argument As(std::string_view name, ArgKind kind) { return {name, kind}; }

// ---- outputs; `arg` is the number of the argument that points to them ----

constexpr capture_output Output(output_kind kind, uint8_t arg, uint8_t len_arg, uint32_t size,
                                output_when when) {
  return {static_cast<ev_u8>(kind), arg, len_arg, static_cast<ev_u8>(when), size};
}
constexpr capture_output Fixed(uint8_t arg, uint32_t size, output_when when = WHEN_SUCCESS) {
  return Output(OUT_FIXED, arg, 0, size, when);
}
constexpr capture_output Result(uint8_t arg, uint32_t size = 1) {
  return Output(OUT_RESULT, arg, 0, size, WHEN_POSITIVE);
}
constexpr capture_output ResultCapped(uint8_t arg, uint8_t len_arg, uint32_t size = 1) {
  return Output(OUT_RESULT_CAPPED, arg, len_arg, size, WHEN_POSITIVE);
}
constexpr capture_output ByArg(uint8_t arg, uint8_t len_arg, uint32_t size = 1,
                               output_when when = WHEN_SUCCESS) {
  return Output(OUT_ARG, arg, len_arg, size, when);
}
// A buffer whose length is behind another argument; that u32 is an output of its own.
constexpr capture_output Pointee32(uint8_t arg, uint8_t len_arg, uint32_t most) {
  return Output(OUT_POINTEE32, arg, len_arg, most, WHEN_SUCCESS);
}
inline constexpr uint32_t kAnySize =
    0xffffffff;  // for `most`: what is too large ends the recording
constexpr capture_output Iovec(uint8_t arg, uint8_t len_arg) {
  return Output(OUT_IOVEC, arg, len_arg, 0, WHEN_POSITIVE);
}
constexpr capture_output FdSet(uint8_t arg, uint8_t len_arg) {
  return Output(OUT_FD_SET, arg, len_arg, 0, WHEN_SUCCESS);
}
// `tag` tells commands of the same number apart.
constexpr capture_output ByCommand(output_kind kind, uint8_t arg, uint8_t command_arg,
                                   uint32_t tag = 0) {
  return Output(kind, arg, command_arg, tag, WHEN_SUCCESS);
}
constexpr capture_output AddressIn(uint8_t arg, uint8_t len_arg) {
  return Output(OUT_BYTES_IN, arg, len_arg, 128, WHEN_ALWAYS);
}
constexpr capture_output DataIn(uint8_t arg, uint8_t len_arg) {
  return Output(OUT_BYTES_IN, arg, len_arg, 64, WHEN_SUCCESS);
}
inline constexpr uint32_t kSemctlTag = 0x10000;
inline constexpr uint32_t kShmctlTag = 0x20000;
inline constexpr uint32_t kMsgctlTag = 0x30000;
inline constexpr uint32_t kSetsockoptTag = 0x80000000;

// ---- rows ----

struct Builder : SyscallRow {
  constexpr Builder With(Policy value) const {
    Builder copy = *this;
    copy.policy = value;
    return copy;
  }
  constexpr Builder Inject() const { return With(Policy::kInject); }
  constexpr Builder Execute() const { return With(Policy::kExecute); }
  constexpr Builder Placeholder() const { return With(Policy::kPlaceholder); }
  constexpr Builder Suppress() const { return With(Policy::kSuppress); }
  constexpr Builder Refuse(std::string_view why) const { return With(Policy::kRefuse).Note(why); }
  // The class of the file behind argument `arg` decides.
  constexpr Builder Rule(int8_t arg, FileRule rule) const {
    Builder copy = With(Policy::kExecute);
    copy.fd_arg = arg;
    copy.file_rule = rule;
    return copy;
  }
  // Only for text: the class is logged, the policy does not depend on it.
  constexpr Builder File(int8_t arg) const {
    Builder copy = *this;
    copy.fd_arg = arg;
    return copy;
  }
  constexpr Builder Out(std::initializer_list<capture_output> more) const {
    Builder copy = *this;
    for (const capture_output& output : more) {
      copy.outputs.at(copy.output_count++) = output;
    }
    return copy;
  }
  constexpr Builder Out(capture_output output) const { return Out({output}); }
  constexpr Builder MayBlock() const {
    Builder copy = *this;
    copy.may_block = true;
    return copy;
  }
  constexpr Builder ChangesScheduling() const {
    Builder copy = *this;
    copy.changes_scheduling = true;
    return copy;
  }
  constexpr Builder NeverReturns() const {
    Builder copy = *this;
    copy.never_returns = true;
    return copy;
  }
  constexpr Builder Code(Irregular value) const {
    Builder copy = *this;
    copy.irregular = value;
    return copy;
  }
  constexpr Builder Returns(ArgKind kind) const {
    Builder copy = *this;
    copy.result = kind;
    return copy;
  }
  constexpr Builder RefuseBits(int8_t arg, uint32_t bits) const {
    Builder copy = *this;
    copy.refuse_arg = arg;
    copy.refuse_bits = bits;
    return copy;
  }
  constexpr Builder Note(std::string_view text) const {
    Builder copy = *this;
    copy.note = text;
    return copy;
  }
};

constexpr Builder Row(uint16_t number, std::string_view name,
                      std::initializer_list<Argument> args = {}) {
  Builder row{};
  row.number = number;
  row.name = name;
  for (const Argument& argument : args) {
    if (argument.kind == ArgKind::kPath) {
      row.outputs.at(row.output_count++) =
          Output(OUT_PATH, row.arg_count, 0, CAPTURE_MAX_PATH, WHEN_ALWAYS);
    }
    row.args.at(row.arg_count++) = argument;
  }
  return row;
}

// ---- the families; syscall_table.cc puts them in order ----

std::span<const SyscallRow> FileRows();     // paths, descriptors, metadata
std::span<const SyscallRow> IoRows();       // read, write, sockets, waiting
std::span<const SyscallRow> MemoryRows();   // mappings, System V, message queues
std::span<const SyscallRow> ProcessRows();  // tasks, signals, identity, scheduling
std::span<const SyscallRow> SystemRows();   // time, facts, and what cannot be replayed

}  // namespace migrate::rows
