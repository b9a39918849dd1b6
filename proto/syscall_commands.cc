// What is behind the last argument of ioctl, fcntl, prctl, arch_prctl and the System V calls, by
// command. An ioctl that is not listed has the size that its number encodes: listed are those whose
// numbers encode nothing, or lie, or that write through a pointer inside their structure (refused).
#include <asm/ioctls.h>
#include <linux/btrfs.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/fscrypt.h>
#include <linux/fsverity.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/nsfs.h>
#include <linux/serial.h>
#include <linux/sockios.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include <algorithm>
#include <vector>

#include "proto/syscall_row.h"

namespace migrate {
namespace {

constexpr auto kInject = Policy::kInject;
constexpr auto kSuppress = Policy::kSuppress;
constexpr auto kRefuse = Policy::kRefuse;
constexpr uint32_t kTermios = 36;  // the kernel's, smaller than glibc's
constexpr uint32_t kOldTermio = 18;

constexpr CommandSize Ioctl(uint64_t command, uint32_t size, std::string_view name,
                            Policy policy = Policy::kExecute) {
  return {{OUT_IOCTL, static_cast<uint32_t>(command)}, size, name, policy};
}
constexpr CommandSize Fcntl(uint32_t command, uint32_t size, std::string_view name,
                            Policy policy = Policy::kExecute) {
  return {{OUT_FCNTL, command}, size, name, policy};
}
constexpr CommandSize Prctl(uint32_t command, uint32_t size, std::string_view name,
                            Policy policy = Policy::kExecute) {
  return {{OUT_PRCTL, command}, size, name, policy};
}
constexpr CommandSize Sem(uint32_t command, uint32_t size, std::string_view name) {
  return {{OUT_IPC, command | rows::kSemctlTag}, size, name, Policy::kExecute};
}
constexpr CommandSize Shm(uint32_t command, uint32_t size, std::string_view name) {
  return {{OUT_IPC, command | rows::kShmctlTag}, size, name, Policy::kExecute};
}
constexpr CommandSize Msg(uint32_t command, uint32_t size, std::string_view name) {
  return {{OUT_IPC, command | rows::kMsgctlTag}, size, name, Policy::kExecute};
}
// A fact that costs the replica nothing to be told.
constexpr CommandSize Told(CommandSize command) {
  command.policy = kInject;
  return command;
}
constexpr CommandSize Refused(CommandSize command) {
  command.size = COMMAND_REFUSE;
  command.policy = kRefuse;
  return command;
}

constexpr CommandSize kTerminal[] = {
    Ioctl(TCGETS, kTermios, "TCGETS"),
    Ioctl(TCSETS, 0, "TCSETS"),
    Ioctl(TCSETSW, 0, "TCSETSW"),
    Ioctl(TCSETSF, 0, "TCSETSF"),
    Ioctl(TCGETA, kOldTermio, "TCGETA"),
    Ioctl(TCSETA, 0, "TCSETA"),
    Ioctl(TCSBRK, 0, "TCSBRK", kSuppress),
    Ioctl(TCSBRKP, 0, "TCSBRKP", kSuppress),
    Ioctl(TCXONC, 0, "TCXONC", kSuppress),
    Ioctl(TCFLSH, 0, "TCFLSH"),
    Ioctl(TIOCEXCL, 0, "TIOCEXCL"),
    Ioctl(TIOCNXCL, 0, "TIOCNXCL"),
    Ioctl(TIOCSCTTY, 0, "TIOCSCTTY"),
    Ioctl(TIOCNOTTY, 0, "TIOCNOTTY"),
    Told(Ioctl(TIOCGPGRP, 4, "TIOCGPGRP")),
    Ioctl(TIOCSPGRP, 0, "TIOCSPGRP"),
    Told(Ioctl(TIOCGSID, 4, "TIOCGSID")),
    Told(Ioctl(TIOCOUTQ, 4, "TIOCOUTQ")),
    Ioctl(TIOCSTI, 0, "TIOCSTI", kSuppress),
    Told(Ioctl(TIOCGWINSZ, 8, "TIOCGWINSZ")),
    Ioctl(TIOCSWINSZ, 0, "TIOCSWINSZ"),
    Told(Ioctl(TIOCMGET, 4, "TIOCMGET")),
    Told(Ioctl(TIOCGSOFTCAR, 4, "TIOCGSOFTCAR")),
    Refused(Ioctl(TIOCLINUX, 0, "TIOCLINUX")),
    Refused(Ioctl(TIOCCONS, 0, "TIOCCONS")),
    Told(Ioctl(TIOCGSERIAL, sizeof(serial_struct), "TIOCGSERIAL")),
    Ioctl(TIOCPKT, 0, "TIOCPKT"),
    Told(Ioctl(TIOCGETD, 4, "TIOCGETD")),
    Ioctl(TIOCSETD, 0, "TIOCSETD"),
    Told(Ioctl(TIOCGRS485, sizeof(serial_rs485), "TIOCGRS485")),
    Ioctl(TIOCSRS485, sizeof(serial_rs485), "TIOCSRS485"),  // answers with what it made of it
    Told(Ioctl(TIOCSERGETLSR, 4, "TIOCSERGETLSR")),
    Told(Ioctl(TIOCSERGWILD, 4, "TIOCSERGWILD")),
    Told(Ioctl(TCGETX, 16, "TCGETX")),
    Ioctl(TIOCMIWAIT, 0, "TIOCMIWAIT", kInject),
    Ioctl(TIOCGPTN, 4, "TIOCGPTN"),
    Ioctl(TIOCSPTLCK, 0, "TIOCSPTLCK"),
    Ioctl(TIOCGPTPEER, 0, "TIOCGPTPEER"),
    Told(Ioctl(TIOCGLCKTRMIOS, kTermios, "TIOCGLCKTRMIOS")),
    Told(Ioctl(TIOCGICOUNT, sizeof(serial_icounter_struct), "TIOCGICOUNT")),
};

constexpr CommandSize kAnyFile[] = {
    Told(Ioctl(FIONREAD, 4, "FIONREAD")),
    Ioctl(FIONBIO, 0, "FIONBIO"),
    Ioctl(FIOASYNC, 0, "FIOASYNC"),
    Ioctl(FIOCLEX, 0, "FIOCLEX"),
    Ioctl(FIONCLEX, 0, "FIONCLEX"),
    Told(Ioctl(FIOQSIZE, 8, "FIOQSIZE")),
    Told(Ioctl(FIBMAP, 4, "FIBMAP")),
    Told(Ioctl(FIGETBSZ, 4, "FIGETBSZ")),
    Told(Ioctl(FS_IOC_GETFLAGS, 4, "FS_IOC_GETFLAGS")),
    Told(Ioctl(FS_IOC_GETVERSION, 4, "FS_IOC_GETVERSION")),
    Ioctl(FS_IOC_SETFLAGS, 0, "FS_IOC_SETFLAGS"),
    Ioctl(FICLONE, 0, "FICLONE"),
    Ioctl(FICLONERANGE, 0, "FICLONERANGE"),
    // Numbers that say "written by the process", or that are shorter than what they stand for.
    Told(Ioctl(FS_IOC_GET_ENCRYPTION_PWSALT, 16, "FS_IOC_GET_ENCRYPTION_PWSALT")),
    Told(Ioctl(FS_IOC_GET_ENCRYPTION_POLICY, sizeof(fscrypt_policy_v1),
               "FS_IOC_GET_ENCRYPTION_POLICY")),
    Told(Ioctl(FS_IOC_GET_ENCRYPTION_POLICY_EX, sizeof(fscrypt_get_policy_ex_arg),
               "FS_IOC_GET_ENCRYPTION_POLICY_EX")),
    Told(Ioctl(_IOW('f', 41, __u32), 4, "EXT4_IOC_GETSTATE")),
    Told(Ioctl(_IOR('f', 44, __u64), 24, "EXT4_IOC_GETFSUUID")),
    // The argument is not looked at, and often no address.
    Refused(Ioctl(FIFREEZE, 0, "FIFREEZE")),
    Refused(Ioctl(FITHAW, 0, "FITHAW")),
    // Answers through pointers, or of any length.
    Refused(Ioctl(_IOWR('f', 16, char[96]), 0, "PAGEMAP_SCAN")),
    Refused(Ioctl(_IOWR('f', 17, char[104]), 0, "PROCMAP_QUERY")),
    Refused(Ioctl(_IOWR('f', 42, char[32]), 0, "EXT4_IOC_GET_ES_CACHE")),
    Refused(Ioctl(BTRFS_IOC_TREE_SEARCH_V2, 0, "BTRFS_IOC_TREE_SEARCH_V2")),
    Refused(Ioctl(BTRFS_IOC_SPACE_INFO, 0, "BTRFS_IOC_SPACE_INFO")),
    Refused(Ioctl(BTRFS_IOC_INO_PATHS, 0, "BTRFS_IOC_INO_PATHS")),
    Refused(Ioctl(BTRFS_IOC_LOGICAL_INO, 0, "BTRFS_IOC_LOGICAL_INO")),
    Refused(Ioctl(BTRFS_IOC_LOGICAL_INO_V2, 0, "BTRFS_IOC_LOGICAL_INO_V2")),
    Refused(Ioctl(BTRFS_IOC_ENCODED_READ, 0, "BTRFS_IOC_ENCODED_READ")),
    Refused(Ioctl(_IOWR('X', 38, char[32]), 0, "XFS_IOC_GETBMAP")),
    Refused(Ioctl(_IOWR('X', 44, char[32]), 0, "XFS_IOC_GETBMAPA")),
    Refused(Ioctl(_IOWR('X', 56, char[48]), 0, "XFS_IOC_GETBMAPX")),
    Refused(Ioctl(_IOWR('X', 101, char[32]), 0, "XFS_IOC_FSBULKSTAT")),
    Refused(Ioctl(_IOWR('X', 102, char[32]), 0, "XFS_IOC_FSBULKSTAT_SINGLE")),
    Refused(Ioctl(_IOWR('X', 103, char[32]), 0, "XFS_IOC_FSINUMBERS")),
    Refused(Ioctl(_IOR('X', 127, char[64]), 0, "XFS_IOC_BULKSTAT")),
    Refused(Ioctl(_IOR('X', 128, char[64]), 0, "XFS_IOC_INUMBERS")),
    Refused(Ioctl(FIDEDUPERANGE, 0, "FIDEDUPERANGE")),
    Refused(Ioctl(FS_IOC_FIEMAP, 0, "FS_IOC_FIEMAP")),
    Refused(Ioctl(FS_IOC_MEASURE_VERITY, 0, "FS_IOC_MEASURE_VERITY")),
    Refused(Ioctl(FS_IOC_READ_VERITY_METADATA, 0, "FS_IOC_READ_VERITY_METADATA")),
    Refused(Ioctl(_IOWR('X', 59, char[192]), 0, "FS_IOC_GETFSMAP")),
    // Numbers of processes, which are arguments and not addresses; the answer is the result.
    Ioctl(NS_GET_OWNER_UID, 4, "NS_GET_OWNER_UID", kInject),
    Told(Ioctl(_IOR(NSIO, 0x6, int), 0, "NS_GET_PID_FROM_PIDNS")),
    Told(Ioctl(_IOR(NSIO, 0x7, int), 0, "NS_GET_TGID_FROM_PIDNS")),
    Told(Ioctl(_IOR(NSIO, 0x8, int), 0, "NS_GET_PID_IN_PIDNS")),
    Told(Ioctl(_IOR(NSIO, 0x9, int), 0, "NS_GET_TGID_IN_PIDNS")),
};

constexpr CommandSize kNetwork[] = {
    Told(Ioctl(FIOGETOWN, 4, "FIOGETOWN")),
    Told(Ioctl(SIOCGPGRP, 4, "SIOCGPGRP")),
    Told(Ioctl(SIOCATMARK, 4, "SIOCATMARK")),
    Told(Ioctl(0x8906, 16, "SIOCGSTAMP_OLD")),
    Told(Ioctl(0x8907, 16, "SIOCGSTAMPNS_OLD")),
    Told(Ioctl(SIOCOUTQNSD, 4, "SIOCOUTQNSD")),
    Ioctl(SIOCGSKNS, 0, "SIOCGSKNS"),
    Told(Ioctl(SIOCGIFCONF, COMMAND_IFCONF, "SIOCGIFCONF")),
    Told(Ioctl(SIOCGIFNAME, sizeof(ifreq), "SIOCGIFNAME")),
    Told(Ioctl(SIOCGIFFLAGS, sizeof(ifreq), "SIOCGIFFLAGS")),
    Told(Ioctl(SIOCGIFADDR, sizeof(ifreq), "SIOCGIFADDR")),
    Told(Ioctl(SIOCGIFDSTADDR, sizeof(ifreq), "SIOCGIFDSTADDR")),
    Told(Ioctl(SIOCGIFBRDADDR, sizeof(ifreq), "SIOCGIFBRDADDR")),
    Told(Ioctl(SIOCGIFNETMASK, sizeof(ifreq), "SIOCGIFNETMASK")),
    Told(Ioctl(SIOCGIFMETRIC, sizeof(ifreq), "SIOCGIFMETRIC")),
    Told(Ioctl(SIOCGIFMEM, sizeof(ifreq), "SIOCGIFMEM")),
    Told(Ioctl(SIOCGIFMTU, sizeof(ifreq), "SIOCGIFMTU")),
    Told(Ioctl(SIOCGIFENCAP, sizeof(ifreq), "SIOCGIFENCAP")),
    Told(Ioctl(SIOCGIFHWADDR, sizeof(ifreq), "SIOCGIFHWADDR")),
    Told(Ioctl(SIOCGIFSLAVE, sizeof(ifreq), "SIOCGIFSLAVE")),
    Told(Ioctl(SIOCGIFINDEX, sizeof(ifreq), "SIOCGIFINDEX")),
    Told(Ioctl(SIOCGIFPFLAGS, sizeof(ifreq), "SIOCGIFPFLAGS")),
    Told(Ioctl(SIOCGIFCOUNT, sizeof(ifreq), "SIOCGIFCOUNT")),
    Told(Ioctl(SIOCGIFTXQLEN, sizeof(ifreq), "SIOCGIFTXQLEN")),
    Told(Ioctl(SIOCGIFMAP, sizeof(ifreq), "SIOCGIFMAP")),
    Told(Ioctl(SIOCGMIIPHY, sizeof(ifreq), "SIOCGMIIPHY")),
    Told(Ioctl(SIOCGMIIREG, sizeof(ifreq), "SIOCGMIIREG")),
    Told(Ioctl(SIOCGARP, sizeof(arpreq), "SIOCGARP")),
    Told(Ioctl(SIOCGRARP, sizeof(arpreq), "SIOCGRARP")),
    Refused(Ioctl(SIOCETHTOOL, 0, "SIOCETHTOOL")),
    Refused(Ioctl(SIOCGIFBR, 0, "SIOCGIFBR")),
    Refused(Ioctl(SIOCGIFVLAN, 0, "SIOCGIFVLAN")),
    Refused(Ioctl(SIOCBONDSLAVEINFOQUERY, 0, "SIOCBONDSLAVEINFOQUERY")),
    Refused(Ioctl(SIOCBONDINFOQUERY, 0, "SIOCBONDINFOQUERY")),
    Refused(Ioctl(SIOCGHWTSTAMP, 0, "SIOCGHWTSTAMP")),
    Refused(Ioctl(SIOCSHWTSTAMP, 0, "SIOCSHWTSTAMP")),
};

// From the headers of newer kernels and of <fcntl.h>, which does not mix with those above.
constexpr CommandSize kFcntl[] = {
    Fcntl(0, 0, "F_DUPFD"),
    Told(Fcntl(1, 0, "F_GETFD")),
    Fcntl(2, 0, "F_SETFD"),
    Told(Fcntl(3, 0, "F_GETFL")),
    Fcntl(4, 0, "F_SETFL"),
    Told(Fcntl(5, 32, "F_GETLK")),
    Fcntl(6, 0, "F_SETLK"),
    Fcntl(7, 0, "F_SETLKW"),
    Fcntl(8, 0, "F_SETOWN"),
    Told(Fcntl(9, 0, "F_GETOWN")),
    Fcntl(10, 0, "F_SETSIG"),
    Told(Fcntl(11, 0, "F_GETSIG")),
    Fcntl(15, 0, "F_SETOWN_EX"),
    Told(Fcntl(16, 8, "F_GETOWN_EX")),
    Told(Fcntl(17, 8, "F_GETOWNER_UIDS")),
    Told(Fcntl(36, 32, "F_OFD_GETLK")),
    Fcntl(37, 0, "F_OFD_SETLK"),
    Fcntl(38, 0, "F_OFD_SETLKW"),
    Fcntl(1024, 0, "F_SETLEASE"),
    Told(Fcntl(1025, 0, "F_GETLEASE")),
    Fcntl(1026, 0, "F_NOTIFY"),
    Told(Fcntl(1027, 0, "F_DUPFD_QUERY")),
    Told(Fcntl(1028, 0, "F_CREATED_QUERY")),
    Fcntl(1030, 0, "F_DUPFD_CLOEXEC"),
    Fcntl(1031, 0, "F_SETPIPE_SZ"),
    Told(Fcntl(1032, 0, "F_GETPIPE_SZ")),
    Fcntl(1033, 0, "F_ADD_SEALS"),
    Told(Fcntl(1034, 0, "F_GET_SEALS")),
    Told(Fcntl(1035, 8, "F_GET_RW_HINT")),
    Fcntl(1036, 0, "F_SET_RW_HINT"),
    Told(Fcntl(1037, 8, "F_GET_FILE_RW_HINT")),
    Fcntl(1038, 0, "F_SET_FILE_RW_HINT"),
    Told(Fcntl(1039, 8, "F_GETDELEG")),
    Fcntl(1040, 0, "F_SETDELEG"),
};

constexpr CommandSize kPrctl[] = {
    Prctl(1, 0, "PR_SET_PDEATHSIG"),
    Told(Prctl(2, 4, "PR_GET_PDEATHSIG")),
    Told(Prctl(3, 0, "PR_GET_DUMPABLE")),
    Prctl(4, 0, "PR_SET_DUMPABLE"),
    Told(Prctl(5, 4, "PR_GET_UNALIGN")),
    Prctl(8, 0, "PR_SET_KEEPCAPS"),
    Told(Prctl(9, 4, "PR_GET_FPEMU")),
    Told(Prctl(11, 4, "PR_GET_FPEXC")),
    Prctl(15, 0, "PR_SET_NAME"),
    Told(Prctl(16, 16, "PR_GET_NAME")),
    Told(Prctl(19, 4, "PR_GET_ENDIAN")),
    Told(Prctl(21, 0, "PR_GET_SECCOMP")),
    Prctl(22, 0, "PR_SET_SECCOMP"),
    Told(Prctl(23, 0, "PR_CAPBSET_READ")),
    Prctl(24, 0, "PR_CAPBSET_DROP"),
    Told(Prctl(25, 4, "PR_GET_TSC")),
    Refused(Prctl(26, 0, "PR_SET_TSC")),  // the recorder's own means
    Prctl(29, 0, "PR_SET_TIMERSLACK"),
    Told(Prctl(30, 0, "PR_GET_TIMERSLACK")),
    Refused(Prctl(35, 0, "PR_SET_MM")),  // its MAP_SIZE writes through the third argument
    Prctl(36, 0, "PR_SET_CHILD_SUBREAPER"),
    Told(Prctl(37, 4, "PR_GET_CHILD_SUBREAPER")),
    Prctl(38, 0, "PR_SET_NO_NEW_PRIVS"),
    Told(Prctl(39, 0, "PR_GET_NO_NEW_PRIVS")),
    Told(Prctl(40, 8, "PR_GET_TID_ADDRESS")),
    Prctl(47, 0, "PR_CAP_AMBIENT"),
    Refused(Prctl(59, 0, "PR_SET_SYSCALL_USER_DISPATCH")),
    Refused(Prctl(62, 0, "PR_SCHED_CORE")),
    Prctl(0x53564d41, 0, "PR_SET_VMA"),
    Prctl(0x59616d61, 0, "PR_SET_PTRACER"),
    Told(Prctl(0x41555856, COMMAND_RESULT, "PR_GET_AUXV")),
    // arch_prctl. A second vDSO would tell the time without a system call.
    Refused(Prctl(0x2001, 0, "ARCH_MAP_VDSO_X32")),
    Refused(Prctl(0x2002, 0, "ARCH_MAP_VDSO_32")),
    Refused(Prctl(0x2003, 0, "ARCH_MAP_VDSO_64")),
    Prctl(0x1001, 0, "ARCH_SET_GS"),
    Prctl(0x1002, 0, "ARCH_SET_FS"),
    Told(Prctl(0x1003, 8, "ARCH_GET_FS")),
    Told(Prctl(0x1004, 8, "ARCH_GET_GS")),
    Told(Prctl(0x1011, 0, "ARCH_GET_CPUID")),
    Refused(Prctl(0x1012, 0, "ARCH_SET_CPUID")),  // cpuid would end in signals
    Told(Prctl(0x1021, 8, "ARCH_GET_XCOMP_SUPP")),
    Told(Prctl(0x1022, 8, "ARCH_GET_XCOMP_PERM")),
    Prctl(0x1023, 0, "ARCH_REQ_XCOMP_PERM"),
    Told(Prctl(0x1024, 8, "ARCH_GET_XCOMP_GUEST_PERM")),
    Told(Prctl(0x4001, 8, "ARCH_GET_UNTAG_MASK")),
    Refused(Prctl(0x4002, 0, "ARCH_ENABLE_TAGGED_ADDR")),
    Told(Prctl(0x4003, 8, "ARCH_GET_MAX_TAG_BITS")),
    Refused(Prctl(0x5001, 0, "ARCH_SHSTK_ENABLE")),  // shadow stacks are not in a checkpoint
    Told(Prctl(0x5005, 8, "ARCH_SHSTK_STATUS")),
};

constexpr CommandSize Option(uint32_t level, uint32_t option, std::string_view name) {
  return {{OUT_SOCKOPT, level << 16 | option}, COMMAND_REFUSE, name, kRefuse};
}
constexpr CommandSize Set(CommandSize command) {
  command.key.command |= rows::kSetsockoptTag;
  return command;
}

// They write somewhere else than to optval, or more than optlen says. From headers that do not mix.
constexpr CommandSize kSocketOptions[] = {
    Option(1, 26, "SO_GET_FILTER"),  // its optlen counts instructions
    Option(6, 35, "TCP_ZEROCOPY_RECEIVE"),
    Option(284, 4, "MPTCP_FULL_INFO"),
    Option(0, 129, "EBT_SO_GET_ENTRIES"),
    Option(0, 131, "EBT_SO_GET_INIT_ENTRIES"),
    Set(Option(0, 64, "IPT_SO_SET_REPLACE")),  // the old counters
    Set(Option(0, 96, "ARPT_SO_SET_REPLACE")),
    Set(Option(0, 128, "EBT_SO_SET_ENTRIES")),
    Set(Option(41, 64, "IP6T_SO_SET_REPLACE")),
};

constexpr CommandSize kSystemV[] = {
    Sem(IPC_RMID, 0, "IPC_RMID"),
    Sem(IPC_SET, 0, "IPC_SET"),
    Sem(IPC_STAT, sizeof(semid_ds), "IPC_STAT"),
    Sem(IPC_INFO, sizeof(seminfo), "IPC_INFO"),
    Sem(GETPID, 0, "GETPID"),
    Sem(GETVAL, 0, "GETVAL"),
    Sem(GETALL, 0, "GETALL"),  // the replica's own copy: the number of semaphores is not known here
    Sem(GETNCNT, 0, "GETNCNT"),
    Sem(GETZCNT, 0, "GETZCNT"),
    Sem(SETVAL, 0, "SETVAL"),
    Sem(SETALL, 0, "SETALL"),
    Sem(SEM_STAT, sizeof(semid_ds), "SEM_STAT"),
    Sem(SEM_INFO, sizeof(seminfo), "SEM_INFO"),
    Sem(20, sizeof(semid_ds), "SEM_STAT_ANY"),
    Shm(IPC_RMID, 0, "IPC_RMID"),
    Shm(IPC_SET, 0, "IPC_SET"),
    Shm(IPC_STAT, sizeof(shmid_ds), "IPC_STAT"),
    Shm(IPC_INFO, sizeof(shminfo), "IPC_INFO"),
    Shm(SHM_LOCK, 0, "SHM_LOCK"),
    Shm(SHM_UNLOCK, 0, "SHM_UNLOCK"),
    Shm(SHM_STAT, sizeof(shmid_ds), "SHM_STAT"),
    Shm(SHM_INFO, sizeof(shm_info), "SHM_INFO"),
    Shm(15, sizeof(shmid_ds), "SHM_STAT_ANY"),
    Msg(IPC_RMID, 0, "IPC_RMID"),
    Msg(IPC_SET, 0, "IPC_SET"),
    Msg(IPC_STAT, sizeof(msqid_ds), "IPC_STAT"),
    Msg(IPC_INFO, sizeof(msginfo), "IPC_INFO"),
    Msg(MSG_STAT, sizeof(msqid_ds), "MSG_STAT"),
    Msg(MSG_INFO, sizeof(msginfo), "MSG_INFO"),
    Msg(13, sizeof(msqid_ds), "MSG_STAT_ANY"),
};

// Wireless extensions, private and protocol's own ioctls of network devices: pointers inside. The
// keyboard, fonts and switching of virtual consoles: the same, and they belong to the host.
void AddRefusedRanges(std::vector<CommandSize>& all) {
  const auto add = [&](uint32_t first, uint32_t last, std::string_view name) {
    for (uint32_t command = first; command <= last; ++command) {
      all.push_back(Refused(Ioctl(command, 0, name)));
    }
  };
  add(SIOCPROTOPRIVATE, SIOCPROTOPRIVATE + 15, "SIOCPROTOPRIVATE");
  add(SIOCDEVPRIVATE, SIOCDEVPRIVATE + 15, "SIOCDEVPRIVATE");
  add(0x8b00, 0x8b3f, "SIOCIW");
  add(0x4b2f, 0x4bff, "KD");
  add(0x5600, 0x560f, "VT");
}

bool Before(const capture_command& a, const capture_command& b) {
  return a.kind != b.kind ? a.kind < b.kind : a.command < b.command;
}

std::vector<CommandSize> AllCommands() {
  std::vector<CommandSize> all;
  for (const std::span<const CommandSize> group :
       {std::span<const CommandSize>(kTerminal), std::span<const CommandSize>(kAnyFile),
        std::span<const CommandSize>(kNetwork), std::span<const CommandSize>(kFcntl),
        std::span<const CommandSize>(kPrctl), std::span<const CommandSize>(kSocketOptions),
        std::span<const CommandSize>(kSystemV)}) {
    all.insert(all.end(), group.begin(), group.end());
  }
  AddRefusedRanges(all);
  std::ranges::sort(all, Before, &CommandSize::key);
  return all;
}

}  // namespace

std::span<const CommandSize> CommandSizes() {
  static const std::vector<CommandSize> commands = AllCommands();
  return commands;
}

const CommandSize* FindCommand(capture_command key) {
  const auto commands = CommandSizes();
  const auto found = std::ranges::lower_bound(commands, key, Before, &CommandSize::key);
  return found != commands.end() && !Before(key, found->key) ? &*found : nullptr;
}

}  // namespace migrate
