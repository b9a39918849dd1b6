#include "cli/event_line.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/event_args.h"
#include "cli/event_structs.h"
#include "cli/event_text.h"
#include "proto/syscall_table.h"

namespace migrate {

std::string EventLine(const Event& event, std::size_t string_size) {
  char columns[40];
  if (event.tid == 0) {  // of the recorder itself
    std::snprintf(columns, sizeof columns, "%10llu %7s  ",
                  static_cast<unsigned long long>(event.lsn), "-");
  } else {
    std::snprintf(columns, sizeof columns, "%10llu %7u  ",
                  static_cast<unsigned long long>(event.lsn), event.tid);
  }
  return columns + EventText(event, string_size);
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
  json["text"] = EventText(event, string_size);
  const SyscallRow* row = event.kind == EVENT_SYSCALL ? FindSyscall(event.number) : nullptr;
  if (row != nullptr) {
    json["arguments"] = nlohmann::ordered_json::object();
    for (const ArgumentText& argument : ArgumentTexts(*row, event, string_size)) {
      json["arguments"][std::string(argument.name)] = argument.text;
    }
  }
  if (event.file != FD_NONE) {
    json["file"] = Name(event.file);
  }
  for (const EventSpan& span : event.spans) {
    json["spans"].push_back({{"address", span.address},
                             {"length", span.bytes.size()},
                             {"text", QuotedText(span.bytes, string_size)}});
  }
  return json.dump();
}

}  // namespace migrate
