// Rows of the syscall table: bytes in and out, sockets, waiting for descriptors. See
// proto/syscall_row.h for the notation.
#include "proto/syscall_row.h"

namespace migrate::rows {
namespace {

constexpr std::string_view kAio =
    "completions are written into a ring in memory, without a syscall";
constexpr std::string_view kUnseen =
    "from a file that only the source has, bytes would pass without being seen";

constexpr Argument Iov() { return As("iov", ArgKind::kIovec); }
constexpr Argument Sockaddr() { return As("addr", ArgKind::kSockaddr); }
constexpr Argument MessageFlags() { return As("flags", ArgKind::kMessageFlags); }
constexpr Argument Messages() { return As("msgs", ArgKind::kMmsghdr); }
constexpr Argument Level() { return As("level", ArgKind::kSocketLevel); }
constexpr Argument Option() { return As("optname", ArgKind::kSocketOption); }
constexpr Argument Value() { return As("optval", ArgKind::kOptionValue); }
constexpr Argument FdSetOf(std::string_view name) { return As(name, ArgKind::kBits); }
constexpr Argument Message() { return As("msg", ArgKind::kMsghdr); }
constexpr Argument Family() { return As("family", ArgKind::kFamily); }
constexpr Argument Type() { return As("type", ArgKind::kSocketType); }
constexpr Argument PollFds() { return As("fds", ArgKind::kPollFds); }
constexpr Argument Events() { return As("events", ArgKind::kEpollEvents); }

constexpr Builder Reads(Builder row, int8_t fd = 0) {
  return row.Rule(fd, FileRule::kRead).MayBlock();
}
constexpr Builder Writes(Builder row) { return row.Rule(0, FileRule::kWrite).MayBlock(); }
constexpr Builder Splices(Builder row, int8_t in) {
  return row.Rule(in, FileRule::kSplice).MayBlock().Code(Irregular::kSplice).Note(kUnseen);
}
constexpr Builder OnSocket(Builder row) { return row.Rule(0, FileRule::kSocket); }
// Waits for events that others cause.
constexpr Builder Waits(Builder row) { return row.Inject().MayBlock(); }

constexpr SyscallRow kRows[] = {
    // Bytes in.
    Reads(Row(0, "read", {Fd(), Buffer(), Size("count")})).Out(Result(1)),
    Reads(Row(17, "pread64", {Fd(), Buffer(), Size("count"), Long("offset")})).Out(Result(1)),
    Reads(Row(19, "readv", {Fd(), Iov(), Size("iovcnt")})).Out(Iovec(1, 2)),
    Reads(Row(295, "preadv", {Fd(), Iov(), Size("iovcnt"), Long("pos_l"), Long("pos_h")}))
        .Out(Iovec(1, 2)),
    Reads(Row(327, "preadv2", {Fd(), Iov(), Size("iovcnt"), Long("pos_l"), Long("pos_h"), Flags()}))
        .Out(Iovec(1, 2)),
    Reads(Row(45, "recvfrom",
              {Fd(), Buffer(), Size(), MessageFlags(), Sockaddr(), Word32("addrlen")}))
        .Out({ResultCapped(1, 2), Pointee32(4, 5, 128), Fixed(5, 4)}),
    Reads(Row(47, "recvmsg", {Fd(), Message(), MessageFlags()}))
        .Code(Irregular::kPassing)
        .Out(Output(OUT_MSGHDR, 1, 0, 0, WHEN_SUCCESS)),
    Reads(
        Row(299, "recvmmsg", {Fd(), Messages(), Size("vlen"), MessageFlags(), Timespec("timeout")}))
        .Code(Irregular::kPassing)
        .Out({Output(OUT_MMSGHDR, 1, 2, 0, WHEN_POSITIVE), Fixed(4, 16)}),
    Reads(Row(278, "vmsplice", {Fd(), Iov(), Size("nr_segs"), Flags()})).Out(Iovec(1, 2)),

    // Bytes out.
    Writes(Row(1, "write", {Fd(), Buffer(), Size("count")})).Out(DataIn(1, 2)),
    Writes(Row(18, "pwrite64", {Fd(), Buffer(), Size("count"), Long("offset")})).Out(DataIn(1, 2)),
    Writes(Row(20, "writev", {Fd(), Iov(), Size("iovcnt")})),
    Writes(Row(296, "pwritev", {Fd(), Iov(), Size("iovcnt"), Long("pos_l"), Long("pos_h")})),
    Writes(
        Row(328, "pwritev2", {Fd(), Iov(), Size("iovcnt"), Long("pos_l"), Long("pos_h"), Flags()})),
    Writes(Row(44, "sendto", {Fd(), Buffer(), Size(), MessageFlags(), Sockaddr(), Size("addrlen")}))
        .Out({DataIn(1, 2), AddressIn(4, 5)}),
    Writes(Row(46, "sendmsg", {Fd(), Message(), MessageFlags()})).Code(Irregular::kPassing),
    Writes(Row(307, "sendmmsg", {Fd(), Messages(), Size("vlen"), MessageFlags()}))
        .Code(Irregular::kPassing)
        .Out(Result(1, 64)),

    // From one file to another.
    Splices(Row(40, "sendfile", {Fd("out_fd"), Fd("in_fd"), Word64("offset"), Size("count")}), 1)
        .Out(Fixed(2, 8)),
    Splices(
        Row(275, "splice",
            {Fd("fd_in"), Word64("off_in"), Fd("fd_out"), Word64("off_out"), Size("len"), Flags()}),
        0)
        .Out({Fixed(1, 8), Fixed(3, 8)}),
    Splices(Row(276, "tee", {Fd("fd_in"), Fd("fd_out"), Size("len"), Flags()}), 0),
    Splices(
        Row(326, "copy_file_range",
            {Fd("fd_in"), Word64("off_in"), Fd("fd_out"), Word64("off_out"), Size("len"), Flags()}),
        0)
        .Out({Fixed(1, 8), Fixed(3, 8)}),

    // Sockets.
    Row(41, "socket", {Family(), Type(), Int("protocol")})
        .Placeholder()
        .Note("made as it is; what it is connected to is put in at cutover"),
    Row(53, "socketpair", {Family(), Type(), Int("protocol"), As("fds", ArgKind::kIntPair)})
        .Execute()
        .Out(Fixed(3, 8, WHEN_ALWAYS))
        .Note("the numbers are written before the sockets are made, also if that fails"),
    OnSocket(Row(49, "bind", {Fd(), Sockaddr(), Size("addrlen")})).Out(AddressIn(1, 2)),
    OnSocket(Row(50, "listen", {Fd(), Int("backlog")})),
    OnSocket(Row(42, "connect", {Fd(), Sockaddr(), Size("addrlen")}))
        .MayBlock()
        .Out(AddressIn(1, 2)),
    OnSocket(Row(43, "accept", {Fd(), Sockaddr(), Word32("addrlen")}))
        .MayBlock()
        .Out({Pointee32(1, 2, 128), Fixed(2, 4)}),
    OnSocket(Row(288, "accept4", {Fd(), Sockaddr(), Word32("addrlen"), Type()}))
        .MayBlock()
        .Out({Pointee32(1, 2, 128), Fixed(2, 4)}),
    OnSocket(Row(48, "shutdown", {Fd(), Int("how")})),
    Row(51, "getsockname", {Fd(), Sockaddr(), Word32("addrlen")})
        .Rule(0, FileRule::kStatus)
        .Out({Pointee32(1, 2, 128), Fixed(2, 4)}),
    Row(52, "getpeername", {Fd(), Sockaddr(), Word32("addrlen")})
        .Rule(0, FileRule::kStatus)
        .Out({Pointee32(1, 2, 128), Fixed(2, 4)}),
    Row(54, "setsockopt", {Fd(), Level(), Option(), Value(), Size("optlen")})
        .Execute()
        .File(0)
        .Out({ByCommand(OUT_SOCKOPT, 3, 2, kSetsockoptTag),
              Output(OUT_BYTES_IN, 3, 4, 64, WHEN_ALWAYS)}),
    Row(55, "getsockopt", {Fd(), Level(), Option(), Value(), Word32("optlen")})
        .Rule(0, FileRule::kStatus)
        .Out({ByCommand(OUT_SOCKOPT, 3, 2), Pointee32(3, 4, kAnySize), Fixed(4, 4, WHEN_ALWAYS)}),

    // Waiting. poll and select tell the events also when they were interrupted.
    Waits(Row(7, "poll", {PollFds(), Size("nfds"), Int("timeout")}))
        .Out(ByArg(0, 1, 8, WHEN_ALWAYS)),
    Waits(Row(271, "ppoll",
              {PollFds(), Size("nfds"), Timespec("timeout"), Sigset("mask"), Size("masksize")}))
        .Out({ByArg(0, 1, 8, WHEN_ALWAYS), Fixed(2, 16, WHEN_ALWAYS)}),
    Waits(Row(23, "select",
              {Int("nfds"), FdSetOf("readfds"), FdSetOf("writefds"), FdSetOf("exceptfds"),
               Timeval("timeout")}))
        .Out({FdSet(1, 0), FdSet(2, 0), FdSet(3, 0), Fixed(4, 16, WHEN_ALWAYS)}),
    Waits(Row(270, "pselect6",
              {Int("nfds"), FdSetOf("readfds"), FdSetOf("writefds"), FdSetOf("exceptfds"),
               Timespec("timeout"), Pointer("mask")}))
        .Out({FdSet(1, 0), FdSet(2, 0), FdSet(3, 0), Fixed(4, 16, WHEN_ALWAYS)}),
    Row(213, "epoll_create", {Int("size")}).Execute(),
    Row(291, "epoll_create1", {CreationFlags()}).Execute(),
    Row(233, "epoll_ctl", {Fd("epfd"), As("op", ArgKind::kEpollOperation), Fd(), Pointer("event")})
        .Execute(),
    Waits(Row(232, "epoll_wait", {Fd("epfd"), Events(), Size("maxevents"), Int("timeout")}))
        .Out(Result(1, 12)),
    Waits(Row(281, "epoll_pwait",
              {Fd("epfd"), Events(), Size("maxevents"), Int("timeout"), Sigset("mask"),
               Size("masksize")}))
        .Out(Result(1, 12)),
    Waits(Row(441, "epoll_pwait2",
              {Fd("epfd"), Events(), Size("maxevents"), Timespec("timeout"), Sigset("mask"),
               Size("masksize")}))
        .Out(Result(1, 12)),

    // Asynchronous input and output.
    Row(206, "io_setup", {Unsigned("nr_events"), Word64("context")}).Refuse(kAio).Out(Fixed(1, 8)),
    Row(207, "io_destroy", {Hex("context")}).Refuse(kAio),
    Row(208, "io_getevents",
        {Hex("context"), Int("min_nr"), Int("nr"), Pointer("events"), Timespec("timeout")})
        .Refuse(kAio)
        .MayBlock()
        .Out(Result(3, 32)),
    Row(333, "io_pgetevents",
        {Hex("context"), Int("min_nr"), Int("nr"), Pointer("events"), Timespec("timeout"),
         Pointer("mask")})
        .Refuse(kAio)
        .MayBlock()
        .Out(Result(3, 32)),
    Row(209, "io_submit", {Hex("context"), Int("nr"), Pointer("iocbs")}).Refuse(kAio).MayBlock(),
    Row(210, "io_cancel", {Hex("context"), Pointer("iocb"), Pointer("result")})
        .Refuse(kAio)
        .Out(Fixed(2, 32)),
    Row(425, "io_uring_setup", {Unsigned("entries"), Pointer("params")})
        .Refuse(kAio)
        .Out(Fixed(1, 120)),
    Row(426, "io_uring_enter",
        {Fd(), Unsigned("to_submit"), Unsigned("min_complete"), Flags(), Pointer("arg"), Size()})
        .Refuse(kAio)
        .MayBlock(),
    Row(427, "io_uring_register", {Fd(), Unsigned("opcode"), Pointer("arg"), Unsigned("nr_args")})
        .Refuse(kAio),
};

}  // namespace

std::span<const SyscallRow> IoRows() { return kRows; }

}  // namespace migrate::rows
