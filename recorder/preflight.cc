#include "recorder/preflight.h"

#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <fcntl.h>
#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/file_util.h"
#include "recorder/process_scan.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

std::string CommandLine(const Process& process) {
  std::string command = ReadSmallFile(process.directory() / "cmdline").value_or(std::string());
  while (!command.empty() && command.back() == '\0') {
    command.pop_back();
  }
  std::replace(command.begin(), command.end(), '\0', ' ');
  return command.empty() ? process.name : command.substr(0, 200);
}

struct FileRule {
  std::string_view prefix;  // of what the descriptor's link says
  const char* code;
  const char* what;
  const char* remedy;
};

constexpr const char* kStopUsingIt = "stop the program that uses it, or restart it without";

constexpr std::array kFileRules{
    FileRule{"anon_inode:[io_uring]", "IO_URING", "an io_uring instance",
             "turn io_uring off in the program (many have a setting for it) and restart it"},
    FileRule{"anon_inode:bpf", "BPF", "an eBPF program or map", kStopUsingIt},
    FileRule{"anon_inode:[perf_event]", "PERF_EVENT", "a performance counter", kStopUsingIt},
    FileRule{"anon_inode:[userfaultfd]", "USERFAULTFD", "a userfaultfd", kStopUsingIt},
    FileRule{"anon_inode:seccomp notify", "SECCOMP_NOTIFY", "a seccomp notification descriptor",
             kStopUsingIt},
    FileRule{"anon_inode:kvm", "KVM", "a virtual machine", "shut the virtual machine down"},
};

// What CRIU can dump of the files without a name.
constexpr std::array<std::string_view, 8> kAnonymousThatMove{
    "[eventpoll]", "[eventfd]",  "[timerfd]", "[signalfd]",
    "inotify",     "[fanotify]", "[pidfd]",   "[eventfd"};

bool StartsWithAny(std::string_view text, const auto& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return text.starts_with(prefix); });
}

bool IsStandardDevice(dev_t device) {
  const unsigned number_major = major(device);
  const unsigned number_minor = minor(device);
  switch (number_major) {
    case 1:  // null, zero, full, random, urandom
      return number_minor == 3 || number_minor == 5 || number_minor == 7 || number_minor == 8 ||
             number_minor == 9;
    case 5:  // tty, console, ptmx
      return number_minor <= 2;
    case 10:  // tun
      return number_minor == 200;
    default:  // pseudo-terminals
      return number_major >= 136 && number_major <= 143;
  }
}

class Inspection {
 public:
  Inspection(int init_pid, std::vector<Process> processes)
      : init_pid_(init_pid), processes_(std::move(processes)) {
    for (const Process& process : processes_) {
      pids_.insert(process.pid);
    }
  }

  std::vector<Blocker> RunDescentOnly() {
    for (const Process& process : processes_) {
      CheckDescent(process);
    }
    return std::move(blockers_);
  }

  std::vector<Blocker> Run() {
    for (const Process& process : processes_) {
      CheckDescent(process);
      CheckTracer(process);
      CheckNamespaces(process);
      CheckBinary(process);
      CheckFiles(process);  // first: it names the descriptor
      CheckMappings(process);
    }
    return std::move(blockers_);
  }

 private:
  // Each code and subject once, however many descriptors there are.
  void Add(const char* code, const std::string& subject, std::string detail, std::string remedy) {
    if (reported_.insert({code, subject}).second) {
      blockers_.push_back({code, subject, std::move(detail), std::move(remedy)});
    }
  }

  void CheckDescent(const Process& process) {
    // The head of a foreign tree: its parent is outside of the container.
    if (process.pid != init_pid_ && !pids_.contains(process.parent)) {
      Add("EXEC_SESSION", CommandLine(process),
          "a process (pid " + std::to_string(process.pid) +
              ") was put into the container from outside, as `docker exec` or a health check does",
          "wait until it ends, or end it");
    }
  }

  void CheckTracer(const Process& process) {
    if (process.tracer != 0) {
      Add("TRACED", process.Label(),
          "is being traced by pid " + std::to_string(process.tracer) + " (a debugger or strace)",
          "detach the tracer");
    }
  }

  void CheckNamespaces(const Process& process) {
    const Process init{.pid = init_pid_};
    const auto differs = [&](const char* kind) {
      const std::string own = process.Namespace(kind);
      const std::string inits = init.Namespace(kind);
      return !own.empty() && !inits.empty() && own != inits;
    };
    if (differs("pid")) {
      Add("NESTED_PID_NAMESPACE", process.Label(), "runs in a pid namespace of its own",
          "stop the nested container or sandbox");
    }
    if (differs("user")) {
      Add("NESTED_USER_NAMESPACE", process.Label(), "runs in a user namespace of its own",
          "stop the nested container or sandbox");
    }
  }

  void CheckBinary(const Process& process) {
    const auto fd = OpenFile(process.directory() / "exe", O_RDONLY);
    std::array<char, 5> head{};
    // Byte 4 of an ELF file is its class: 1 means 32 bits.
    if (fd && read(fd->get(), head.data(), head.size()) == 5 &&
        std::string_view(head.data(), 4) ==
            "\x7f"
            "ELF" &&
        head[4] == 1) {
      Add("COMPAT_TASK", process.Label(), "is a 32-bit program", "use a 64-bit build of it");
    }
  }

