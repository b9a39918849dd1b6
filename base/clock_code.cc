#include "base/clock_code.h"

#include <Zydis/Zydis.h>
#include <errno.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <map>

namespace migrate {
namespace {

constexpr std::size_t kJumpBytes = 5;
constexpr std::size_t kStubBytes = 8;

// Clocks that the kernel can read without a system call, by id: REALTIME, MONOTONIC, MONOTONIC_RAW,
// the two COARSE ones, BOOTTIME, TAI.
constexpr std::uint32_t kFastClocks = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 11;

struct KnownFunction {
  const char* name;
  std::uint32_t number;
  clock_function clocks;
};
constexpr KnownFunction kKnown[] = {
    {"clock_gettime", SYS_clock_gettime, CLOCK_GETTIME},
    {"gettimeofday", SYS_gettimeofday, CLOCK_GETTIMEOFDAY},
    {"time", SYS_time, CLOCK_TIME},
    {"getcpu", SYS_getcpu, CLOCK_FUNCTION_NONE},
    {"clock_getres", SYS_clock_getres, CLOCK_FUNCTION_NONE},
    {"getrandom", SYS_getrandom, CLOCK_FUNCTION_NONE},
};

// An enclave of the processor: nothing of it can be recorded, and entering it fails without its
// device.
constexpr std::string_view kIgnored = "sgx_enter_enclave";

Error NotMovable(const VdsoFunction& function, const char* why) {
  return MakeError(ErrorCode::kFailedPrecondition, "vDSO: " + function.name + ": " + why,
                   "VDSO_CODE");
}

// Emits instructions given as bytes; knows where it is and where things are.
class Assembler {
 public:
  explicit Assembler(std::uint64_t address) : address_(address) {}

  std::uint64_t here() const { return address_ + code_.size(); }
  std::uint32_t offset() const { return static_cast<std::uint32_t>(code_.size()); }

  void Emit(std::initializer_list<unsigned> bytes) {
    for (const unsigned byte : bytes) {
      code_.push_back(static_cast<std::byte>(byte));
    }
  }
  void Emit(const std::byte* bytes, std::size_t size) { code_.insert(code_.end(), bytes, bytes + size); }
  void Emit32(std::uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) {
      Emit({value >> shift & 0xff});
    }
  }
  // An instruction that ends with the distance from its end to `target`.
  void EmitTo(std::initializer_list<unsigned> opcode, std::uint64_t target) {
    Emit(opcode);
    Emit32(static_cast<std::uint32_t>(target - (here() + 4)));
  }

  using Label = int;
  Label NewLabel() {
    labels_.push_back(0);
    return static_cast<Label>(labels_.size() - 1);
  }
  void Bind(Label label) { labels_[label] = here(); }
  // The same, to a place that comes later.
  void EmitTo(std::initializer_list<unsigned> opcode, Label label) {
    Emit(opcode);
    fixups_[code_.size()] = label;
    Emit32(0);
  }

  std::vector<std::byte> Finish() {
    for (const auto& [at, label] : fixups_) {
      const auto distance = static_cast<std::uint32_t>(labels_[label] - (address_ + at + 4));
      std::memcpy(code_.data() + at, &distance, sizeof(distance));
    }
    return std::move(code_);
  }

