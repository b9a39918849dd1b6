#include "cli/event_line.h"

#include <seccomp.h>
#include <string.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

namespace migrate {
namespace {

std::string Hex(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, value < 10 ? "%llu" : "0x%llx",
                static_cast<unsigned long long>(value));
  return text;
}

std::string Quoted(std::span<const std::byte> bytes, std::size_t limit) {
  std::string text = "\"";
  for (const std::byte byte : bytes.first(std::min(limit, bytes.size()))) {
    const auto c = static_cast<unsigned char>(byte);
    char escaped[8];
    if (c == '"' || c == '\\') {
      std::snprintf(escaped, sizeof escaped, "\\%c", c);
    } else if (c >= 0x20 && c < 0x7f) {
      std::snprintf(escaped, sizeof escaped, "%c", c);
    } else {
      std::snprintf(escaped, sizeof escaped, "\\x%02x", c);
    }
    text += escaped;
  }
  return text + (bytes.size() > limit ? "\"..." : "\"");
}

std::string ResultText(std::int64_t result) {
  const char* name = result < 0 && result > -4096 ? strerrorname_np(static_cast<int>(-result))
                                                  : nullptr;
  return name == nullptr ? std::to_string(result) : "-1 " + std::string(name);
}

}  // namespace

std::string_view EventKindName(event_kind kind) {
  switch (kind) {
    case EVENT_SYSCALL:
      return "syscall";
    case EVENT_DATA:
      return "data";
    case EVENT_TASK_NEW:
      return "task_new";
    case EVENT_TASK_EXIT:
      return "task_exit";
    case EVENT_EXEC:
      return "exec";
    case EVENT_SIGNAL:
      return "signal";
    case EVENT_SWITCH:
      return "switch";
    case EVENT_CLOCKS:
      return "clocks";
    case EVENT_TSC:
      return "tsc";
    case EVENT_PROBLEM:
      return "problem";
    case EVENT_MARK:
      return "mark";
    case EVENT_INVALID:
    case EVENT_KIND_COUNT:
      break;
  }
  return "unknown";
}

std::string SyscallName(std::uint16_t number) {
  const std::unique_ptr<char, decltype(&std::free)> name(
      seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, number), &std::free);
  return name ? name.get() : "syscall_" + std::to_string(number);
}

std::optional<std::uint16_t> SyscallNumber(std::string_view name) {
  const int number =
      seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, std::string(name).c_str());
  return number < 0 ? std::nullopt : std::optional(static_cast<std::uint16_t>(number));
}

std::string EventLine(const Event& event, std::size_t string_size) {
  const bool syscall = event.kind == EVENT_SYSCALL;
  std::string line = std::to_string(event.lsn) + " " + std::to_string(event.tid) + " " +
                     (syscall ? SyscallName(event.number) : std::string(EventKindName(event.kind)));
  if (!syscall && event.number != 0) {
    line += " " + std::to_string(event.number);
  }
  line += "(";
  for (unsigned i = 0; i < event.arg_count; ++i) {
    line += (i == 0 ? "" : ", ") + Hex(event.args[i]);
  }
  line += ")";
  if (syscall || event.result != 0) {
    line += " = " + ResultText(event.result);
  }
  for (const EventSpan& span : event.spans) {
    line += " " + Quoted(span.bytes, string_size);
  }
  return line;
}

std::string EventJsonLine(const Event& event, std::size_t string_size) {
  nlohmann::ordered_json json;
  json["lsn"] = event.lsn;
  json["tid"] = event.tid;
  json["kind"] = EventKindName(event.kind);
  if (event.kind == EVENT_SYSCALL) {
    json["syscall"] = SyscallName(event.number);
  }
  json["number"] = event.number;
  json["result"] = event.result;
  json["args"] = std::span(event.args).first(event.arg_count);
  for (const EventSpan& span : event.spans) {
    json["spans"].push_back({{"address", span.address},
                             {"length", span.bytes.size()},
                             {"text", Quoted(span.bytes, string_size)}});
  }
  return json.dump();
}

}  // namespace migrate
