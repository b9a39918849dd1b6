// Rows of the syscall table: tasks, signals, identity, scheduling. See proto/syscall_row.h for the
// notation.
#include <linux/sched.h>

#include "proto/syscall_row.h"

namespace migrate::rows {
namespace {

constexpr std::string_view kDelivered = "the delivery is an event of its own";
constexpr std::string_view kSerial = "ends the recording: the order of the tasks depends on it";
constexpr std::string_view kNamespaces = "a new namespace is refused";
constexpr uint32_t kNewNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
static_assert(kNewNamespaces == 0x7e020000);

constexpr Argument Pid(std::string_view name = "pid") { return Int(name); }
constexpr Argument WaitFlags() { return As("options", ArgKind::kWaitFlags); }
constexpr Argument Action(std::string_view name) { return As(name, ArgKind::kSigaction); }
constexpr Argument Info() { return As("info", ArgKind::kSiginfo); }
constexpr Argument Resource() { return As("resource", ArgKind::kResource); }
constexpr Argument Rlimit(std::string_view name) { return As(name, ArgKind::kRlimit); }
constexpr Argument Rusage(std::string_view name) { return As(name, ArgKind::kRusage); }
constexpr Argument Cpus() { return As("mask", ArgKind::kBits); }
constexpr Argument FutexOp() { return As("op", ArgKind::kFutexOperation); }

constexpr Builder Births(Builder row) {
  return row.Execute().MayBlock().Code(Irregular::kClone).Note("with the logged task id");
}
constexpr Builder Sends(Builder row) {
  return row.Suppress().Code(Irregular::kSignal).Note(kDelivered);
}
constexpr Builder Futex(Builder row) { return row.Inject().Code(Irregular::kFutex); }
constexpr Builder Schedules(Builder row) { return row.Execute().ChangesScheduling().Note(kSerial); }

constexpr SyscallRow kRows[] = {
    // Birth and death. vfork waits for the child's exec, exec for the end of the other threads. A
    // clone that fails late has written the number of its pidfd.
    Births(Row(56, "clone",
               {As("flags", ArgKind::kCloneFlags), Pointer("stack"), Word32("parent_tid"),
                Word32("child_tid"), Hex("tls")}))
        .Out(Output(OUT_CLONE, 0, 0, 0, WHEN_ALWAYS))
        .RefuseBits(0, kNewNamespaces),
    Births(Row(435, "clone3", {Pointer("args"), Size()}))
        .Out(Output(OUT_CLONE3, 0, 1, 0, WHEN_ALWAYS))
        .Note("with the logged task id; new namespaces are refused, as for clone"),
    Births(Row(57, "fork")),
    Births(Row(58, "vfork")),
    Row(59, "execve", {Path(), Pointer("argv"), Pointer("envp")})
        .Execute()
        .MayBlock()
        .Code(Irregular::kExec),
    Row(322, "execveat",
        {DirFd(), Path(), Pointer("argv"), Pointer("envp"), As("flags", ArgKind::kAtFlags)})
        .Execute()
        .MayBlock()
        .Code(Irregular::kExec),
    Row(60, "exit", {Int("status")}).Execute().NeverReturns().Code(Irregular::kExit),
    Row(231, "exit_group", {Int("status")}).Execute().NeverReturns().Code(Irregular::kExit),
    Row(61, "wait4", {Pid(), As("status", ArgKind::kWaitStatus), WaitFlags(), Rusage("rusage")})
        .Execute()
        .MayBlock()
        .Code(Irregular::kWait)
        .Out({Fixed(1, 4, WHEN_POSITIVE), Fixed(3, 144, WHEN_POSITIVE)}),
    Row(247, "waitid", {Int("idtype"), Pid("id"), Info(), WaitFlags(), Rusage("rusage")})
        .Execute()
        .MayBlock()
        .Code(Irregular::kWait)
        .Out({Fixed(2, 128, WHEN_ALWAYS), Fixed(4, 144)})
        .Note("on an error it clears the info"),
    Row(434, "pidfd_open", {Pid(), Flags()}).Execute(),
    Row(438, "pidfd_getfd", {Fd("pidfd"), Fd("targetfd"), Flags()}).Execute(),
    Row(272, "unshare", {As("flags", ArgKind::kCloneFlags)})
        .Execute()
        .RefuseBits(0, kNewNamespaces | CLONE_NEWTIME)
        .Note(kNamespaces),
    Row(308, "setns", {Fd(), As("nstype", ArgKind::kCloneFlags)}).Refuse(kNamespaces),

    // Threads.
    Row(218, "set_tid_address", {Word32("tidptr")}).Execute(),
    Row(273, "set_robust_list", {Pointer("head"), Size("len")}).Execute(),
    Row(274, "get_robust_list", {Pid(), Word64("head"), Word64("len")})
        .Inject()
        .Out({Fixed(1, 8), Fixed(2, 8)}),
    Row(334, "rseq", {Pointer("area"), Size("len"), Flags(), Hex("signature")})
        .Execute()
        .Note("what the kernel writes into the area is not logged: the replica has the same CPU"),
    Row(324, "membarrier", {Int("cmd"), Flags(), Int("cpu")}).Execute(),
    Futex(Row(202, "futex",
              {Pointer("uaddr"), FutexOp(), Unsigned("val"),
               As("timeout", ArgKind::kFutexTimeout), Pointer("uaddr2"), Hex("val3")}))
        .MayBlock()
        .Out(Output(OUT_FUTEX, 0, 1, 0, WHEN_ALWAYS)),
    Futex(Row(449, "futex_waitv",
              {Pointer("waiters"), Size("nr"), Flags(), Timespec("timeout"), Clock()}))
        .MayBlock(),
    Futex(Row(454, "futex_wake", {Pointer("uaddr"), Hex("mask"), Int("nr"), Flags()})),
    Futex(
        Row(455, "futex_wait",
            {Pointer("uaddr"), Unsigned("val"), Hex("mask"), Flags(), Timespec("timeout"), Clock()}))
        .MayBlock(),
    Futex(Row(456, "futex_requeue",
              {Pointer("waiters"), Flags(), Int("nr_wake"), Int("nr_requeue")})),
    Row(158, "arch_prctl", {Hex("op"), Hex("addr")}).Execute().Out(ByCommand(OUT_PRCTL, 1, 0)),
    Row(205, "set_thread_area", {Pointer("desc")}).Refuse("does not exist on x86-64"),
    Row(211, "get_thread_area", {Pointer("desc")}).Refuse("does not exist on x86-64"),
    Row(154, "modify_ldt", {Int("func"), Pointer("ptr"), Size("bytecount")})
        .Refuse("descriptor tables are not in a checkpoint")
        .Out(Result(1)),

    // Signals.
    Row(13, "rt_sigaction", {Signal(), Action("act"), Action("oldact"), Size("sigsetsize")})
        .Execute()
        .Out(Fixed(2, 32)),
    Row(14, "rt_sigprocmask",
        {As("how", ArgKind::kSignalHow), Sigset("set"), Sigset("oldset"), Size("sigsetsize")})
        .Execute()
        .Out(ByArg(2, 3)),
    Row(15, "rt_sigreturn").Execute().NeverReturns().Code(Irregular::kSignal),
    Row(131, "sigaltstack", {Pointer("ss"), Pointer("old_ss")}).Execute().Out(Fixed(1, 24)),
    Row(127, "rt_sigpending", {Sigset("set"), Size("sigsetsize")}).Inject().Out(ByArg(0, 1)),
    Row(130, "rt_sigsuspend", {Sigset("mask"), Size("sigsetsize")})
        .Inject()
        .MayBlock()
        .Code(Irregular::kSignal),
    Row(128, "rt_sigtimedwait",
        {Sigset("set"), Info(), Timespec("timeout"), Size("sigsetsize")})
        .Inject()
        .MayBlock()
        .Code(Irregular::kSignal)
        .Out(Fixed(1, 128, WHEN_POSITIVE)),
    Row(34, "pause").Inject().MayBlock(),
    Sends(Row(62, "kill", {Pid(), Signal()})),
    Sends(Row(200, "tkill", {Pid("tid"), Signal()})),
    Sends(Row(234, "tgkill", {Pid("tgid"), Pid("tid"), Signal()})),
    Sends(Row(129, "rt_sigqueueinfo", {Pid(), Signal(), Pointer("info")})),
    Sends(Row(297, "rt_tgsigqueueinfo", {Pid("tgid"), Pid("tid"), Signal(), Pointer("info")})),
    Sends(Row(424, "pidfd_send_signal", {Fd("pidfd"), Signal(), Pointer("info"), Flags()})),
    Row(219, "restart_syscall")
        .Inject()
        .MayBlock()
        .Code(Irregular::kRestart)
        .Note("goes on with the call that was interrupted: arguments and outputs are those of that "
              "one"),

    // Identity.
    Row(39, "getpid").Inject(),
    Row(186, "gettid").Inject(),
    Row(110, "getppid").Inject(),
    Row(111, "getpgrp").Inject(),
    Row(121, "getpgid", {Pid()}).Inject(),
    Row(124, "getsid", {Pid()}).Inject(),
    Row(109, "setpgid", {Pid(), Pid("pgid")}).Execute(),
    Row(112, "setsid").Execute(),
    Row(102, "getuid").Inject(),
    Row(104, "getgid").Inject(),
    Row(107, "geteuid").Inject(),
    Row(108, "getegid").Inject(),
    Row(118, "getresuid", {Word32("ruid"), Word32("euid"), Word32("suid")})
        .Inject()
        .Out({Fixed(0, 4), Fixed(1, 4), Fixed(2, 4)}),
    Row(120, "getresgid", {Word32("rgid"), Word32("egid"), Word32("sgid")})
        .Inject()
        .Out({Fixed(0, 4), Fixed(1, 4), Fixed(2, 4)}),
    Row(115, "getgroups", {Int("size"), Pointer("list")}).Inject().Out(ResultCapped(1, 0, 4)),
    Row(105, "setuid", {Int("uid")}).Execute(),
    Row(106, "setgid", {Int("gid")}).Execute(),
    Row(113, "setreuid", {Int("ruid"), Int("euid")}).Execute(),
    Row(114, "setregid", {Int("rgid"), Int("egid")}).Execute(),
    Row(117, "setresuid", {Int("ruid"), Int("euid"), Int("suid")}).Execute(),
    Row(119, "setresgid", {Int("rgid"), Int("egid"), Int("sgid")}).Execute(),
    Row(116, "setgroups", {Size(), Pointer("list")}).Execute(),
    Row(122, "setfsuid", {Int("uid")}).Execute(),
    Row(123, "setfsgid", {Int("gid")}).Execute(),
    Row(125, "capget", {Pointer("header"), Pointer("data")})
        .Inject()
        .Out({Fixed(0, 8, WHEN_ALWAYS), Fixed(1, 24)}),
    Row(126, "capset", {Pointer("header"), Pointer("data")})
        .Execute()
        .Out(Fixed(0, 8, WHEN_ALWAYS)),
    Row(157, "prctl",
        {As("option", ArgKind::kPrctlCommand), Hex("arg2"), Hex("arg3"), Hex("arg4"), Hex("arg5")})
        .Execute()
        .Out(ByCommand(OUT_PRCTL, 1, 0)),
    Row(135, "personality", {Hex("persona")}).Execute(),
    Row(317, "seccomp", {Unsigned("op"), Flags(), Pointer("args")})
        .Execute()
        .Out(Fixed(2, 6))
        .RefuseBits(1, 8)
        .Note("a listener (SECCOMP_FILTER_FLAG_NEW_LISTENER) is refused: another process decides"),
    Row(444, "landlock_create_ruleset", {Pointer("attr"), Size(), Flags()}).Execute(),
    Row(445, "landlock_add_rule", {Fd(), Int("type"), Pointer("attr"), Flags()}).Execute(),
    Row(446, "landlock_restrict_self", {Fd(), Flags()}).Execute(),
    Row(459, "lsm_get_self_attr", {Unsigned("attr"), Pointer("ctx"), Word32("size"), Flags()})
        .Inject()
        .Out({Pointee32(1, 2, kAnySize), Fixed(2, 4, WHEN_ALWAYS)}),
    Row(460, "lsm_set_self_attr", {Unsigned("attr"), Pointer("ctx"), Size(), Flags()}).Execute(),
    Row(461, "lsm_list_modules", {Pointer("ids"), Word32("size"), Flags()})
        .Inject()
        .Out({Pointee32(0, 1, kAnySize), Fixed(1, 4, WHEN_ALWAYS)}),

    // Limits and priorities.
    Row(97, "getrlimit", {Resource(), Rlimit("rlim")}).Inject().Out(Fixed(1, 16)),
    Row(160, "setrlimit", {Resource(), Rlimit("rlim")}).Execute(),
    Row(302, "prlimit64", {Pid(), Resource(), Rlimit("new"), Rlimit("old")})
        .Execute()
        .Out(Fixed(3, 16)),
    Row(98, "getrusage", {Int("who"), Rusage("usage")}).Inject().Out(Fixed(1, 144)),
    Row(140, "getpriority", {Int("which"), Int("who")}).Inject(),
    Row(141, "setpriority", {Int("which"), Int("who"), Int("prio")}).Execute(),
    Row(251, "ioprio_set", {Int("which"), Int("who"), Hex("ioprio")}).Execute(),
    Row(252, "ioprio_get", {Int("which"), Int("who")}).Inject(),

    // Scheduling.
    Row(24, "sched_yield").Inject().MayBlock().Note("the order is in the log"),
    Schedules(Row(142, "sched_setparam", {Pid(), Pointer("param")})),
    Schedules(Row(144, "sched_setscheduler", {Pid(), Int("policy"), Pointer("param")})),
    Schedules(Row(203, "sched_setaffinity", {Pid(), Size(), Cpus()})),
    // Tells the size that it knows, if it is given a larger one.
    Schedules(Row(314, "sched_setattr", {Pid(), Pointer("attr"), Flags()}))
        .Out(Fixed(1, 4, WHEN_ALWAYS)),
    Row(143, "sched_getparam", {Pid(), Pointer("param")}).Inject().Out(Fixed(1, 4)),
    Row(145, "sched_getscheduler", {Pid()}).Inject(),
    Row(146, "sched_get_priority_max", {Int("policy")}).Inject(),
    Row(147, "sched_get_priority_min", {Int("policy")}).Inject(),
    Row(148, "sched_rr_get_interval", {Pid(), Timespec("interval")}).Inject().Out(Fixed(1, 16)),
    Row(204, "sched_getaffinity", {Pid(), Size(), Cpus()}).Inject().Out(Result(2)),
    Row(315, "sched_getattr", {Pid(), Pointer("attr"), Size(), Flags()}).Inject().Out(ByArg(1, 2)),
    Row(309, "getcpu", {Word32("cpu"), Word32("node"), Pointer("unused")})
        .Inject()
        .Out({Fixed(0, 4), Fixed(1, 4)}),
    Row(312, "kcmp", {Pid("pid1"), Pid("pid2"), Int("type"), Hex("idx1"), Hex("idx2")}).Inject(),
    Row(101, "ptrace", {Int("request"), Pid(), Hex("addr"), Hex("data")})
        .Refuse("a debugger inside writes into other tasks and stops them"),
};

}  // namespace

std::span<const SyscallRow> ProcessRows() { return kRows; }

}  // namespace migrate::rows