 private:
  std::uint64_t address_;
  std::vector<std::byte> code_;
  std::vector<std::uint64_t> labels_;
  std::map<std::size_t, Label> fixups_;
};

// Jumps and calls, by opcode.
constexpr std::initializer_list<unsigned> kJump = {0xe9};
constexpr std::initializer_list<unsigned> kJumpIfZero = {0x0f, 0x84};
constexpr std::initializer_list<unsigned> kJumpIfNotZero = {0x0f, 0x85};
constexpr std::initializer_list<unsigned> kJumpIfNotCarry = {0x0f, 0x83};
constexpr std::initializer_list<unsigned> kJumpIfAbove = {0x0f, 0x87};

std::vector<std::byte> Stub(const KnownFunction& function) {
  Assembler code(0);
  if (function.number == SYS_getrandom) {
    // With a length of -1 it asks for the layout of the state that it keeps in the program. There is
    // none for a system call, and a program does without it.
    code.Emit({0x49, 0x83, 0xf8, 0xff});  // cmp r8, -1
    code.Emit({0x74, 0x08});              // je to the last two
  }
  code.Emit({0xb8});  // mov eax, number
  code.Emit32(function.number);
  code.Emit({0x0f, 0x05, 0xc3});  // syscall; ret
  if (function.number == SYS_getrandom) {
    code.Emit({0x48, 0xc7, 0xc0});  // mov rax, -ENOSYS
    code.Emit32(static_cast<std::uint32_t>(-ENOSYS));
    code.Emit({0xc3});
  }
  return code.Finish();
}

VdsoPatch MakePatch(const VdsoImage& image, std::uint32_t offset, std::vector<std::byte> patched) {
  const auto first = image.bytes.begin() + offset;
  return {offset, {first, first + static_cast<std::ptrdiff_t>(patched.size())}, std::move(patched)};
}

Result<VdsoPatch> MakeStub(const VdsoImage& image, const VdsoFunction& function,
                           const KnownFunction& known) {
  auto stub = Stub(known);
  if (function.size < stub.size()) {
    return NotMovable(function, "too short for a system call");
  }
  return MakePatch(image, function.offset, std::move(stub));
}

Result<const KnownFunction*> Recognise(const VdsoFunction& function) {
  for (const KnownFunction& known : kKnown) {
    if (function.name == known.name) {
      return &known;
    }
  }
  return MakeError(ErrorCode::kFailedPrecondition,
                   "vDSO: the function " + function.name + " is not known", "VDSO_FUNCTION");
}

ZydisDecoder MakeDecoder() {
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  return decoder;
}

struct Instruction {
  std::uint32_t offset = 0;
  ZydisDecodedInstruction decoded;
  std::optional<std::uint64_t> branch_target;  // an offset in the image
};

// From `offset` to `end`, one after the other.
Result<std::vector<Instruction>> Decode(const VdsoImage& image, const VdsoFunction& function,
                                        std::uint32_t end) {
  const ZydisDecoder decoder = MakeDecoder();
  std::vector<Instruction> instructions;
  for (std::uint32_t offset = function.offset; offset < end;) {
    Instruction instruction{.offset = offset, .decoded = {}, .branch_target = {}};
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, image.bytes.data() + offset,
                                             image.bytes.size() - offset, &instruction.decoded,
                                             operands))) {
      return NotMovable(function, "an instruction is not understood");
    }
    for (int i = 0; i < instruction.decoded.operand_count; ++i) {
      if (operands[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operands[i].imm.is_relative) {
        instruction.branch_target = offset + instruction.decoded.length + operands[i].imm.value.u;
      }
    }
    offset += instruction.decoded.length;
    instructions.push_back(instruction);
  }
  return instructions;
}

// The first instructions of a function, as many as the jump overwrites.
Result<std::vector<Instruction>> FindDisplaced(const VdsoImage& image,
                                               const VdsoFunction& function) {
  if (function.size < kStubBytes) {
    return NotMovable(function, "too short");
  }
  std::vector<Instruction> displaced;
  std::uint32_t end = function.offset;
  for (const Instruction& each : TRY(Decode(image, function, function.offset + kJumpBytes))) {
    const auto category = each.decoded.meta.category;
    if (each.branch_target || category == ZYDIS_CATEGORY_RET ||
        category == ZYDIS_CATEGORY_UNCOND_BR || category == ZYDIS_CATEGORY_CALL ||
        category == ZYDIS_CATEGORY_SYSCALL) {
      return NotMovable(function, "it branches at once");
    }
    displaced.push_back(each);
    end = each.offset + each.decoded.length;
  }
  for (const VdsoFunction& other : image.functions) {
    for (const Instruction& each : TRY(Decode(image, other, other.offset + other.size))) {
      if (each.branch_target && *each.branch_target >= function.offset &&
          *each.branch_target < end) {
        return NotMovable(function, "something branches into its beginning");
      }
    }
  }
  return displaced;
}

// Writes the code of one region.
class RegionWriter {
 public:
  RegionWriter(ClockMode mode, const VdsoImage& image, std::uint64_t vdso, std::uint64_t region)
      : mode_(mode), image_(image), vdso_(vdso), region_(region), code_(region) {}