  void CheckMappings(const Process& process) {
    for (const FileMapping& mapping : ReadMappings(process)) {
      if (mapping.name.starts_with("/secretmem")) {
        Add("SECRET_MEMORY", process.Label(),
            "has memory that is hidden from the kernel (memfd_secret)", kStopUsingIt);
      }
      if (mapping.name.starts_with("anon_inode:[io_uring]")) {
        // Mapped rings outlive their descriptor.
        Add("IO_URING", process.Label(), "uses an io_uring instance", kFileRules[0].remedy);
      }
    }
  }

  void CheckFiles(const Process& process) {
    for (const Descriptor& file : ReadDescriptors(process)) {
      if (file.link.starts_with("socket:")) {
        CheckSocket(process, file.number);
      } else if (file.link.starts_with("anon_inode:")) {
        CheckAnonymous(process, file);
      } else if (file.link.starts_with("/secretmem")) {
        Add("SECRET_MEMORY", process.Label(), "holds hidden memory (memfd_secret)", kStopUsingIt);
      } else {
        CheckDevice(process, file);
      }
    }
  }

  static std::string Number(const Descriptor& file) {
    return " (descriptor " + std::to_string(file.number) + ")";
  }

  void CheckAnonymous(const Process& process, const Descriptor& file) {
    const std::string_view link = file.link;
    for (const FileRule& rule : kFileRules) {
      if (link.starts_with(rule.prefix)) {
        Add(rule.code, process.Label(), std::string("uses ") + rule.what + Number(file),
            rule.remedy);
        return;
      }
    }
    if (!StartsWithAny(link.substr(std::string_view("anon_inode:").size()), kAnonymousThatMove)) {
      Add("UNSUPPORTED_FILE", process.Label(),
          "holds a descriptor of a kind that cannot be moved: " + file.link + Number(file),
          kStopUsingIt);
    }
  }

  void CheckDevice(const Process& process, const Descriptor& file) {
    struct stat info {};
    const fs::path path = process.directory() / "fd" / std::to_string(file.number);
    if (stat(path.c_str(), &info) != 0 || !(S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) ||
        (S_ISCHR(info.st_mode) && IsStandardDevice(info.st_rdev))) {
      return;
    }
    Add("DEVICE", process.Label(), "has the device " + file.link + " open" + Number(file),
        "close it; a device belongs to this host");
  }

  void CheckSocket(const Process& process, int fd) {
    const OwnedFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
    const OwnedFd copy(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), fd, 0)));
    const auto option = [&](int name) {
      int value = -1;
      socklen_t size = sizeof value;
      return getsockopt(copy.get(), SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
    };
    const int domain = option(SO_DOMAIN);
    const int type = option(SO_TYPE);
    const int protocol = option(SO_PROTOCOL);
    if (domain < 0) {
      return;  // closed meanwhile
    }
    const std::string unsupported = UnsupportedSocket(domain, type, protocol);
    if (!unsupported.empty()) {
      Add("UNSUPPORTED_SOCKET", process.Label(),
          "uses a socket of a kind that cannot be moved: " + unsupported, kStopUsingIt);
    }
  }

  static std::string UnsupportedSocket(int domain, int type, int protocol) {
    switch (domain) {
      case AF_UNIX:
      case AF_PACKET:
      case AF_NETLINK:
        return {};
      case AF_INET:
      case AF_INET6:
        if (type == SOCK_RAW) {
          return {};
        }
        if (protocol == IPPROTO_MPTCP) {
          return "MPTCP (of a Go program: set GODEBUG=multipathtcp=0)";
        }
        if (protocol == IPPROTO_SCTP) {
          return "SCTP";
        }
        if ((type != SOCK_STREAM && type != SOCK_DGRAM) ||
            (protocol != IPPROTO_IP && protocol != IPPROTO_TCP && protocol != IPPROTO_UDP &&
             protocol != IPPROTO_UDPLITE && protocol != IPPROTO_ICMP &&
             protocol != IPPROTO_ICMPV6)) {
          return "IP protocol " + std::to_string(protocol);
        }
        return {};
      case AF_VSOCK:
        return "vsock";
      case AF_ALG:
        return "kernel crypto (AF_ALG)";
      default:
        return "address family " + std::to_string(domain);
    }
  }

  const int init_pid_;
  const std::vector<Process> processes_;
  std::set<int> pids_;
  std::set<std::pair<std::string, std::string>> reported_;
  std::vector<Blocker> blockers_;
};

}  // namespace

std::vector<Blocker> InspectContainerTasks(int init_pid, const fs::path& cgroup) {
  return Inspection(init_pid, ReadProcesses(cgroup)).Run();
}

std::optional<Blocker> FindExecSession(int init_pid, const fs::path& cgroup) {
  const auto found = Inspection(init_pid, ReadProcesses(cgroup)).RunDescentOnly();
  return found.empty() ? std::nullopt : std::optional(found.front());
}

}  // namespace migrate
