/* How one event of the log lies in memory and in a log file: written by the BPF program
 * (recorder/capture.bpf.c), carried unchanged, read through proto/event_frame.h. C, since both sides
 * of the kernel include it. Little-endian; every frame is a multiple of eight bytes:
 *
 *   struct event_frame
 *   u64 args[arg_count]
 *   struct event_span spans[span_count]
 *   the bytes of the spans, one after the other without gaps, then zeroes up to `size`
 *
 * The order of the frames is the order in which things happened; an event's LSN is its number in
 * that order, data frames not counted. All task ids are those of the container's pid namespace.
 */
#ifndef PROTO_EVENT_LAYOUT_H_
#define PROTO_EVENT_LAYOUT_H_

#ifndef __bpf__
#include <stdint.h>
typedef uint8_t ev_u8;
typedef uint16_t ev_u16;
typedef uint32_t ev_u32;
typedef uint64_t ev_u64;
typedef int32_t ev_s32;
typedef int64_t ev_s64;
#else
typedef unsigned char ev_u8;
typedef unsigned short ev_u16;
typedef unsigned int ev_u32;
typedef unsigned long long ev_u64;
typedef int ev_s32;
typedef long long ev_s64;
#endif

#define EVENT_FORMAT_VERSION 1

enum event_kind {
  EVENT_INVALID = 0,
  EVENT_SYSCALL = 1, /* number, result, args as at the entry; spans: what the kernel wrote (and,
                        marked EVENT_SPAN_INPUT, what it read) */
  EVENT_DATA = 2,    /* spans of the EVENT_SYSCALL of the same task that follows: it had too many
                        bytes for one frame. Counts as no event. */
  EVENT_TASK_NEW = 3,  /* tid: the parent; args: tid, tgid of the new task, clone flags */
  EVENT_TASK_EXIT = 4, /* result: the exit code as wait() tells it; args: its process, orig_rax */
  EVENT_EXEC = 5,      /* precedes the EVENT_SYSCALL of the exec; args: tid before it; span: the path */
  EVENT_SIGNAL = 6,    /* delivered (not: sent). number: the signal; args: instruction pointer,
                          1 if it interrupted a computation (not at a syscall), handler, sa_flags,
                          rax, orig_rax; span (address 0): the kernel's siginfo, 48 bytes */
  EVENT_SWITCH = 7,    /* the task lost the CPU outside a syscall: args: its state, tid of the next
                          task of the container or 0 */
  EVENT_CLOCKS = 8,    /* readings without a syscall since the last such event of this memory; they may
                          have been made before events that precede it. args: number of the first, how many; one or two spans: the entries of the ring
                          (base/clock_ring.h) in order, among them those that are not in use */
  EVENT_TSC = 9,       /* rdtsc or rdtscp that was trapped: result: the reading; args: ip, aux */
  EVENT_PROBLEM = 10,  /* the recording is incomplete from here on. number: event_problem; args:
                          two details */
  EVENT_MARK = 11,     /* made by the recorder itself: number: event_mark */
  EVENT_KIND_COUNT
};

enum event_problem {
  PROBLEM_NONE = 0,
  PROBLEM_RING_FULL = 1,        /* events were lost; args: how many so far */
  PROBLEM_REFUSED_SYSCALL = 2,  /* succeeded, but cannot be replayed; args: number */
  PROBLEM_UNKNOWN_SYSCALL = 3,  /* has no row; args: number */
  PROBLEM_FOREIGN_TASK = 4,     /* a task entered the pid namespace from outside (docker exec) */
  PROBLEM_SCHEDULING = 5,       /* a task changed its scheduling or CPU; args: number */
  PROBLEM_TOO_LARGE = 6,        /* one syscall wrote more than can be logged; args: number, bytes */
  PROBLEM_UNREADABLE = 7,       /* what the kernel wrote could not be read; args: number, address */
  PROBLEM_COMPAT_SYSCALL = 8,   /* 32-bit syscall */
  PROBLEM_SIGNAL_IN_COMPUTATION = 9, /* a signal was delivered between two instructions */
  PROBLEM_REFUSED_FILE = 10,    /* the file behind the descriptor cannot be replayed; args: number, class */
  PROBLEM_STARVED = 11,         /* a task span without a syscall while others waited */
  PROBLEM_CLOCKS = 12,          /* clock readings were lost; args: how many since the last event */
  PROBLEM_UNPATCHED = 13,       /* a new program ran before its clocks could be recorded */
  PROBLEM_COUNT
};

