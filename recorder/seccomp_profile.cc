#include "recorder/seccomp_profile.h"

#include <seccomp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>

#include "proto/syscall_table.h"

namespace migrate {
namespace {

using Json = nlohmann::ordered_json;  // keys in the order in which they are written here

struct Fallback {
  std::string_view names;  // separated by spaces
  std::string_view row;    // the call of proto/syscall_table.h that decides whether it is needed
};

// Calls that programs try and do without. A call that they cannot do without is not in here: it
// would only make them fail, while now the recording ends if, and when, they use it. Nothing may be
// in here that is newer than the newest call that Docker's profile names (futex_waitv): for all
// above the highest number of a profile runc answers ENOSYS, and for those below EPERM.
constexpr std::array kFallbacks{
    // They take epoll or threads.
    Fallback{"io_uring_enter io_uring_register io_uring_setup", "io_uring_setup"},
    // They read and write in threads. Without io_setup the others have nothing to work on.
    Fallback{
        "io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit",
        "io_setup"},
    // They take memory protection and signals.
    Fallback{"userfaultfd", "userfaultfd"},
    // They take locked memory.
    Fallback{"memfd_secret", "memfd_secret"},
    // They go without counters and filters.
    Fallback{"perf_event_open", "perf_event_open"},
    Fallback{"bpf", "bpf"},
};

// Allowed without a condition.
constexpr std::string_view kAllowed =
    "_llseek _newselect accept accept4 access adjtimex alarm bind brk capget capset chdir "
    "chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 "
    "clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range "
    "connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl "
    "epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve "
    "execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate "
    "fanotify_mark fchdir fchmod fchmodat fchown fchown32 fchownat fcntl fcntl64 fdatasync "
    "fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs "
    "fstatfs64 fsync ftruncate ftruncate64 futex futex_time64 futex_waitv futimesat "
    "get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 "
    "geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid "
    "getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 "
    "getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 "
    "getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel "
    "io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit "
    "io_uring_enter io_uring_register io_uring_setup ioctl ioprio_get ioprio_set ipc kill "
    "landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 "
    "lgetxattr link linkat listen listxattr llistxattr lremovexattr lseek lsetxattr lstat "
    "lstat64 madvise membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat "
    "mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open "
    "mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap "
    "msgctl msgget msgrcv msgsnd msync munlock munlockall munmap nanosleep newfstatat open "
    "openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 poll ppoll ppoll_time64 "
    "prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 "
    "pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom "
    "recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr rename renameat renameat2 "
    "restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo "
    "rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo "
    "sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr "
    "sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 "
    "sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp "
    "select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 "
    "sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid "
    "setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid "
    "setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid "
    "setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr shmat shmctl shmdt "
    "shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall "
    "socketpair splice stat stat64 statfs statfs64 statx symlink symlinkat sync "
    "sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete "
    "timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 "
    "timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times "
    "tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat utime utimensat "
    "utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev";

// Allowed to containers that were given a capability.
struct Privilege {
  std::string_view capability;
  std::string_view names;
};

constexpr std::array kPrivileges{
    Privilege{"CAP_DAC_READ_SEARCH", "open_by_handle_at"},
    Privilege{"CAP_SYSLOG", "syslog"},
    Privilege{"CAP_SYS_ADMIN",
              "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount "
              "mount_setattr move_mount name_to_handle_at open_tree perf_event_open quotactl "
              "quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare"},
    Privilege{"CAP_SYS_BOOT", "reboot"},
    Privilege{"CAP_SYS_CHROOT", "chroot"},
    Privilege{"CAP_SYS_MODULE", "delete_module finit_module init_module"},
    Privilege{"CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy"},
    Privilege{"CAP_SYS_PACCT", "acct"},
    Privilege{"CAP_SYS_PTRACE",
              "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"},
    Privilege{"CAP_SYS_RAWIO", "ioperm iopl"},
    Privilege{"CAP_SYS_TIME", "clock_settime settimeofday stime"},
    Privilege{"CAP_SYS_TTY_CONFIG", "vhangup"},
};

// personality(): the 64-bit or the 32-bit one, each with or without UNAME26; and the question.
constexpr std::array<std::uint64_t, 5> kPersonalities{0, 0x8, 0x20000, 0x20008, 0xffffffff};
constexpr std::uint64_t kNamespaceFlags = 0x7e020000;  // CLONE_NEWNS, NEWCGROUP, ..., NEWNET
constexpr int kAddressFamilyVsock = 40;

std::vector<std::string> Split(std::string_view names) {
  std::istringstream words{std::string(names)};
  return {std::istream_iterator<std::string>(words), {}};
}

bool CannotBeRecorded(std::string_view name) {
  const SyscallRow* row = FindSyscall(name);
  return row == nullptr || row->policy == Policy::kRefuse;
}

bool IsKnown(const std::string& name) {
  return seccomp_syscall_resolve_name(name.c_str()) != __NR_SCMP_ERROR;
}

class Profile {
 public:
  Profile() : refused_(SeccompRefusedCalls()) {}

