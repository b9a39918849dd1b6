// Rows of the syscall table: mappings, System V objects, message queues. See proto/syscall_row.h
// for the notation.
#include <mqueue.h>

#include "proto/syscall_row.h"

namespace migrate::rows {
namespace {

constexpr std::string_view kPlacement = "where pages lie has no meaning at the target";

constexpr Argument Address(std::string_view name = "addr") { return Pointer(name); }
constexpr Argument Protection() { return As("prot", ArgKind::kProtection); }
constexpr Argument Advice() { return As("advice", ArgKind::kAdvice); }

constexpr Builder Maps(Builder row) { return row.Execute().Code(Irregular::kMemory); }
constexpr Builder SystemV(Builder row) { return row.Execute().Code(Irregular::kSharedMemory); }

constexpr SyscallRow kRows[] = {
    // Mappings.
    Maps(Row(9, "mmap",
             {Address(), Size("length"), Protection(), As("flags", ArgKind::kMapFlags), Fd(),
              Hex("offset")}))
        .Rule(4, FileRule::kMap)
        .Returns(ArgKind::kPointer)
        .Note("at the logged address"),
    Maps(Row(11, "munmap", {Address(), Size("length")})),
    Maps(Row(25, "mremap",
             {Address(), Size("old_size"), Size("new_size"), Flags(), Address("new_addr")}))
        .Returns(ArgKind::kPointer)
        .Note("to the logged address"),
    Maps(Row(12, "brk", {Address()})).Returns(ArgKind::kPointer),
    Maps(Row(10, "mprotect", {Address(), Size("length"), Protection()})),
    Maps(Row(329, "pkey_mprotect", {Address(), Size("length"), Protection(), Int("pkey")})),
    Row(330, "pkey_alloc", {Flags(), Hex("access_rights")}).Execute(),
    Row(331, "pkey_free", {Int("pkey")}).Execute(),
    Maps(Row(28, "madvise", {Address(), Size("length"), Advice()}))
        .Note("MADV_FREE lets the kernel take pages at any time: the replica must not free them "
              "by itself"),
    Maps(Row(440, "process_madvise",
             {Fd("pidfd"), As("iov", ArgKind::kIovec), Size("vlen"), Advice(), Flags()})),
    Maps(Row(216, "remap_file_pages", {Address(), Size(), Protection(), Size("pgoff"), Flags()})),
    Maps(Row(462, "mseal", {Address(), Size("length"), Flags()})),
    Row(453, "map_shadow_stack", {Address(), Size(), Flags()})
        .Refuse("shadow stacks are not in a checkpoint"),
    Row(26, "msync", {Address(), Size("length"), Flags()})
        .Suppress()
        .MayBlock()
        .Note("the replica's files are synced once, before the commit point"),
    Row(149, "mlock", {Address(), Size("length")}).Execute(),
    Row(325, "mlock2", {Address(), Size("length"), Flags()}).Execute(),
    Row(150, "munlock", {Address(), Size("length")}).Execute(),
    Row(151, "mlockall", {Flags()}).Execute(),
    Row(152, "munlockall").Execute(),
    Row(27, "mincore", {Address(), Size("length"), Pointer("vec")})
        .Inject()
        .Out(Output(OUT_PAGES, 2, 1, 0, WHEN_ALWAYS)),
    Row(448, "process_mrelease", {Fd("pidfd"), Flags()}).Inject(),

    // Placement.
    Row(237, "mbind",
        {Address(), Size("length"), Int("mode"), Pointer("nodemask"), Unsigned("maxnode"), Flags()})
        .Inject()
        .Note(kPlacement),
    Row(238, "set_mempolicy", {Int("mode"), Pointer("nodemask"), Unsigned("maxnode")})
        .Inject()
        .Note(kPlacement),
    Row(239, "get_mempolicy",
        {Word32("mode"), Pointer("nodemask"), Unsigned("maxnode"), Address(), Flags()})
        .Inject()
        .Out({Fixed(0, 4), FdSet(1, 2)}),
    Row(450, "set_mempolicy_home_node", {Address(), Size("length"), Unsigned("home_node"), Flags()})
        .Inject()
        .Note(kPlacement),
    Row(256, "migrate_pages",
        {Int("pid"), Unsigned("maxnode"), Pointer("old_nodes"), Pointer("new_nodes")})
        .Inject()
        .Note(kPlacement),
    Row(279, "move_pages",
        {Int("pid"), Size("count"), Pointer("pages"), Pointer("nodes"), Pointer("status"), Flags()})
        .Inject()
        .Out(ByArg(4, 1, 4, WHEN_ALWAYS))
        .Note(kPlacement),

    // Memory of others.
    Row(310, "process_vm_readv",
        {Int("pid"), As("local", ArgKind::kIovec), Size("liovcnt"), Pointer("remote"),
         Size("riovcnt"), Flags()})
        .Inject()
        .Out(Iovec(1, 2)),
    Row(311, "process_vm_writev",
        {Int("pid"), As("local", ArgKind::kIovec), Size("liovcnt"), Pointer("remote"),
         Size("riovcnt"), Flags()})
        .Refuse("writes into a process that made no syscall"),

    // System V. The objects belong to the container; their ids are those of the source.
    SystemV(Row(29, "shmget", {Hex("key"), Size(), Flags()})),
    SystemV(Row(30, "shmat", {Int("shmid"), Address(), Flags()}))
        .Returns(ArgKind::kPointer)
        .Note("at the logged address"),
    SystemV(Row(67, "shmdt", {Address()})),
    SystemV(Row(31, "shmctl", {Int("shmid"), Int("cmd"), Pointer("buf")}))
        .Out(ByCommand(OUT_IPC, 2, 1, kShmctlTag)),
    Row(64, "semget", {Hex("key"), Int("nsems"), Flags()}).Execute(),
    Row(65, "semop", {Int("semid"), Pointer("sops"), Size("nsops")}).Execute().MayBlock(),
    Row(220, "semtimedop", {Int("semid"), Pointer("sops"), Size("nsops"), Timespec("timeout")})
        .Execute()
        .MayBlock(),
    Row(66, "semctl", {Int("semid"), Int("semnum"), Int("cmd"), Hex("arg")})
        .Execute()
        .Out(ByCommand(OUT_IPC, 3, 2, kSemctlTag))
        .Note("GETALL is not logged: the replica's semaphores have the same values"),
    Row(68, "msgget", {Hex("key"), Flags()}).Execute(),
    Row(69, "msgsnd", {Int("msqid"), Pointer("msg"), Size(), Flags()}).Execute().MayBlock(),
    Row(70, "msgrcv", {Int("msqid"), Pointer("msg"), Size(), Long("type"), Flags()})
        .Execute()
        .MayBlock()
        .Out(Output(OUT_RESULT_PLUS, 1, 0, 8, WHEN_SUCCESS)),
    Row(71, "msgctl", {Int("msqid"), Int("cmd"), Pointer("buf")})
        .Execute()
        .Out(ByCommand(OUT_IPC, 2, 1, kMsgctlTag)),

    // POSIX message queues.
    Row(240, "mq_open", {Path("name"), As("flags", ArgKind::kOpenFlags), Mode(), Pointer("attr")})
        .Execute(),
    Row(241, "mq_unlink", {Path("name")}).Execute(),
    Row(242, "mq_timedsend",
        {Fd("mqdes"), Buffer("msg"), Size(), Unsigned("priority"), Timespec("timeout")})
        .Execute()
        .File(0)
        .MayBlock()
        .Out(DataIn(1, 2)),
    Row(243, "mq_timedreceive",
        {Fd("mqdes"), Buffer("msg"), Size(), Word32("priority"), Timespec("timeout")})
        .Execute()
        .File(0)
        .MayBlock()
        .Out({Output(OUT_RESULT, 1, 0, 1, WHEN_POSITIVE), Fixed(3, 4)}),
    Row(244, "mq_notify", {Fd("mqdes"), Pointer("event")}).Execute(),
    Row(245, "mq_getsetattr", {Fd("mqdes"), Pointer("new"), Pointer("old")})
        .Execute()
        .Out(Fixed(2, sizeof(mq_attr))),
};

}  // namespace

std::span<const SyscallRow> MemoryRows() { return kRows; }

}  // namespace migrate::rows