  // Returns the address to which the function has to jump.
  Result<std::uint64_t> Write(const VdsoFunction& function, const KnownFunction& known) {
    const auto displaced = TRY(FindDisplaced(image_, function));
    const std::uint64_t original = TRY(WriteOriginal(function, displaced));
    const std::uint64_t entry = code_.here();
    const Labels labels{code_.NewLabel(), code_.NewLabel(), code_.NewLabel()};
    WriteConditions(known.clocks, labels);
    code_.EmitTo({0x48, 0x8b, 0x05}, head());    // mov rax, [head]
    code_.Emit({0x84, 0xc0});                    // test al, al
    code_.EmitTo(kJumpIfZero, labels.next_round);
    if (mode_ == ClockMode::kRecord) {
      WriteRecording(known.clocks, original, labels);
    } else {
      WriteReplaying(known.clocks, labels);
    }
    code_.Bind(labels.done);
    code_.Emit({0xc3});  // ret
    code_.Bind(labels.next_round);
    code_.EmitTo({0x48, 0xff, 0x05}, head());  // inc qword [head]
    code_.Bind(labels.system_call);
    code_.Emit({0xb8});  // mov eax, number
    code_.Emit32(known.number);
    calls_.push_back({code_.offset(), function.offset});
    code_.Emit({0x0f, 0x05, 0xc3});  // syscall; ret
    return entry;
  }

  std::vector<RegionCall> calls() const { return calls_; }
  std::vector<std::byte> Finish() { return code_.Finish(); }

 private:
  struct Labels {
    Assembler::Label done, next_round, system_call;
  };

  std::uint64_t head() const {
    return region_ + CLOCK_HEADER_OFFSET + offsetof(clock_ring_header, head);
  }
  std::uint64_t limit() const {
    return region_ + CLOCK_HEADER_OFFSET + offsetof(clock_ring_header, limit);
  }

  // The displaced instructions and a jump to what follows them.
  Result<std::uint64_t> WriteOriginal(const VdsoFunction& function,
                                      const std::vector<Instruction>& displaced) {
    const std::uint64_t start = code_.here();
    for (const Instruction& each : displaced) {
      const std::uint64_t from = vdso_ + each.offset;
      std::vector<std::byte> bytes(image_.bytes.begin() + each.offset,
                                   image_.bytes.begin() + each.offset + each.decoded.length);
      if ((each.decoded.attributes & ZYDIS_ATTRIB_IS_RELATIVE) != 0) {
        if (each.decoded.raw.disp.size != 32) {
          return NotMovable(function, "a short relative address");
        }
        std::int32_t distance = 0;
        std::memcpy(&distance, &bytes[each.decoded.raw.disp.offset], sizeof(distance));
        const auto moved = static_cast<std::int64_t>(distance) +
                           static_cast<std::int64_t>(from - code_.here());
        distance = static_cast<std::int32_t>(moved);
        if (distance != moved) {
          return NotMovable(function, "the region is too far away");
        }
        std::memcpy(&bytes[each.decoded.raw.disp.offset], &distance, sizeof(distance));
      }
      code_.Emit(bytes.data(), bytes.size());
    }
    const Instruction& last = displaced.back();
    code_.EmitTo(kJump, vdso_ + last.offset + last.decoded.length);
    return start;
  }

  // What is always a system call: by its arguments alone.
  void WriteConditions(clock_function function, const Labels& labels) {
    if (function == CLOCK_GETTIME) {
      code_.Emit({0x83, 0xff, 0x0b});  // cmp edi, 11
      code_.EmitTo(kJumpIfAbove, labels.system_call);
      code_.Emit({0xb8});  // mov eax, clocks
      code_.Emit32(kFastClocks);
      code_.Emit({0x0f, 0xa3, 0xf8});  // bt eax, edi
      code_.EmitTo(kJumpIfNotCarry, labels.system_call);
    } else if (function == CLOCK_GETTIMEOFDAY) {
      code_.Emit({0x48, 0x85, 0xff});  // test rdi, rdi: no time
      code_.EmitTo(kJumpIfZero, labels.system_call);
      code_.Emit({0x48, 0x85, 0xf6});  // test rsi, rsi: a time zone
      code_.EmitTo(kJumpIfNotZero, labels.system_call);
    }
  }

  // rcx: the address of the entry whose number is in edx (record) or eax (replay).
  void WriteEntryAddress(ClockMode mode) {
    if (mode == ClockMode::kRecord) {
      code_.Emit({0x0f, 0xb6, 0xca});  // movzx ecx, dl
    } else {
      code_.Emit({0x0f, 0xb6, 0xc8});  // movzx ecx, al
    }
    static_assert(sizeof(clock_ring_entry) == 32 && CLOCK_RING_ENTRIES == 256);
    code_.Emit({0xc1, 0xe1, 0x05});                                         // shl ecx, 5
    code_.EmitTo({0x4c, 0x8d, 0x05}, region_ + CLOCK_ENTRIES_OFFSET);       // lea r8, [entries]
    code_.Emit({0x4c, 0x01, 0xc1});                                         // add rcx, r8
  }