enum event_mark {
  MARK_START = 1, /* T0: the first event */
  MARK_END = 2,   /* the container is frozen and everything before has been logged */
  MARK_CLOCKS = 3, /* the clocks of this process have been patched; args: address of its ring
                      (base/clock_ring.h; 0: readings are system calls) and of its vDSO (0: none) */
  MARK_COUNT
};

/* What is behind the descriptor of a syscall. Decided in the kernel from the file. */
enum fd_class {
  FD_NONE = 0,       /* the row has no descriptor */
  FD_BAD = 1,        /* no such descriptor (any more) */
  FD_REPLICATED = 2, /* file or directory on a filesystem that the target has as well */
  FD_FOREIGN = 3,    /* file of procfs, sysfs, cgroupfs, ...: belongs to this host */
  FD_SOCKET = 4,     /* inet, netlink, packet: talks to the outside */
  FD_UNIX = 5,       /* unix socket, both ends inside the container as far as known at T0 */
  FD_UNIX_OUTSIDE = 6,
  FD_PIPE = 7, /* pipe or FIFO inside the container */
  FD_PIPE_OUTSIDE = 8,
  FD_TTY = 9,
  FD_NULL = 10,   /* /dev/null, zero, full */
  FD_RANDOM = 11, /* /dev/random, urandom */
  FD_DEVICE = 12, /* any other device */
  FD_EVENTFD = 13,
  FD_TIMERFD = 14,
  FD_SIGNALFD = 15,
  FD_EPOLL = 16,
  FD_INOTIFY = 17,
  FD_MEMORY = 18, /* memfd, shared memory on a tmpfs of the container */
  FD_PIDFD = 19,
  FD_MQUEUE = 20,
  FD_OTHER = 21, /* any other anonymous inode */
  FD_CLASS_COUNT
};

#define EVENT_FLAG_CONTINUED 1 /* EVENT_DATA frames of the same task precede it */
#define EVENT_FLAG_RESTARTED 2 /* the first event of a task that was inside a syscall at T0 */
#define EVENT_FLAG_INTERRUPTED 4 /* the result is a restart code of the kernel (-512 to -516): the call
                                    is made again, or the signal event that follows makes it EINTR */

#define EVENT_SPAN_INPUT 1     /* read by the kernel (a path), not written */
#define EVENT_SPAN_TRUNCATED 2 /* an input that is longer than what is logged */

struct event_frame {
  ev_u32 size; /* of the whole frame, in bytes */
  ev_u8 kind;
  ev_u8 flags;
  ev_u8 fd_class;
  ev_u8 span_count;
  ev_u32 tid;
  ev_u16 number;
  ev_u8 arg_count;
  ev_u8 reserved;
  ev_s64 result;
};

struct event_span {
  ev_u64 address;
  ev_u32 length;
  ev_u16 flags;
  ev_u16 reserved;
};

#define EVENT_MAX_ARGS 6
#define EVENT_MAX_SPANS 64
#define EVENT_MAX_DATA (32 * 1024)       /* bytes of spans in one frame */
#define EVENT_MAX_FRAME (EVENT_MAX_DATA + 2048)
#define EVENT_MAX_SYSCALL_DATA (64 << 20) /* bytes that one syscall may write */

#endif /* PROTO_EVENT_LAYOUT_H_ */
