// Rows of the syscall table: paths, descriptors, metadata. See proto/syscall_row.h for the
// notation.

#include <fcntl.h>

#include "proto/syscall_row.h"

namespace migrate::rows {
namespace {

constexpr std::string_view kDurability =
    "the replica's files are synced once, before the commit point";
constexpr std::string_view kMetadata = "inode numbers, devices and times are those of the source";
constexpr std::string_view kListing =
    "order and inode numbers are the source's; the position is set at cutover";
constexpr std::string_view kHandle = "a file handle names an inode of this host";
constexpr std::string_view kMounts = "mounts are not part of a checkpoint's replay";

constexpr Argument OpenFlags() { return As("flags", ArgKind::kOpenFlags); }
constexpr Argument Stat() { return As("st", ArgKind::kStat); }
constexpr Argument Dirents() { return As("dirents", ArgKind::kDirents); }
constexpr Argument Access() { return As("mode", ArgKind::kAccessMode); }

constexpr SyscallRow kRows[] = {
    // Open and close. A FIFO may wait for its other end.
    Row(2, "open", {Path(), OpenFlags(), Mode()}).Execute().MayBlock(),
    Row(85, "creat", {Path(), Mode()}).Execute().MayBlock(),
    Row(257, "openat", {DirFd(), Path(), OpenFlags(), Mode()}).Execute().MayBlock(),
    Row(437, "openat2", {DirFd(), Path(), Buffer("how"), Size()})
        .Execute()
        .MayBlock()
        .Out(Output(OUT_BYTES_IN, 2, 3, 24, WHEN_ALWAYS)),
    Row(3, "close", {Fd()}).Execute(),
    Row(436, "close_range", {Unsigned("first"), Unsigned("last"), Flags()}).Execute(),
    Row(32, "dup", {Fd()}).Execute().File(0),
    Row(33, "dup2", {Fd("oldfd"), Fd("newfd")}).Execute().File(0),
    Row(292, "dup3", {Fd("oldfd"), Fd("newfd"), CreationFlags()}).Execute().File(0),
    Row(72, "fcntl", {Fd(), As("cmd", ArgKind::kFcntlCommand), Hex("arg")})
        .Execute()
        .File(0)
        .MayBlock()
        .Out(ByCommand(OUT_FCNTL, 2, 1)),
    Row(73, "flock", {Fd(), Int("operation")}).Execute().File(0).MayBlock(),
    Row(16, "ioctl", {Fd(), As("cmd", ArgKind::kIoctlCommand), Hex("arg")})
        .Rule(0, FileRule::kControl)
        .MayBlock()
        .Out(ByCommand(OUT_IOCTL, 2, 1)),

    // Descriptors of other kinds.
    Row(22, "pipe", {As("fds", ArgKind::kIntPair)}).Execute().Out(Fixed(0, 8)),
    Row(293, "pipe2", {As("fds", ArgKind::kIntPair), CreationFlags()}).Execute().Out(Fixed(0, 8)),
    Row(284, "eventfd", {Unsigned("initval")}).Execute(),
    Row(290, "eventfd2", {Unsigned("initval"), CreationFlags()}).Execute(),
    Row(282, "signalfd", {Fd(), Sigset("mask"), Size()}).Execute(),
    Row(289, "signalfd4", {Fd(), Sigset("mask"), Size(), CreationFlags()}).Execute(),
    Row(283, "timerfd_create", {Clock(), CreationFlags()}).Execute(),
    Row(253, "inotify_init").Execute(),
    Row(294, "inotify_init1", {CreationFlags()}).Execute(),
    Row(254, "inotify_add_watch", {Fd(), Path(), Hex("mask")}).Execute(),
    Row(255, "inotify_rm_watch", {Fd(), Int("wd")}).Execute(),
    Row(300, "fanotify_init", {Flags(), As("event_flags", ArgKind::kOpenFlags)})
        .Refuse("its events come from the whole file system, not from the container"),
    Row(301, "fanotify_mark", {Fd(), Flags(), Hex("mask"), DirFd(), Path()})
        .Refuse("see fanotify_init"),
    Row(319, "memfd_create", {Path("name"), Flags()}).Execute(),
    Row(447, "memfd_secret", {Flags()}).Refuse("its pages cannot be read for a checkpoint"),
    Row(323, "userfaultfd", {CreationFlags()})
        .Refuse("page faults would be inputs that no syscall shows"),

    // Position, size, durability.
    Row(8, "lseek", {Fd(), Long("offset"), As("whence", ArgKind::kWhence)})
        .Rule(0, FileRule::kPosition),
    Row(76, "truncate", {Path(), Long("length")}).Execute(),
    Row(77, "ftruncate", {Fd(), Long("length")}).Rule(0, FileRule::kWrite),
    Row(285, "fallocate", {Fd(), Hex("mode"), Long("offset"), Long("len")})
        .Rule(0, FileRule::kWrite),
    Row(74, "fsync", {Fd()}).Suppress().File(0).MayBlock().Note(kDurability),
    Row(75, "fdatasync", {Fd()}).Suppress().File(0).MayBlock().Note(kDurability),
    Row(162, "sync").Suppress().MayBlock().Note(kDurability),
    Row(306, "syncfs", {Fd()}).Suppress().MayBlock().Note(kDurability),
    Row(277, "sync_file_range", {Fd(), Long("offset"), Long("nbytes"), Flags()})
        .Suppress()
        .MayBlock()
        .Note(kDurability),
    Row(187, "readahead", {Fd(), Long("offset"), Size("count")}).Inject().MayBlock(),
    Row(221, "fadvise64", {Fd(), Long("offset"), Size("len"), Int("advice")}).Inject(),
    Row(451, "cachestat", {Fd(), Pointer("range"), Pointer("cstat"), Flags()})
        .Inject()
        .Out(Fixed(2, 40)),

    // Metadata that is read.
    Row(4, "stat", {Path(), Stat()}).Inject().Out(Fixed(1, 144)).Note(kMetadata),
    Row(5, "fstat", {Fd(), Stat()}).Rule(0, FileRule::kStatus).Out(Fixed(1, 144)).Note(kMetadata),
    Row(6, "lstat", {Path(), Stat()}).Inject().Out(Fixed(1, 144)).Note(kMetadata),
    Row(262, "newfstatat", {DirFd(), Path(), Stat(), AtFlags()})
        .Inject()
        .Out(Fixed(2, 144))
        .Note(kMetadata),
    Row(332, "statx", {DirFd(), Path(), AtFlags(), Hex("mask"), As("stx", ArgKind::kStatx)})
        .Inject()
        .Out(Fixed(4, 256))
        .Note(kMetadata),
    Row(137, "statfs", {Path(), Pointer("buf")}).Inject().Out(Fixed(1, 120)),
    Row(138, "fstatfs", {Fd(), Pointer("buf")}).Rule(0, FileRule::kStatus).Out(Fixed(1, 120)),
    Row(136, "ustat", {Unsigned("dev"), Pointer("buf")}).Inject().Out(Fixed(1, 32)),
    Row(21, "access", {Path(), Access()}).Inject(),
    Row(269, "faccessat", {DirFd(), Path(), Access()}).Inject(),
    Row(439, "faccessat2", {DirFd(), Path(), Access(), AtFlags()}).Inject(),
    Row(89, "readlink", {Path(), Buffer(), Size()}).Inject().Out(Result(1)),
    Row(267, "readlinkat", {DirFd(), Path(), Buffer(), Size()}).Inject().Out(Result(2)),
    Row(79, "getcwd", {Buffer(), Size()}).Inject().Out(Result(0)),
    Row(78, "getdents", {Fd(), Dirents(), Size("count")})
        .Rule(0, FileRule::kStatus)
        .Out(Result(1))
        .Note(kListing),
    Row(217, "getdents64", {Fd(), Dirents(), Size("count")})
        .Rule(0, FileRule::kStatus)
        .Out(Result(1))
        .Note(kListing),
    Row(191, "getxattr", {Path(), Path("name"), Buffer("value"), Size()})
        .Inject()
        .Out(ResultCapped(2, 3)),
    Row(192, "lgetxattr", {Path(), Path("name"), Buffer("value"), Size()})
        .Inject()
        .Out(ResultCapped(2, 3)),
    Row(193, "fgetxattr", {Fd(), Path("name"), Buffer("value"), Size()})
        .Inject()
        .Out(ResultCapped(2, 3)),
    Row(194, "listxattr", {Path(), Buffer("list"), Size()}).Inject().Out(ResultCapped(1, 2)),
    Row(195, "llistxattr", {Path(), Buffer("list"), Size()}).Inject().Out(ResultCapped(1, 2)),
    Row(196, "flistxattr", {Fd(), Buffer("list"), Size()}).Inject().Out(ResultCapped(1, 2)),
    Row(464, "getxattrat",
        {DirFd(), Path(), AtFlags(), Path("name"), Pointer("args"), Size("usize")})
        .Refuse("the value's address is inside a structure; nothing uses it yet"),
    Row(465, "listxattrat", {DirFd(), Path(), AtFlags(), Buffer("list"), Size()})
        .Inject()
        .Out(ResultCapped(3, 4)),
    Row(468, "file_getattr", {DirFd(), Path(), Pointer("attr"), Size("usize"), AtFlags()})
        .Inject()
        .Out(ByArg(2, 3)),
    Row(303, "name_to_handle_at",
        {DirFd(), Path(), Pointer("handle"), Word32("mount_id"), AtFlags()})
        .Inject()
        .Out({Fixed(2, 8 + MAX_HANDLE_SZ, WHEN_ALWAYS), Fixed(3, 8, WHEN_ALWAYS)})
        .Note("the handle and the id are those of the source; to open a handle is refused"),
    Row(304, "open_by_handle_at", {Fd("mount_fd"), Pointer("handle"), OpenFlags()}).Refuse(kHandle),

    // Metadata and names that are written.
    Row(80, "chdir", {Path()}).Execute(),
    Row(81, "fchdir", {Fd()}).Execute(),
    Row(161, "chroot", {Path()}).Execute(),
    Row(95, "umask", {Mode("mask")}).Execute().Returns(ArgKind::kOctal),
    Row(82, "rename", {Path("from"), Path("to")}).Execute(),
    Row(264, "renameat", {DirFd("fromdir"), Path("from"), DirFd("todir"), Path("to")}).Execute(),
    Row(316, "renameat2", {DirFd("fromdir"), Path("from"), DirFd("todir"), Path("to"), Flags()})
        .Execute(),
    Row(83, "mkdir", {Path(), Mode()}).Execute(),
    Row(258, "mkdirat", {DirFd(), Path(), Mode()}).Execute(),
    Row(84, "rmdir", {Path()}).Execute(),
    Row(86, "link", {Path("from"), Path("to")}).Execute(),
    Row(265, "linkat", {DirFd("fromdir"), Path("from"), DirFd("todir"), Path("to"), AtFlags()})
        .Execute(),
    Row(87, "unlink", {Path()}).Execute(),
    Row(263, "unlinkat", {DirFd(), Path(), AtFlags()}).Execute(),
    Row(88, "symlink", {Path("target"), Path("link")}).Execute(),
    Row(266, "symlinkat", {Path("target"), DirFd(), Path("link")}).Execute(),
    Row(133, "mknod", {Path(), Mode(), Hex("dev")}).Execute(),
    Row(259, "mknodat", {DirFd(), Path(), Mode(), Hex("dev")}).Execute(),
    Row(90, "chmod", {Path(), Mode()}).Execute(),
    Row(91, "fchmod", {Fd(), Mode()}).Execute(),
    Row(268, "fchmodat", {DirFd(), Path(), Mode()}).Execute(),
    Row(452, "fchmodat2", {DirFd(), Path(), Mode(), AtFlags()}).Execute(),
    Row(92, "chown", {Path(), Int("owner"), Int("group")}).Execute(),
    Row(93, "fchown", {Fd(), Int("owner"), Int("group")}).Execute(),
    Row(94, "lchown", {Path(), Int("owner"), Int("group")}).Execute(),
    Row(260, "fchownat", {DirFd(), Path(), Int("owner"), Int("group"), AtFlags()}).Execute(),
    Row(132, "utime", {Path(), Pointer("times")}).Execute(),
    Row(235, "utimes", {Path(), Pointer("times")}).Execute(),
    Row(261, "futimesat", {DirFd(), Path(), Pointer("times")}).Execute(),
    Row(280, "utimensat", {DirFd(), Path(), Pointer("times"), AtFlags()}).Execute(),
    Row(188, "setxattr", {Path(), Path("name"), Buffer("value"), Size(), Flags()}).Execute(),
    Row(189, "lsetxattr", {Path(), Path("name"), Buffer("value"), Size(), Flags()}).Execute(),
    Row(190, "fsetxattr", {Fd(), Path("name"), Buffer("value"), Size(), Flags()}).Execute(),
    Row(197, "removexattr", {Path(), Path("name")}).Execute(),
    Row(198, "lremovexattr", {Path(), Path("name")}).Execute(),
    Row(199, "fremovexattr", {Fd(), Path("name")}).Execute(),
    Row(463, "setxattrat",
        {DirFd(), Path(), AtFlags(), Path("name"), Pointer("args"), Size("usize")})
        .Execute(),
    Row(466, "removexattrat", {DirFd(), Path(), AtFlags(), Path("name")}).Execute(),
    Row(469, "file_setattr", {DirFd(), Path(), Pointer("attr"), Size("usize"), AtFlags()})
        .Execute(),

    // Mounts.
    Row(165, "mount", {Path("source"), Path("target"), Path("type"), Flags(), Pointer("data")})
        .Refuse(kMounts),
    Row(166, "umount2", {Path("target"), Flags()}).Refuse(kMounts),
    Row(155, "pivot_root", {Path("new_root"), Path("put_old")}).Refuse(kMounts),
    Row(428, "open_tree", {DirFd(), Path(), Flags()}).Refuse(kMounts),
    Row(467, "open_tree_attr", {DirFd(), Path(), Flags(), Pointer("attr"), Size()}).Refuse(kMounts),
    Row(429, "move_mount", {DirFd("fromdir"), Path("from"), DirFd("todir"), Path("to"), Flags()})
        .Refuse(kMounts),
    Row(430, "fsopen", {Path("fsname"), Flags()}).Refuse(kMounts),
    Row(431, "fsconfig", {Fd(), Int("cmd"), Path("key"), Pointer("value"), Int("aux")})
        .Refuse(kMounts),
    Row(432, "fsmount", {Fd(), Flags(), Hex("attr_flags")}).Refuse(kMounts),
    Row(433, "fspick", {DirFd(), Path(), Flags()}).Refuse(kMounts),
    Row(442, "mount_setattr", {DirFd(), Path(), Flags(), Pointer("attr"), Size()}).Refuse(kMounts),
    // How much it wrote is the first word of it: the rest of the buffer may never have been
    // touched.
    Row(457, "statmount", {Pointer("request"), Pointer("buf"), Size(), Flags()})
        .Inject()
        .Out({Fixed(1, 8), Pointee32(1, 1, kAnySize)}),
    Row(458, "listmount", {Pointer("request"), Pointer("ids"), Size("count"), Flags()})
        .Inject()
        .Out(Result(1, 8)),
    Row(470, "listns", {Pointer("request"), Pointer("ids"), Size("count"), Flags()})
        .Inject()
        .Out(Result(1, 8)),
};

}  // namespace

std::span<const SyscallRow> FileRows() { return kRows; }

}  // namespace migrate::rows