  void WriteRecording(clock_function function, std::uint64_t original, const Labels& labels) {
    // The stack is 8 past a multiple of 16 here, and must be at one at the call.
    code_.Emit({0x57});  // push rdi
    if (function == CLOCK_GETTIME) {
      code_.Emit({0x56});                    // push rsi
      code_.Emit({0x48, 0x83, 0xec, 0x08});  // sub rsp, 8
    }
    code_.EmitTo({0xe8}, original);  // call
    if (function == CLOCK_GETTIME) {
      code_.Emit({0x48, 0x83, 0xc4, 0x08});  // add rsp, 8
      code_.Emit({0x5e});                    // pop rsi
    }
    code_.Emit({0x5f});                              // pop rdi
    code_.Emit({0xba, 1, 0, 0, 0});                  // mov edx, 1
    code_.EmitTo({0x48, 0x0f, 0xc1, 0x15}, head());  // xadd [head], rdx
    WriteEntryAddress(ClockMode::kRecord);
    code_.Emit({0x48, 0x89, 0x41, 0x08});  // mov [rcx + 8], rax
    if (function == CLOCK_GETTIME) {
      const auto failed = code_.NewLabel();
      code_.Emit({0x85, 0xc0});  // test eax, eax
      code_.EmitTo(kJumpIfNotZero, failed);
      code_.Emit({0x4c, 0x8b, 0x06});        // mov r8, [rsi]
      code_.Emit({0x4c, 0x89, 0x41, 0x10});  // mov [rcx + 16], r8
      code_.Emit({0x4c, 0x8b, 0x46, 0x08});  // mov r8, [rsi + 8]
      code_.Emit({0x4c, 0x89, 0x41, 0x18});  // mov [rcx + 24], r8
      code_.Bind(failed);
      code_.Emit({0xc1, 0xe7, 0x10});  // shl edi, 16
      code_.Emit({0x83, 0xcf, static_cast<unsigned>(function)});  // or edi, function
      code_.Emit({0x89, 0x79, 0x04});                             // mov [rcx + 4], edi
    } else {
      if (function == CLOCK_GETTIMEOFDAY) {
        code_.Emit({0x4c, 0x8b, 0x07});        // mov r8, [rdi]
        code_.Emit({0x4c, 0x89, 0x41, 0x10});  // mov [rcx + 16], r8
        code_.Emit({0x4c, 0x8b, 0x47, 0x08});  // mov r8, [rdi + 8]
        code_.Emit({0x4c, 0x89, 0x41, 0x18});  // mov [rcx + 24], r8
      }
      code_.Emit({0xc7, 0x41, 0x04});  // mov dword [rcx + 4], function
      code_.Emit32(function);
    }
    code_.Emit({0x89, 0x11});  // mov [rcx], edx
    code_.EmitTo(kJump, labels.done);
  }

  void WriteReplaying(clock_function function, const Labels& labels) {
    code_.EmitTo({0x48, 0x3b, 0x05}, limit());  // cmp rax, [limit]
    code_.EmitTo(kJumpIfNotCarry, labels.system_call);
    WriteEntryAddress(ClockMode::kReplay);
    if (function == CLOCK_GETTIME) {
      code_.Emit({0x89, 0xfa});        // mov edx, edi
      code_.Emit({0xc1, 0xe2, 0x10});  // shl edx, 16
      code_.Emit({0x83, 0xca, static_cast<unsigned>(function)});  // or edx, function
      code_.Emit({0x39, 0x51, 0x04});                             // cmp [rcx + 4], edx
    } else {
      code_.Emit({0x81, 0x79, 0x04});  // cmp dword [rcx + 4], function
      code_.Emit32(function);
    }
    code_.EmitTo(kJumpIfNotZero, labels.system_call);
    code_.EmitTo({0x48, 0xff, 0x05}, head());  // inc qword [head]
    code_.Emit({0x48, 0x8b, 0x41, 0x08});      // mov rax, [rcx + 8]
    if (function == CLOCK_TIME) {
      code_.Emit({0x48, 0x85, 0xff});  // test rdi, rdi
      code_.EmitTo(kJumpIfZero, labels.done);
      code_.Emit({0x48, 0x89, 0x07});  // mov [rdi], rax
      return;
    }
    const bool in_rsi = function == CLOCK_GETTIME;
    code_.Emit({0x85, 0xc0});  // test eax, eax
    code_.EmitTo(kJumpIfNotZero, labels.done);
    code_.Emit({0x4c, 0x8b, 0x41, 0x10});               // mov r8, [rcx + 16]
    code_.Emit({0x4c, 0x89, in_rsi ? 0x06u : 0x07u});   // mov [rsi or rdi], r8
    code_.Emit({0x4c, 0x8b, 0x41, 0x18});               // mov r8, [rcx + 24]
    code_.Emit({0x4c, 0x89, in_rsi ? 0x46u : 0x47u, 0x08});  // mov [rsi or rdi + 8], r8
  }