  Result<std::string> Write() && {
    AddAllowed(Split(kAllowed));
    // Before 4.8 a tracer could undo what a filter had decided.
    AddAllowed({"ptrace"}, {{"includes", {{"minKernel", "4.8"}}}});
    AddAllowed({"socket"}, Argument(kAddressFamilyVsock, "SCMP_CMP_NE"));
    for (const std::uint64_t personality : kPersonalities) {
      AddAllowed({"personality"}, Argument(personality, "SCMP_CMP_EQ"));
    }
    AddAllowed({"arch_prctl", "modify_ldt"});
    for (const Privilege& privilege : kPrivileges) {
      AddAllowed(Split(privilege.names), Condition("includes", privilege.capability));
    }
    AddThreadsButNoNamespaces();
    Add(refused_, "SCMP_ACT_ERRNO",
        {{"errnoRet", ENOSYS}, {"comment", "cannot be recorded; programs do without"}});
    if (!unknown_.empty()) {
      return MakeError(ErrorCode::kFailedPrecondition, "libseccomp does not know the syscall " +
                                                           unknown_ +
                                                           "; version 2.5.4 or newer is needed");
    }
    Json architecture{{"architecture", "SCMP_ARCH_X86_64"},
                      {"subArchitectures", Json::array({"SCMP_ARCH_X86", "SCMP_ARCH_X32"})}};
    const Json profile{{"defaultAction", "SCMP_ACT_ERRNO"},
                       {"archMap", Json::array({std::move(architecture)})},
                       {"syscalls", std::move(rules_)}};
    return profile.dump(2) + "\n";
  }

 private:
  static Json Argument(std::uint64_t value, std::string_view comparison) {
    Json argument{{"index", 0}, {"value", value}, {"op", comparison}};
    return {{"args", Json::array({std::move(argument)})}};
  }

  static Json Condition(const char* kind, std::string_view capability) {
    return {{kind, {{"caps", Json::array({capability})}}}};
  }

  // A name must not have two actions at a time: which of them wins is not defined. So what is
  // refused is allowed nowhere.
  void AddAllowed(std::vector<std::string> names, const Json& more = Json::object()) {
    std::erase_if(names, [&](const std::string& name) {
      return std::binary_search(refused_.begin(), refused_.end(), name);
    });
    if (!names.empty()) {
      Add(std::move(names), "SCMP_ACT_ALLOW", more);
    }
  }

  // clone3 has its flags in memory, where a filter cannot look: without CAP_SYS_ADMIN it answers as
  // if it did not exist, and the C library takes clone.
  void AddThreadsButNoNamespaces() {
    const Json unprivileged = Condition("excludes", "CAP_SYS_ADMIN");
    Json clone = Argument(kNamespaceFlags, "SCMP_CMP_MASKED_EQ");
    clone.update(unprivileged);
    AddAllowed({"clone"}, clone);
    Json clone3{{"errnoRet", ENOSYS}};
    clone3.update(unprivileged);
    Add({"clone3"}, "SCMP_ACT_ERRNO", clone3);
  }

  void Add(std::vector<std::string> names, std::string_view action, const Json& more) {
    std::sort(names.begin(), names.end());
    const auto unknown = std::find_if_not(names.begin(), names.end(), IsKnown);
    if (unknown != names.end()) {
      unknown_ = *unknown;
    }
    Json rule{{"names", std::move(names)}, {"action", action}};
    rule.update(more);
    rules_.push_back(std::move(rule));
  }

  const std::vector<std::string> refused_;
  Json rules_ = Json::array();
  std::string unknown_;
};

}  // namespace

std::vector<std::string> SeccompRefusedCalls() {
  std::vector<std::string> refused;
  for (const Fallback& fallback : kFallbacks) {
    if (CannotBeRecorded(fallback.row)) {
      const auto names = Split(fallback.names);
      refused.insert(refused.end(), names.begin(), names.end());
    }
  }
  std::sort(refused.begin(), refused.end());
  return refused;
}

Result<std::string> SeccompProfile() { return Profile().Write(); }

}  // namespace migrate
