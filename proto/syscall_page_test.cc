// docs/syscalls.md is the syscall table, rendered. After a change of a row:
//   MIGRATE_UPDATE_DOCS=1 build/dev/bin/syscall_table_test
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <vector>

#include "proto/syscall_row.h"
#include "proto/syscall_table.h"

namespace migrate {
namespace {

struct RuleWords {
  FileRule rule;
  std::string_view name;
  std::string_view what;
};
constexpr RuleWords kRules[] = {
    {FileRule::kRead, "reads", "bytes come out of the file"},
    {FileRule::kWrite, "writes", "bytes go into it, or its size changes"},
    {FileRule::kPosition, "position", "the position in it"},
    {FileRule::kStatus, "facts", "what it is"},
    {FileRule::kControl, "control", "ioctl; see also the commands below"},
    {FileRule::kMap, "mapping", "its pages become memory"},
    {FileRule::kSocket, "sockets", "what is done to sockets only"},
    {FileRule::kSplice, "passing on", "bytes go from it to another file, past the process"},
};

struct PolicyWords {
  Policy policy;
  std::string_view what;
};
constexpr PolicyWords kPolicies[] = {
    {Policy::kInject, "not executed: result and bytes come from the log"},
    {Policy::kExecute, "executed, and must give the logged result"},
    {Policy::kPlaceholder,
     "executed in a form that makes the same descriptor, without the outside"},
    {Policy::kSuppress, "the effect on the outside is withheld; the result comes from the log"},
    {Policy::kRefuse, "cannot be replayed: ends the recording when it succeeds"},
};

struct ClassWords {
  fd_class file;
  std::string_view what;
};
constexpr ClassWords kClasses[] = {
    {FD_NONE, "no descriptor"},
    {FD_BAD, "no such descriptor"},
    {FD_REPLICATED, "file or directory on a file system that the target has as well"},
    {FD_FOREIGN, "file of procfs, sysfs, cgroupfs, ...: belongs to this host"},
    {FD_SOCKET, "inet, netlink, packet: talks to the outside"},
    {FD_UNIX, "unix socket, both ends inside the container"},
    {FD_UNIX_OUTSIDE, "unix socket to the outside"},
    {FD_PIPE, "pipe or FIFO inside the container"},
    {FD_PIPE_OUTSIDE, "pipe or FIFO to the outside"},
    {FD_TTY, "terminal"},
    {FD_NULL, "/dev/null, zero, full"},
    {FD_RANDOM, "/dev/random, urandom"},
    {FD_DEVICE, "any other device"},
    {FD_EVENTFD, "eventfd"},
    {FD_TIMERFD, "timerfd"},
    {FD_SIGNALFD, "signalfd"},
    {FD_EPOLL, "epoll set"},
    {FD_INOTIFY, "inotify"},
    {FD_MEMORY, "memfd, shared memory on a tmpfs of the container"},
    {FD_PIDFD, "pidfd"},
    {FD_MQUEUE, "POSIX message queue"},
    {FD_OTHER, "any other anonymous inode"},
};
static_assert(std::size(kClasses) == FD_CLASS_COUNT);

std::string Hex(uint32_t value) {
  std::ostringstream text;
  text << "0x" << std::hex << value;
  return text.str();
}

bool ByFile(const SyscallRow& row) {
  return row.file_rule != FileRule::kFixed && row.policy != Policy::kRefuse;
}

std::string PolicyText(const SyscallRow& row) {
  if (!ByFile(row)) {
    return std::string(Name(row.policy));
  }
  const auto* rule = std::ranges::find(kRules, row.file_rule, &RuleWords::rule);
  return "by file: " + std::string(rule->name);
}

std::string CallText(const SyscallRow& row) {
  std::string text = "`" + std::string(row.name) + "(";
  for (size_t i = 0; i < row.arg_count; ++i) {
    text += (i > 0 ? ", " : "") + std::string(row.args[i].name);
  }
  return text + ")`";
}

// "144 bytes", "count bytes", "maxevents x 12 bytes"
std::string Times(std::string_view count, uint32_t size) {
  return std::string(count) + (size > 1 ? " x " + std::to_string(size) : "") + " bytes";
}

std::string LengthText(const SyscallRow& row, const capture_output& output) {
  const std::string length(row.args[output.len_arg].name);
  switch (output.kind) {
    case OUT_FIXED:
      return std::to_string(output.size) + " bytes";
    case OUT_RESULT:
      return Times("result", output.size);
    case OUT_RESULT_CAPPED:
      return Times("min(result, " + length + ")", output.size);
    case OUT_ARG:
      return Times(length, output.size);
    case OUT_POINTEE32:
    case OUT_POINTEE64:
      return "\\*" + length + " bytes" +
             (output.size == rows::kAnySize ? "" : ", at most " + std::to_string(output.size));
    case OUT_IOVEC:
      return "its buffers, up to the result";
    case OUT_MSGHDR:
      return "header, name, control and buffers";
    case OUT_MMSGHDR:
      return "result of them: header, name, control and buffers";
    case OUT_FD_SET:
      return length + " bits";
    case OUT_IOCTL:
    case OUT_FCNTL:
    case OUT_PRCTL:
    case OUT_IPC:
      return "by command";
    case OUT_FUTEX:
      return "the words that the operation writes";
    case OUT_CLONE:
    case OUT_CLONE3:
      return "task ids and pidfd, as the flags say";
    case OUT_PAGES:
      return "a byte for each page of " + length;
    case OUT_RESULT_PLUS:
      return "result + " + std::to_string(output.size) + " bytes";
    default:
      return "?";
  }
}

std::string OutputText(const SyscallRow& row, const capture_output& output) {
  // That a path or an address is logged says its name; clone's two words are told by its flags.
  const bool named = output.kind != OUT_FUTEX && output.kind != OUT_CLONE;
  std::string text = named ? std::string(row.args[output.arg].name) + ": " + LengthText(row, output)
                           : LengthText(row, output);
  if (output.when == WHEN_ALWAYS) {
    text += ", also on errors";
  } else if (output.when == WHEN_INTERRUPTED) {
    text += " when interrupted";
  }
  return text;
}

// Or no output at all.
bool IsInput(const capture_output& output) {
  return output.kind == OUT_PATH || output.kind == OUT_BYTES_IN || output.kind == OUT_SOCKOPT;
}

std::string OutputsText(const SyscallRow& row) {
  std::string text;
  for (const capture_output& output : std::span(row.outputs).first(row.output_count)) {
    if (!IsInput(output)) {
      text += (text.empty() ? "" : "; ") + OutputText(row, output);
    }
  }
  return text;
}

std::string NoteText(const SyscallRow& row) {
  std::string text(row.note);
  if (row.refuse_bits != 0) {
    text += (text.empty() ? "" : "; ");
    text += "refused with a bit of " + Hex(row.refuse_bits) + " in " +
            std::string(row.args[static_cast<size_t>(row.refuse_arg)].name);
  }
  return text;
}

void RenderSummary(std::ostream& text) {
  text << "| policy | calls | what a replica does |\n|---|---|---|\n";
  const auto table = SyscallTable();
  for (const auto& [policy, what] : kPolicies) {
    text << "| " << Name(policy) << " | "
         << std::ranges::count_if(table,
                                  [policy = policy](const SyscallRow& row) {
                                    return !ByFile(row) && row.policy == policy;
                                  })
         << " | " << what << " |\n";
  }
  text << "| by file | " << std::ranges::count_if(table, ByFile)
       << " | one of these, as the file behind the descriptor says |\n\n"
       << table.size() << " calls; "
       << std::ranges::count_if(table, [](const auto& row) { return !OutputsText(row).empty(); })
       << " write into the process, " << std::ranges::count_if(table, &SyscallRow::may_block)
       << " may wait for others. A\nnumber without a row ends the recording. An error is always "
          "injected.\n\n";
}

// "**execute**: file, unix; **inject**: all others". Without a descriptor only mmap means
// something.
std::string RuleText(FileRule rule) {
  SyscallRow row;
  row.policy = Policy::kExecute;
  row.file_rule = rule;
  std::map<Policy, std::vector<std::string_view>> classes;
  for (const ClassWords& file : kClasses) {
    if (file.file != FD_NONE || rule == FileRule::kMap) {
      classes[PolicyFor(row, file.file)].push_back(Name(file.file));
    }
  }
  const auto most =
      std::ranges::max_element(classes, {}, [](const auto& entry) { return entry.second.size(); });
  std::string text;
  for (const auto& [policy, names] : classes) {
    if (policy != most->first) {
      text += "**" + std::string(Name(policy)) + "**: ";
      for (const std::string_view name : names) {
        text += std::string(name) + (name == names.back() ? "; " : ", ");
      }
    }
  }
  return text + "**" + std::string(Name(most->first)) +
         "**: " + (classes.size() > 1 ? "all others" : "all");
}

void RenderFiles(std::ostream& text) {
  text << "## By file\n\n| rule | | policy: classes of files |\n|---|---|---|\n";
  for (const RuleWords& rule : kRules) {
    text << "| " << rule.name << " | " << rule.what << " | " << RuleText(rule.rule) << " |\n";
  }
  text << "\n| class | |\n|---|---|\n";
  for (const ClassWords& file : kClasses) {
    text << "| " << Name(file.file) << " | " << file.what << " |\n";
  }
}

void RenderCalls(std::ostream& text) {
  text
      << "\n## Calls\n\nOutputs are what the kernel writes into the process, by argument; more may "
         "be "
         "logged than it\nwrote, never less. Paths and the addresses of sockets are logged too.\n\n"
      << "| number | call | policy | outputs | may block | note |\n|---|---|---|---|---|---|\n";
  for (const SyscallRow& row : SyscallTable()) {
    text << "| " << row.number << " | " << CallText(row) << " | " << PolicyText(row) << " | "
         << OutputsText(row) << " | " << (row.may_block ? "yes" : "") << " | " << NoteText(row)
         << " |\n";
  }
}

std::string_view CallOf(const CommandSize& command) {
  switch (command.key.kind) {
    case OUT_IOCTL:
      return "ioctl";
    case OUT_FCNTL:
      return "fcntl";
    case OUT_SOCKOPT:
      return (command.key.command & rows::kSetsockoptTag) != 0 ? "setsockopt" : "getsockopt";
    case OUT_PRCTL:
      return command.name.starts_with("ARCH_") ? "arch_prctl" : "prctl";
    default:
      break;
  }
  switch (command.key.command & 0xffff0000) {
    case rows::kSemctlTag:
      return "semctl";
    case rows::kShmctlTag:
      return "shmctl";
    default:
      return "msgctl";
  }
}

std::string CommandOutput(const CommandSize& command) {
  switch (command.size) {
    case 0:
    case COMMAND_REFUSE:
      return "";
    case COMMAND_IFCONF:
      return "the list and its entries";
    case COMMAND_RESULT:
      return "min(result, size) bytes";
    default:
      return std::to_string(command.size) + " bytes";
  }
}

void RenderCommands(std::ostream& text) {
  text << "\n## Commands\n\nAn ioctl that is not listed writes as much as its number encodes; "
          "another command that is not\nlisted writes nothing. Both are executed.\n\n"
       << "| call | command | number | policy | outputs |\n|---|---|---|---|---|\n";
  const auto commands = CommandSizes();
  for (size_t i = 0; i < commands.size(); ++i) {
    const CommandSize& first = commands[i];
    while (i + 1 < commands.size() && commands[i + 1].name == first.name) {
      ++i;
    }
    const bool system_v = first.key.kind == OUT_IPC;
    const bool socket = first.key.kind == OUT_SOCKOPT;  // level and option
    const uint32_t mask = system_v ? 0xffff : socket ? ~rows::kSetsockoptTag : 0xffffffff;
    text << "| " << CallOf(first) << " | " << first.name << " | " << Hex(first.key.command & mask);
    if (&commands[i] != &first) {
      text << "-" << Hex(commands[i].key.command & mask);
    }
    text << " | " << Name(first.policy) << " | " << CommandOutput(first) << " |\n";
  }
}

std::string Rendered() {
  std::ostringstream text;
  text << "# System calls\n\nWhat recording and replay do with each system call of x86-64. "
          "Generated "
          "from the rows of\n[proto/syscall_table.h](../proto/syscall_table.h).\n\n";
  RenderSummary(text);
  RenderFiles(text);
  RenderCalls(text);
  RenderCommands(text);
  return text.str();
}

TEST(SyscallPage, IsTheTable) {
  const std::string path = MIGRATE_SOURCE_DIR "/docs/syscalls.md";
  const std::string rendered = Rendered();
  if (std::getenv("MIGRATE_UPDATE_DOCS") != nullptr) {
    std::ofstream(path) << rendered;
  }
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(text.str() == rendered) << path << " is not the table any more; to write it:\n"
                                      << "  MIGRATE_UPDATE_DOCS=1 build/dev/bin/syscall_table_test";
}

TEST(SyscallPage, EveryOutputHasWords) {
  for (const SyscallRow& row : SyscallTable()) {
    EXPECT_EQ(OutputsText(row).find('?'), std::string::npos) << row.name;
  }
}

}  // namespace
}  // namespace migrate