  ClockMode mode_;
  const VdsoImage& image_;
  std::uint64_t vdso_;
  std::uint64_t region_;
  Assembler code_;
  std::vector<RegionCall> calls_;
};

bool Reaches(std::uint64_t a, std::uint64_t b) {
  const std::uint64_t distance = a > b ? a - b : b - a;
  return distance < (1ull << 31) - (1 << 20);
}

std::optional<std::uint64_t> FindReturn(const VdsoImage& image) {
  for (const VdsoFunction& function : image.functions) {
    for (std::uint32_t i = 0; i < function.size; ++i) {
      if (image.bytes[function.offset + i] == std::byte{0xc3}) {
        return function.offset + i;
      }
    }
  }
  return std::nullopt;
}

}  // namespace

Result<std::vector<VdsoPatch>> BuildStubs(const VdsoImage& image) {
  std::vector<VdsoPatch> patches;
  for (const VdsoFunction& function : image.functions) {
    if (function.name != kIgnored) {
      patches.push_back(TRY(MakeStub(image, function, *TRY(Recognise(function)))));
    }
  }
  return patches;
}

Result<ClockCode> BuildClockCode(ClockMode mode, const VdsoImage& image, std::uint64_t vdso,
                                 std::uint64_t region) {
  if (!Reaches(vdso, region)) {
    return MakeError(ErrorCode::kFailedPrecondition, "vDSO: the region is too far away",
                     "VDSO_CODE");
  }
  ClockCode result;
  RegionWriter writer(mode, image, vdso, region);
  for (const VdsoFunction& function : image.functions) {
    if (function.name == kIgnored) {
      continue;
    }
    const KnownFunction& known = *TRY(Recognise(function));
    if (known.clocks == CLOCK_FUNCTION_NONE) {
      result.patches.push_back(TRY(MakeStub(image, function, known)));
      continue;
    }
    Assembler jump(vdso + function.offset);
    jump.EmitTo(kJump, TRY(writer.Write(function, known)));
    result.patches.push_back(MakePatch(image, function.offset, jump.Finish()));
  }
  result.calls = writer.calls();
  result.code = writer.Finish();
  if (result.code.size() > CLOCK_PAGE) {
    return MakeError(ErrorCode::kInternal, "the clock code has grown beyond its page");
  }
  return result;
}

std::optional<std::uint64_t> MovedInstruction(const VdsoImage& image,
                                              const std::vector<VdsoPatch>& patches,
                                              std::uint64_t vdso, const ClockCode* code,
                                              std::uint64_t region, std::uint64_t ip) {
  const auto any_return = FindReturn(image);
  if (code != nullptr && ip >= region && ip < region + CLOCK_PAGE) {
    for (const RegionCall& call : code->calls) {
      if (ip == region + call.offset) {
        return vdso + call.function;  // about to be restarted: nothing has happened yet
      }
      if (ip == region + call.offset + 2 && any_return) {
        return vdso + *any_return;
      }
    }
    return std::nullopt;
  }
  if (ip < vdso || ip >= vdso + image.bytes.size()) {
    return ip;
  }
  for (const VdsoPatch& patch : patches) {
    const std::uint64_t start = vdso + patch.offset;
    if (ip <= start || ip >= start + patch.patched.size()) {
      continue;
    }
    for (std::size_t i = 0; i + 2 < patch.patched.size(); ++i) {
      const bool is_call = patch.patched.size() >= kStubBytes && patch.patched[i] == std::byte{0x0f} &&
                           patch.patched[i + 1] == std::byte{0x05};
      if (is_call && ip == start + i) {
        return start;
      }
      if (is_call && ip == start + i + 2 && any_return) {
        return vdso + *any_return;
      }
    }
    return std::nullopt;
  }
  // In the original code: with the clock code it returns into the region.
  return code == nullptr || code->code.empty() ? std::optional(ip) : std::nullopt;
}

}  // namespace migrate
