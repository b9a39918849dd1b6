// Rows of the syscall table: time, facts about the system, what cannot be replayed and what Linux
// has given up. See proto/syscall_row.h for the notation.
#include <sys/sysinfo.h>
#include <sys/timex.h>
#include <sys/utsname.h>

#include "proto/syscall_row.h"

namespace migrate::rows {
namespace {

constexpr std::string_view kTimer =
    "not armed in the replica: at cutover it gets the time that remains";
constexpr std::string_view kHostClock = "the clock belongs to the host";
constexpr std::string_view kKeys = "keys are kept by the kernel of this host";
constexpr std::string_view kKernel = "changes the kernel of this host";
constexpr std::string_view kObserver = "what it sees happens outside the container's own execution";
constexpr std::string_view kQuota = "quotas belong to the host";
constexpr std::string_view kGone = "no longer exists";

constexpr Argument Interval(std::string_view name) { return As(name, ArgKind::kItimerval); }
constexpr Argument Timer(std::string_view name) { return As(name, ArgKind::kItimerspec); }

constexpr SyscallRow kRows[] = {
    // Clocks.
    Row(96, "gettimeofday", {Timeval("tv"), Pointer("tz")})
        .Inject()
        .Out({Fixed(0, 16), Fixed(1, 8)}),
    Row(201, "time", {Word64("tloc")}).Inject().Out(Fixed(0, 8)),
    Row(100, "times", {Pointer("buf")}).Inject().Out(Fixed(0, 32)),
    Row(228, "clock_gettime", {Clock(), Timespec("tp")}).Inject().Out(Fixed(1, 16)),
    Row(229, "clock_getres", {Clock(), Timespec("res")}).Inject().Out(Fixed(1, 16)),
    Row(159, "adjtimex", {Pointer("timex")})
        .Inject()
        .Out(Fixed(0, sizeof(timex), WHEN_ALWAYS))
        .Note(kHostClock),
    Row(305, "clock_adjtime", {Clock(), Pointer("timex")})
        .Inject()
        .Out(Fixed(1, sizeof(timex)))
        .Note(kHostClock),
    Row(164, "settimeofday", {Timeval("tv"), Pointer("tz")}).Refuse(kHostClock),
    Row(227, "clock_settime", {Clock(), Timespec("tp")}).Refuse(kHostClock),

    // Sleeping.
    Row(35, "nanosleep", {Timespec("req"), Timespec("rem")})
        .Inject()
        .MayBlock()
        .Out(Fixed(1, 16, WHEN_INTERRUPTED)),
    Row(230, "clock_nanosleep", {Clock(), Flags(), Timespec("req"), Timespec("rem")})
        .Inject()
        .MayBlock()
        .Out(Fixed(3, 16, WHEN_INTERRUPTED)),

    // Timers.
    Row(37, "alarm", {Unsigned("seconds")}).Suppress().Note(kTimer),
    Row(36, "getitimer", {Int("which"), Interval("value")}).Inject().Out(Fixed(1, 32)),
    Row(38, "setitimer", {Int("which"), Interval("new"), Interval("old")})
        .Suppress()
        .Out(Fixed(2, 32))
        .Note(kTimer),
    Row(222, "timer_create", {Clock(), Pointer("event"), Word32("id")})
        .Execute()
        .Out(Fixed(2, 4, WHEN_ALWAYS))
        .Note("with the logged id"),
    Row(223, "timer_settime", {Int("id"), Flags(), Timer("new"), Timer("old")})
        .Suppress()
        .Out(Fixed(3, 32))
        .Note(kTimer),
    Row(224, "timer_gettime", {Int("id"), Timer("value")}).Inject().Out(Fixed(1, 32)),
    Row(225, "timer_getoverrun", {Int("id")}).Inject(),
    Row(226, "timer_delete", {Int("id")}).Execute(),
    Row(286, "timerfd_settime", {Fd(), Flags(), Timer("new"), Timer("old")})
        .Suppress()
        .Out(Fixed(3, 32))
        .Note(kTimer),
    Row(287, "timerfd_gettime", {Fd(), Timer("value")}).Inject().Out(Fixed(1, 32)),

    // Facts.
    Row(318, "getrandom", {Buffer(), Size(), Flags()}).Inject().MayBlock().Out(Result(0)),
    Row(63, "uname", {Pointer("buf")}).Inject().Out(Fixed(0, sizeof(utsname))),
    Row(99, "sysinfo", {Pointer("info")}).Inject().Out(Fixed(0, sizeof(struct sysinfo))),
    Row(103, "syslog", {Int("type"), Buffer(), Size("len")})
        .Inject()
        .MayBlock()
        .Out(ResultCapped(1, 2)),
    Row(170, "sethostname", {Buffer("name"), Size("len")}).Execute(),
    Row(171, "setdomainname", {Buffer("name"), Size("len")}).Execute(),

    // What the rest of the host has to do with.
    Row(321, "bpf", {Int("cmd"), Pointer("attr"), Size()}).Refuse(kObserver),
    Row(298, "perf_event_open", {Pointer("attr"), Int("pid"), Int("cpu"), Fd("group_fd"), Flags()})
        .Refuse(kObserver)
        .Out(Fixed(0, 8, WHEN_ALWAYS)),
    Row(335, "uretprobe").Refuse(kObserver),
    Row(336, "uprobe").Refuse(kObserver),
    Row(212, "lookup_dcookie", {Hex("cookie"), Buffer(), Size("len")})
        .Refuse(kObserver)
        .Out(Result(1)),
    Row(248, "add_key",
        {Path("type"), Path("description"), Pointer("payload"), Size("plen"), Int("keyring")})
        .Refuse(kKeys),
    Row(249, "request_key",
        {Path("type"), Path("description"), Path("callout_info"), Int("keyring")})
        .Refuse(kKeys),
    Row(250, "keyctl", {Int("op"), Hex("arg2"), Hex("arg3"), Hex("arg4"), Hex("arg5")})
        .Refuse(kKeys),
    Row(179, "quotactl", {Hex("cmd"), Path("special"), Int("id"), Pointer("addr")}).Refuse(kQuota),
    Row(443, "quotactl_fd", {Fd(), Hex("cmd"), Int("id"), Pointer("addr")}).Refuse(kQuota),
    Row(153, "vhangup").Refuse("the terminal belongs to the host"),
    Row(163, "acct", {Path()}).Refuse(kKernel),
    Row(167, "swapon", {Path(), Flags()}).Refuse(kKernel),
    Row(168, "swapoff", {Path()}).Refuse(kKernel),
    Row(169, "reboot", {Hex("magic"), Hex("magic2"), Hex("cmd"), Pointer("arg")}).Refuse(kKernel),
    Row(172, "iopl", {Int("level")}).Refuse("input and output ports belong to the host"),
    Row(173, "ioperm", {Hex("from"), Size("num"), Int("turn_on")})
        .Refuse("input and output ports belong to the host"),
    Row(175, "init_module", {Pointer("image"), Size("len"), Path("params")}).Refuse(kKernel),
    Row(313, "finit_module", {Fd(), Path("params"), Flags()}).Refuse(kKernel),
    Row(176, "delete_module", {Path("name"), Flags()}).Refuse(kKernel),
    Row(246, "kexec_load", {Hex("entry"), Unsigned("nr_segments"), Pointer("segments"), Flags()})
        .Refuse(kKernel),
    Row(320, "kexec_file_load",
        {Fd("kernel_fd"), Fd("initrd_fd"), Size("cmdline_len"), Path("cmdline"), Flags()})
        .Refuse(kKernel),
    Row(139, "sysfs", {Int("option"), Hex("arg1"), Hex("arg2")})
        .Refuse("obsolete; what it writes depends on the option"),

    // Numbers that today's kernels answer with ENOSYS.
    Row(134, "uselib", {Path()}).Refuse(kGone),
    Row(156, "_sysctl", {Pointer("args")}).Refuse(kGone),
    Row(174, "create_module").Refuse(kGone),
    Row(177, "get_kernel_syms").Refuse(kGone),
    Row(178, "query_module").Refuse(kGone),
    Row(180, "nfsservctl").Refuse(kGone),
    Row(181, "getpmsg").Refuse(kGone),
    Row(182, "putpmsg").Refuse(kGone),
    Row(183, "afs_syscall").Refuse(kGone),
    Row(184, "tuxcall").Refuse(kGone),
    Row(185, "security").Refuse(kGone),
    Row(214, "epoll_ctl_old").Refuse(kGone),
    Row(215, "epoll_wait_old").Refuse(kGone),
    Row(236, "vserver").Refuse(kGone),
};

}  // namespace

std::span<const SyscallRow> SystemRows() { return kRows; }

}  // namespace migrate::rows
