/* Capture: every input of the tasks of one container, as frames of proto/event_layout.h in one ring.
 *
 * A system call is logged when it returns. Its arguments are still in the registers then (x86-64),
 * so entering one costs nothing. What it wrote is told by its row (proto/capture_row.h); there is no
 * code for single calls beyond the kinds of output. The container runs on one CPU without
 * preemption, so the order of the frames is the order in which its tasks ran.
 *
 * What cannot be logged ends the recording with a frame that says so: never a gap.
 */
#include "recorder/kernel_types.bpf.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "recorder/capture_shared.h"

char LICENSE[] SEC("license") = "GPL";

#define EINTR 4
#define SIGSTOP 19
#define ENOSYS 38
#define NR_RT_SIGRETURN 15
#define FIRST_RESTART (-516)
#define LAST_RESTART (-512)
#define IPC_64 0x100
#define TS_COMPAT 2
#define CLONE_VM 0x100
#define CLONE_THREAD 0x10000
#define CLONE_PIDFD 0x1000
#define CLONE_PARENT_SETTID 0x100000
#define CLONE_CHILD_SETTID 0x1000000
#define CLONE_NEW_NAMESPACES 0x7e020080 /* in clone3, which has no exit signal in its flags */
#define CALL_POLL 7
#define CALL_RESTART 219
#define MAX_IOVEC 1024

/* ---- set before loading ---- */
const volatile ev_u32 pid_namespace_inum;
const volatile ev_u32 self_tgid;          /* of the loader, for the iterator that learns */
const volatile bool log_own_copies;    /* also what a call reads from a replicated file (tests) */
const volatile bool log_input_bytes;   /* also what write and send are given */
const volatile struct capture_row rows[CAPTURE_MAX_SYSCALLS];

/* ---- read and written while running ---- */
ev_u64 known_files[KNOWN_FILE_COUNT];
ev_u32 state;         /* enum capture_state */
ev_u64 events;        /* logged, data frames not counted */
ev_u64 lost;          /* that did not fit into the ring */
ev_u64 bytes;         /* put into the ring */
ev_u64 marked_tasks;  /* by the iterator */
ev_u32 running_tid;   /* of the last event, for the starvation watchdog */
ev_u64 clock_readings; /* without a system call */
ev_s32 yields;        /* host tid of a task that is to let others run, at the end of its next call */
ev_s32 muted;         /* host tid of a task whose calls are the recorder's; 0: none */

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 26);
} ring SEC(".maps");

struct task_mark {
  u32 tid; /* in the container */
  u32 tgid;
  u32 host_tgid;
  u32 in_call; /* it was inside a system call at T0, and no event of it has come yet */
  u32 clock_key;
  u32 restarts; /* number of the call that restart_syscall goes on with */
};
struct {
  __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct task_mark);
} marks SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, struct capture_command);
  __type(value, u32);
} commands SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, struct outside_file);
  __type(value, u32);
} outside SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, CAPTURE_MAX_CLOCK_SOURCES);
  __type(key, u32);
  __type(value, struct clock_source);
} clocks SEC(".maps");

/* One event in the making. */
struct scratch {
  u32 total;
  u32 span_count;
  u64 args[EVENT_MAX_ARGS];
  struct event_span spans[EVENT_MAX_SPANS];
  /* Twice as large as a frame, so that an offset and a length, each masked, stay inside. */
  u8 frame[2 * 65536];
};
/* One per CPU; too large for a per-CPU map. The loader sets the number. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct scratch *get_scratch(void) {
  u32 cpu = bpf_get_smp_processor_id();
  return bpf_map_lookup_elem(&scratches, &cpu);
}

/* The verifier follows a mask where it loses a comparison. EVENT_MAX_SPANS is a power of two. */
#define BOUND(variable, mask) asm volatile("%0 &= %1" : "+r"(variable) : "i"(mask))
#define BOUND_SPAN(index) BOUND(index, EVENT_MAX_SPANS - 1)

/* ---- frames ---- */

static __always_inline bool put_frame(struct scratch *s, u32 size) {
  BOUND(size, 0xffff);
  if (bpf_ringbuf_output(&ring, s->frame, size, BPF_RB_NO_WAKEUP)) {
    lost++;
    return false;
  }
  bytes += size;
  return true;
}

/* A frame without spans. */
static __noinline int put_small(u32 kind_and_number, u32 tid, s64 result, u64 *args) {
  struct {
    struct event_frame frame;
    u64 args[EVENT_MAX_ARGS];
  } out = {};
  if (!args) return 0;
  out.frame.size = sizeof(out);
  out.frame.kind = kind_and_number >> 16;
  out.frame.number = kind_and_number;
  out.frame.arg_count = EVENT_MAX_ARGS;
  out.frame.tid = tid;
  out.frame.result = result;
#pragma unroll
  for (int i = 0; i < EVENT_MAX_ARGS; i++) out.args[i] = args[i];
  if (bpf_ringbuf_output(&ring, &out, sizeof(out), BPF_RB_NO_WAKEUP)) {
    lost++;
    return 0;
  }
  events++;
  bytes += sizeof(out);
  return 0;
}
#define KIND(kind, number) (((u32)(kind) << 16) | ((number)&0xffff))

static __always_inline void end_with(u32 problem, u32 tid, u64 a, u64 b) {
  if (state != CAPTURE_ARMED) return;
  u64 args[EVENT_MAX_ARGS] = {a, b};
  put_small(KIND(EVENT_PROBLEM, problem), tid, 0, args);
  state = CAPTURE_ENDED;
}

/* ---- what is behind a descriptor ---- */

static __always_inline bool is_outside(u32 is_socket, u64 inode) {
  struct outside_file key = {.is_socket = is_socket, .inode = inode};
  return bpf_map_lookup_elem(&outside, &key) != 0;
}

static __always_inline u32 classify_device(u32 device) {
  u32 major = device >> 20, minor = device & 0xfffff;
  if (major == 1) {
    if (minor == 3 || minor == 5 || minor == 7) return FD_NULL;
    if (minor == 8 || minor == 9) return FD_RANDOM;
  }
  if (major == 4 || major == 5 || (major >= 136 && major <= 143)) return FD_TTY;
  return FD_DEVICE;
}

static __always_inline u32 classify_file_system(u64 magic) {
  switch (magic) {
    case 0x9fa0:     /* proc */
    case 0x62656572: /* sysfs */
    case 0x27e0eb:   /* cgroup */
    case 0x63677270: /* cgroup2 */
    case 0x64626720: /* debugfs */
    case 0x74726163: /* tracefs */
    case 0x73636673: /* securityfs */
    case 0xcafe4a11: /* bpf */
    case 0x6e736673: /* nsfs */
      return FD_FOREIGN;
    case 0x19800202: return FD_MQUEUE;
    case 0x50494446: return FD_PIDFD;
    case 0x01021994: /* tmpfs */
    case 0x958458f6: /* hugetlbfs */
      return FD_MEMORY;
    case 0x09041934: /* anonymous inodes */
      return FD_OTHER;
  }
  return FD_REPLICATED;
}

static __always_inline u32 classify_socket(struct file *file) {
  struct socket *socket = BPF_CORE_READ(file, private_data);
  u64 operations = (u64)BPF_CORE_READ(socket, ops);
  if (operations != known_files[KNOWN_UNIX_STREAM] &&
      operations != known_files[KNOWN_UNIX_DGRAM] &&
      operations != known_files[KNOWN_UNIX_SEQPACKET])
    return FD_SOCKET;
  return is_outside(1, BPF_CORE_READ(file, f_inode, i_ino)) ? FD_UNIX_OUTSIDE : FD_UNIX;
}

static __noinline u32 classify(struct task_struct *task, u32 fd) {
  /* Plain loads where the verifier knows the types: a probe read costs ten times as much. */
  struct files_struct *files = task->files;
  if (!files) return FD_BAD;
  struct fdtable *table = files->fdt;
  if (!table || fd >= table->max_fds) return FD_BAD;
  struct file **slot = table->fd;
  struct file *file = 0;
  bpf_probe_read_kernel(&file, sizeof(file), slot + fd);
  if (!file) return FD_BAD;
  u64 operations = (u64)BPF_CORE_READ(file, f_op);
  if (operations == known_files[KNOWN_SOCKET]) return classify_socket(file);
  if (operations == known_files[KNOWN_EVENTFD]) return FD_EVENTFD;
  if (operations == known_files[KNOWN_EPOLL]) return FD_EPOLL;
  if (operations == known_files[KNOWN_TIMERFD]) return FD_TIMERFD;
  if (operations == known_files[KNOWN_SIGNALFD]) return FD_SIGNALFD;
  if (operations == known_files[KNOWN_INOTIFY]) return FD_INOTIFY;
  if (operations == known_files[KNOWN_PIDFD]) return FD_PIDFD;
  struct inode *inode = BPF_CORE_READ(file, f_inode);
  if (!inode) return FD_OTHER;
  u32 mode = BPF_CORE_READ(inode, i_mode);
  switch (mode & 0170000) {
    case 0140000: return classify_socket(file);
    case 0010000: return is_outside(0, BPF_CORE_READ(inode, i_ino)) ? FD_PIPE_OUTSIDE : FD_PIPE;
    case 0020000: return classify_device(BPF_CORE_READ(inode, i_rdev));
    case 0060000: return FD_DEVICE;
    case 0100000:
    case 0040000:
    case 0120000: return classify_file_system(BPF_CORE_READ(inode, i_sb, s_magic));
  }
  return FD_OTHER;
}

/* ---- outputs ---- */

static __always_inline void add_span(struct scratch *s, u64 address, u64 length, u32 flags) {
  u32 i = s->span_count;
  if (!address || !length) return;
  if (length > EVENT_MAX_SYSCALL_DATA) length = EVENT_MAX_SYSCALL_DATA + 1; /* the total tells */
  if (i >= EVENT_MAX_SPANS) {
    s->total = EVENT_MAX_SYSCALL_DATA + 1;
    return;
  }
  BOUND_SPAN(i);
  s->spans[i].address = address;
  s->spans[i].length = length;
  s->spans[i].flags = flags;
  s->spans[i].reserved = 0;
  s->span_count = i + 1;
  if (s->total <= EVENT_MAX_SYSCALL_DATA) s->total += length;
}

struct iovec_walk {
  u64 iov;
  u64 left;
};

static long add_iovec(u32 index, struct iovec_walk *walk) {
  struct user_iovec entry = {};
  struct scratch *s = get_scratch();
  if (!walk->left || !s) return 1;
  u64 address = walk->iov + index * sizeof(entry);
  if (bpf_probe_read_user(&entry, sizeof(entry), (void *)address)) {
    add_span(s, address, sizeof(entry), 0); /* which cannot be copied either, and so is told */
    return 1;
  }
  u64 length = entry.length < walk->left ? entry.length : walk->left;
  add_span(s, entry.base, length, 0);
  walk->left -= length;
  return 0;
}

static __always_inline void add_iovecs(u64 iov, u64 count, u64 bytes_written) {
  struct iovec_walk walk = {.iov = iov, .left = bytes_written};
  if (count > MAX_IOVEC) count = MAX_IOVEC;
  bpf_loop(count, add_iovec, &walk, 0);
}

/* `size`: of the header and what follows it. It is a span also if it cannot be read: then the copy
 * fails and ends the recording. */
static __noinline int add_msghdr(u64 address, u64 received, u32 size) {
  struct scratch *s = get_scratch();
  struct user_msghdr header = {};
  if (!s) return 0;
  add_span(s, address, size, 0);
  if (bpf_probe_read_user(&header, sizeof(header), (void *)address)) return 0;
  add_span(s, header.name, header.name_length < 128 ? header.name_length : 128, 0);
  add_span(s, header.control, header.control_length, 0);
  add_iovecs(header.iov, header.iov_length, received);
  return 0;
}

static long add_mmsghdr(u32 index, u64 *vector) {
  struct user_mmsghdr message = {};
  u64 address = *vector + index * sizeof(message);
  bpf_probe_read_user(&message, sizeof(message), (void *)address);
  add_msghdr(address, message.length, sizeof(message));
  return 0;
}

static __always_inline bool readable(u64 address) {
  u8 byte;
  return !bpf_probe_read_user(&byte, sizeof(byte), (void *)address);
}

/* A call that failed may have done so because this is no memory: then it wrote nothing. */
static __always_inline void add_unless_bad(struct scratch *s, u64 address, u64 length, u32 flags,
                                           s64 result) {
  if (result < 0 && length && (!readable(address) || !readable(address + length - 1))) return;
  add_span(s, address, length, flags);
}

static __noinline int add_futex(u64 operation, u64 word, u64 second, s64 result) {
  struct scratch *s = get_scratch();
  if (!s) return 0;
  switch (operation & 127) {
    case 5: /* WAKE_OP */
      add_unless_bad(s, second, 4, 0, result);
      break;
    case 6:  /* LOCK_PI */
    case 7:  /* UNLOCK_PI */
    case 8:  /* TRYLOCK_PI */
    case 13: /* LOCK_PI2 */
      add_unless_bad(s, word, 4, 0, result);
      break;
    case 11: /* WAIT_REQUEUE_PI */
    case 12: /* CMP_REQUEUE_PI */
      add_unless_bad(s, word, 4, 0, result);
      add_unless_bad(s, second, 4, 0, result);
      break;
  }
  return 0;
}

static __noinline int add_ifconf(u64 address) {
  struct scratch *s = get_scratch();
  struct user_ifconf list = {};
  if (!s) return 0;
  add_span(s, address, sizeof(list), 0);
  if (bpf_probe_read_user(&list, sizeof(list), (void *)address)) return 0;
  add_span(s, list.buffer, list.length, 0);
  return 0;
}

static __always_inline u32 command_size(u32 kind, u32 command) {
  struct capture_command key = {.kind = kind, .command = command};
  u32 *size = bpf_map_lookup_elem(&commands, &key);
  if (size) return *size;
  if (kind == OUT_IOCTL && ((command >> 30) & 2)) return (command >> 16) & 0x3fff;
  return 0;
}

static __always_inline bool applies(u32 when, s64 result) {
  switch (when) {
    case WHEN_SUCCESS: return result >= 0;
    case WHEN_POSITIVE: return result > 0;
    case WHEN_INTERRUPTED:
      return result == -EINTR || (result >= FIRST_RESTART && result <= LAST_RESTART);
  }
  return true;
}

/* The spans of one output. `refused` is set for a command that ends the recording. */
static __noinline int add_output(u32 number, u32 index, s64 result) {
  struct scratch *s = get_scratch();
  if (!s || number >= CAPTURE_MAX_SYSCALLS || index >= CAPTURE_MAX_OUTPUTS) return 0;
  const volatile struct capture_output *output = &rows[number].outputs[index];
  u32 kind = output->kind, size = output->size, arg = output->arg, len_arg = output->len_arg;
  if (!applies(output->when, result)) return 0;
  if (arg >= EVENT_MAX_ARGS || len_arg >= EVENT_MAX_ARGS) return 0;
  u64 address = s->args[arg], other = s->args[len_arg], length = 0;
  u64 positive = result > 0 ? result : 0;
  u32 flags = 0;
  /* A command is looked at whatever its argument is. */
  if (!address && (kind < OUT_IOCTL || kind > OUT_IPC)) return 0;
  switch (kind) {
    case OUT_FIXED: length = size; break;
    case OUT_RESULT: length = positive * size; break;
    case OUT_RESULT_CAPPED: length = (positive < other ? positive : other) * size; break;
    case OUT_ARG: length = other * size; break;
    case OUT_POINTEE32: {
      u32 value = 0;
      bpf_probe_read_user(&value, sizeof(value), (void *)other);
      length = value < size ? value : size;
      break;
    }
    case OUT_POINTEE64: {
      u64 value = 0;
      bpf_probe_read_user(&value, sizeof(value), (void *)other);
      length = value < size ? value : size;
      break;
    }
    case OUT_IOVEC: add_iovecs(address, other, positive); return 0;
    case OUT_MSGHDR: return add_msghdr(address, positive, sizeof(struct user_msghdr));
    case OUT_MMSGHDR: bpf_loop(positive < 1024 ? positive : 1024, add_mmsghdr, &address, 0); return 0;
    case OUT_FD_SET: length = ((other + 63) / 64) * 8; break;
    case OUT_PAGES: length = (other + 4095) / 4096; break;
    case OUT_RESULT_PLUS: length = positive + size; break;
    case OUT_CLONE:
      /* The child's word is written in the child's memory. Elsewhere the page may not exist. */
      if (result && (s->args[0] & (CLONE_PIDFD | CLONE_PARENT_SETTID)))
        add_unless_bad(s, s->args[2], 4, 0, result);
      if (!result && (s->args[0] & CLONE_CHILD_SETTID))
        add_unless_bad(s, s->args[3], 4, 0, result);
      return 0;
    case OUT_FUTEX: return add_futex(s->args[1], address, s->args[4], result);
    case OUT_CLONE3: {
      struct user_clone_args clone = {};
      if (bpf_probe_read_user(&clone, sizeof(clone), (void *)address)) {
        add_unless_bad(s, address, sizeof(clone), 0, result);
        return 0;
      }
      if (clone.flags & CLONE_NEW_NAMESPACES) return 1;
      if (result && (clone.flags & CLONE_PIDFD)) add_unless_bad(s, clone.pidfd, 4, 0, result);
      if (result && (clone.flags & CLONE_PARENT_SETTID))
        add_unless_bad(s, clone.parent_tid, 4, 0, result);
      if (!result && (clone.flags & CLONE_CHILD_SETTID))
        add_unless_bad(s, clone.child_tid, 4, 0, result);
      return 0;
    }
    case OUT_IOCTL:
    case OUT_FCNTL:
    case OUT_PRCTL:
    case OUT_SOCKOPT:
    case OUT_IPC: {
      u32 command = other;
      if (kind == OUT_SOCKOPT) command = s->args[1] << 16 | (u16)other;
      if (kind == OUT_IPC) command &= ~IPC_64;
      u32 found = command_size(kind, command | size);
      if (found == COMMAND_REFUSE) return 1;
      if (found == COMMAND_IFCONF) return add_ifconf(address);
      if (found == COMMAND_RESULT) found = positive < s->args[2] ? positive : s->args[2];
      length = found;
      break;
    }
    case OUT_PATH: {
      flags = EVENT_SPAN_INPUT;
      /* Read twice: here only for its length. */
      long got = bpf_probe_read_user_str(s->frame, size < 4096 ? size : 4096, (void *)address);
      if (got <= 0) return 0;
      if ((u64)got >= size) flags |= EVENT_SPAN_TRUNCATED;
      length = got;
      break;
    }
    case OUT_BYTES_IN:
      if (!log_input_bytes && output->when != WHEN_ALWAYS) return 0;
      flags = EVENT_SPAN_INPUT;
      length = other;
      if (length > size) {
        length = size;
        flags |= EVENT_SPAN_TRUNCATED;
      }
      break;
    default: return 0;
  }
  add_unless_bad(s, address, length, flags, result);
  return 0;
}

/* ---- the bytes ---- */

struct copy_walk {
  u32 offset;
  u32 failed;
};

static long copy_span(u32 index, struct copy_walk *walk) {
  struct scratch *s = get_scratch();
  if (!s || index >= EVENT_MAX_SPANS) return 1;
  BOUND_SPAN(index);
  u32 offset = walk->offset, length = s->spans[index].length;
  BOUND(offset, 0xffff);
  BOUND(length, 0xffff);
  if (length && bpf_probe_read_user(s->frame + offset, length, (void *)s->spans[index].address))
    walk->failed = index + 1;
  walk->offset += length;
  return 0;
}

struct data_walk {
  u64 address;
  u64 left;
  u32 tid;
  u32 failed;
};

/* One frame of at most EVENT_MAX_DATA bytes of a large span. */
static long put_data(u32 index, struct data_walk *walk) {
  struct scratch *s = get_scratch();
  if (!s || !walk->left) return 1;
  u32 length = walk->left < EVENT_MAX_DATA ? walk->left : EVENT_MAX_DATA;
  struct {
    struct event_frame frame;
    struct event_span span;
  } head = {};
  u32 padded = (length + 7) & ~7u;
  head.frame.size = sizeof(head) + padded;
  head.frame.kind = EVENT_DATA;
  head.frame.span_count = 1;
  head.frame.tid = walk->tid;
  head.span.address = walk->address;
  head.span.length = length;
  __builtin_memcpy(s->frame, &head, sizeof(head));
  u32 tail = sizeof(head) + padded - 8;
  BOUND(tail, 0xffff);
  __builtin_memset(s->frame + tail, 0, 8);
  BOUND(length, 0xffff);
  if (bpf_probe_read_user(s->frame + sizeof(head), length, (void *)walk->address)) {
    walk->failed = 1;
    return 1;
  }
  if (!put_frame(s, head.frame.size)) {
    walk->failed = 2;
    return 1;
  }
  walk->address += length;
  walk->left -= length;
  return 0;
}

/* More bytes than one frame holds: each span in frames of its own, in front of the event. */
static long put_large_span(u32 index, struct data_walk *walk) {
  struct scratch *s = get_scratch();
  if (!s || index >= EVENT_MAX_SPANS) return 1;
  BOUND_SPAN(index);
  walk->address = s->spans[index].address;
  walk->left = s->spans[index].length;
  bpf_loop(EVENT_MAX_SYSCALL_DATA / EVENT_MAX_DATA + 1, put_data, walk, 0);
  return walk->failed ? 1 : 0;
}

static __always_inline void write_head(struct scratch *s, struct event_frame *head, u32 arg_count) {
  struct event_frame *frame = (struct event_frame *)s->frame;
  *frame = *head;
  u64 *args = (u64 *)(s->frame + sizeof(*frame));
#pragma unroll
  for (int i = 0; i < EVENT_MAX_ARGS; i++) args[i] = s->args[i];
}

/* Copies the bytes of the spans behind head, arguments and spans, and hands the frame over. */
static __noinline int put_event(u32 arg_count) {
  struct scratch *s = get_scratch();
  if (!s || arg_count > EVENT_MAX_ARGS) return 0;
  struct event_frame *frame = (struct event_frame *)s->frame;
  u32 count = s->span_count, offset = sizeof(*frame) + arg_count * 8;
  if (count > EVENT_MAX_SPANS) return 0;
  struct copy_walk walk = {.offset = offset + count * sizeof(struct event_span)};
  if (count == 1) { /* by far the most */
    BOUND(offset, 0xff);
    *(struct event_span *)(s->frame + offset) = s->spans[0];
    copy_span(0, &walk);
  } else if (count > 1) {
    u32 table = count * sizeof(struct event_span);
    BOUND(offset, 0xff);
    BOUND(table, 0x7ff);
    bpf_probe_read_kernel(s->frame + offset, table, s->spans);
    bpf_loop(count, copy_span, &walk, 0);
  }
  u32 end = walk.offset, padded = (end + 7) & ~7u;
  BOUND(end, 0xffff);
  __builtin_memset(s->frame + end, 0, 8);
  frame->size = padded;
  frame->span_count = count;
  if (walk.failed) return walk.failed;
  if (!put_frame(s, padded)) return -1;
  events++;
  return 0;
}

/* ---- clock readings without a system call ---- */

static __noinline int put_clocks(u32 tid, struct clock_source *source, u64 head) {
  struct scratch *s = get_scratch();
  if (!s || !source) return 0;
  u64 first = source->drained, count = head - first;
  source->drained = head;
  clock_readings += count;
  if (count > CLOCK_RING_ENTRIES) {
    end_with(PROBLEM_CLOCKS, tid, count, 0);
    return 0;
  }
  u32 slot = first % CLOCK_RING_ENTRIES, until_end = CLOCK_RING_ENTRIES - slot;
  u32 in_front = count < until_end ? count : until_end, behind = count - in_front;
  u64 entries = source->region + CLOCK_ENTRIES_OFFSET;
  struct {
    struct event_frame frame;
    u64 args[2];
    struct event_span spans[2];
  } out = {};
  u32 size = sizeof(out) - (behind ? 0 : sizeof(struct event_span));
  out.frame.kind = EVENT_CLOCKS;
  out.frame.tid = tid;
  out.frame.arg_count = 2;
  out.frame.span_count = behind ? 2 : 1;
  out.args[0] = first;
  out.args[1] = count;
  out.spans[0].address = entries + slot * sizeof(struct clock_ring_entry);
  out.spans[0].length = in_front * sizeof(struct clock_ring_entry);
  out.spans[1].address = entries;
  out.spans[1].length = behind * sizeof(struct clock_ring_entry);
  out.frame.size = size + out.spans[0].length + out.spans[1].length;
  __builtin_memcpy(s->frame, &out, sizeof(out));
  u32 length = out.spans[0].length;
  BOUND(size, 0xff);
  BOUND(length, 0x3fff);
  long failed = bpf_probe_read_user(s->frame + size, length, (void *)out.spans[0].address);
  u32 offset = size + length;
  length = out.spans[1].length;
  BOUND(offset, 0x7fff);
  BOUND(length, 0x3fff);
  if (length) failed |= bpf_probe_read_user(s->frame + offset, length, (void *)out.spans[1].address);
  if (failed) {
    end_with(PROBLEM_CLOCKS, tid, count, first);
    return 0;
  }
  if (put_frame(s, out.frame.size))
    events++;
  else
    state = CAPTURE_ENDED;
  return 0;
}

/* Logs what the current task's process has read since the last time, if it is so many readings. They
 * are logged in the order in which they were made, but may come later than other events of the
 * process: at the latest when one of its tasks gives up the CPU, or its memory goes. */
static __always_inline struct clock_source *drain_clocks(struct task_mark *mark, u64 least) {
  u32 key = mark->clock_key;
  struct clock_source *source = bpf_map_lookup_elem(&clocks, &key);
  u64 head = 0;
  if (!source) return 0;
  if (bpf_probe_read_user(&head, sizeof(head), (void *)(source->region + CLOCK_HEADER_OFFSET)))
    return source;
  if (head - source->drained >= least) put_clocks(mark->tid, source, head);
  return source;
}

/* A new process has a copy of the ring; what was in it, its parent has logged. */
static __always_inline void fork_clocks(struct task_mark *child, struct clock_source *parents) {
  struct clock_source source = *parents;
  u32 key = child->clock_key;
  if (bpf_map_update_elem(&clocks, &key, &source, BPF_ANY))
    end_with(PROBLEM_CLOCKS, child->tid, 0, 0);
}

static __always_inline bool is_clock_call(u64 number) {
  return number == 228 || number == 96 || number == 201; /* clock_gettime, gettimeofday, time */
}

/* ---- hooks ---- */

static __always_inline void check_end(const volatile struct capture_row *row, struct scratch *s,
                                      u32 number, u32 tid, u32 class, s64 result,
                                      bool refused_command) {
  if (result < 0) return;
  u32 refuse_arg = row->refuse_arg, refuse_bits = row->refuse_bits;
  if (refuse_bits && refuse_arg < EVENT_MAX_ARGS && (s->args[refuse_arg] & refuse_bits))
    refused_command = true;
  if ((row->flags & ROW_REFUSE) || refused_command)
    end_with(PROBLEM_REFUSED_SYSCALL, tid, number, 0);
  else if (row->flags & ROW_SCHEDULING)
    end_with(PROBLEM_SCHEDULING, tid, number, 0);
  else if (row->refuse_classes & (1u << class))
    end_with(PROBLEM_REFUSED_FILE, tid, number, class);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_sys_exit, struct pt_regs *regs, long ret) {
  struct task_struct *task = bpf_get_current_task_btf();
  struct task_mark *mark = bpf_task_storage_get(&marks, task, 0, 0);
  if (!mark || state != CAPTURE_ARMED || task->pid == muted) return 0;
  struct scratch *s = get_scratch();
  if (!s) return 0;
  u32 tid = mark->tid;
  u64 number = regs->orig_ax;
  /* rt_sigreturn has put back the registers of what was interrupted, and -1 here. A call of the
   * number -1 looks the same, but for its result. */
  if ((s64)number == -1 && ret != -ENOSYS) number = NR_RT_SIGRETURN;
  if (task->thread_info.status & TS_COMPAT) {
    end_with(PROBLEM_COMPAT_SYSCALL, tid, number, 0);
    return 0;
  }
  if (number >= CAPTURE_MAX_SYSCALLS || !(rows[number].flags & ROW_KNOWN)) {
    end_with(PROBLEM_UNKNOWN_SYSCALL, tid, number, 0);
    return 0;
  }
  BOUND(number, 0x1ff);
  /* A clock call may be the one that begins a new round: the ring must be empty then. */
  struct clock_source *source =
      drain_clocks(mark, is_clock_call(number) ? 1 : CLOCK_RING_ENTRIES / 4);
  if (source && is_clock_call(number) && regs->ip >= source->vdso && regs->ip < source->vdso_end)
    return 0;
  const volatile struct capture_row *row = &rows[number];
  u32 arg_count = row->arg_count, fd_arg = row->fd_arg, class = FD_NONE;
  s->args[0] = regs->di;
  s->args[1] = regs->si;
  s->args[2] = regs->dx;
  s->args[3] = regs->r10;
  s->args[4] = regs->r8;
  s->args[5] = regs->r9;
  s->total = 0;
  s->span_count = 0;
  if (fd_arg < EVENT_MAX_ARGS &&
      !((row->flags & ROW_MAPS) && (s->args[3] & CAPTURE_MAP_ANONYMOUS)))
    class = classify(task, s->args[fd_arg]);
  /* A restarted poll has its arguments in the registers still, but not its number. */
  u32 call = number;
  if (number == CALL_RESTART)
    call = mark->restarts;
  else if (ret == FIRST_RESTART)
    mark->restarts = number;
  BOUND(call, 0x1ff);
  bool refused = false;
  if (log_own_copies || !(row->own_copy_classes & (1u << class))) {
    u32 outputs = rows[call].output_count;
    if (outputs > 0) refused |= add_output(call, 0, ret);
    if (outputs > 1) refused |= add_output(call, 1, ret);
    if (outputs > 2) refused |= add_output(call, 2, ret);
    if (outputs > 3) refused |= add_output(call, 3, ret);
    if (outputs > 4) refused |= add_output(call, 4, ret);
  }
  struct event_frame head = {.kind = EVENT_SYSCALL,
                             .fd_class = class,
                             .tid = tid,
                             .number = number,
                             .arg_count = arg_count,
                             .result = ret};
  if (ret >= FIRST_RESTART && ret <= LAST_RESTART) head.flags = EVENT_FLAG_INTERRUPTED;
  if (mark->in_call) {
    head.flags |= EVENT_FLAG_RESTARTED;
    mark->in_call = 0;
  }
  running_tid = tid;
  if (s->total > EVENT_MAX_DATA) {
    if (s->total > EVENT_MAX_SYSCALL_DATA) {
      end_with(PROBLEM_TOO_LARGE, tid, number, s->total);
      return 0;
    }
    struct data_walk walk = {.tid = tid};
    bpf_loop(s->span_count, put_large_span, &walk, 0);
    if (walk.failed == 2) goto full;
    if (walk.failed) {
      end_with(PROBLEM_UNREADABLE, tid, number, walk.address);
      return 0;
    }
    s->span_count = 0;
    head.flags |= EVENT_FLAG_CONTINUED;
  }
  write_head(s, &head, arg_count);
  int failed = put_event(arg_count);
  if (failed < 0) goto full;
  if (failed) {
    u32 index = failed - 1;
    end_with(PROBLEM_UNREADABLE, tid, number, index < EVENT_MAX_SPANS ? s->spans[index].address : 0);
    return 0;
  }
  check_end(row, s, number, tid, class, ret, refused);
  if (task->pid == yields) {
    yields = 0;
    bpf_send_signal_thread(SIGSTOP); /* for the tracer only, which takes it away */
  }
  return 0;
full:
  state = CAPTURE_ENDED;
  return 0;
}

/* The task's id in its own pid namespace, and which that is. */
static __always_inline u32 container_pid(struct task_struct *task, u32 *inum) {
  struct pid *pid = BPF_CORE_READ(task, thread_pid);
  *inum = 0;
  if (!pid) return 0;
  /* The array has as many elements as the namespace is deep. */
  struct upid *entry = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
                       BPF_CORE_READ(pid, level) * bpf_core_type_size(struct upid);
  *inum = BPF_CORE_READ(entry, ns, ns.inum);
  return BPF_CORE_READ(entry, nr);
}

static __always_inline struct task_mark *mark_task(struct task_struct *task, u32 tid) {
  struct task_mark *mark =
      bpf_task_storage_get(&marks, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
  if (!mark) return 0;
  u32 inum;
  mark->tid = tid;
  mark->host_tgid = task->tgid;
  struct task_struct *leader = task->group_leader;
  mark->tgid = leader ? container_pid(leader, &inum) : tid;
  mark->clock_key = task->tgid;
  return mark;
}

SEC("tp_btf/task_newtask")
int BPF_PROG(on_new_task, struct task_struct *task, unsigned long clone_flags) {
  u32 inum;
  u32 tid = container_pid(task, &inum);
  if (inum != pid_namespace_inum) return 0;
  struct task_struct *parent = bpf_get_current_task_btf();
  struct task_mark *parent_mark = bpf_task_storage_get(&marks, parent, 0, 0);
  if (!parent_mark) {
    end_with(PROBLEM_FOREIGN_TASK, tid, task->tgid, 0);
    return 0;
  }
  u32 parent_tid = parent_mark->tid;
  struct task_mark *mark = mark_task(task, tid);
  if (!mark) {
    end_with(PROBLEM_RING_FULL, tid, 0, 0);
    return 0;
  }
  if (clone_flags & CLONE_VM) mark->clock_key = parent_mark->clock_key;
  if (state != CAPTURE_ARMED) return 0;
  struct clock_source *source = drain_clocks(parent_mark, 1);
  if (source && !(clone_flags & CLONE_VM)) fork_clocks(mark, source);
  u64 args[EVENT_MAX_ARGS] = {tid, (clone_flags & CLONE_THREAD) ? parent_mark->tgid : tid, clone_flags};
  put_small(KIND(EVENT_TASK_NEW, 0), parent_tid, 0, args);
  return 0;
}

/* The memory of these callers is about to go, and what they have read with it. */
static __always_inline int drain_before_the_end(void) {
  struct task_mark *mark = bpf_task_storage_get(&marks, bpf_get_current_task_btf(), 0, 0);
  if (mark && state == CAPTURE_ARMED) drain_clocks(mark, 1);
  return 0;
}

/* Instead of it on a kernel that has this hook, and whose exit hook comes early enough. */
SEC("tp_btf/sched_prepare_exec")
int BPF_PROG(on_prepare_exec) {
  return drain_before_the_end();
}

SEC("tp_btf/sys_enter")
int BPF_PROG(on_sys_enter, struct pt_regs *regs, long number) {
  if (number != 59 && number != 60 && number != 231 && number != 322) /* execve, exit, exit_group, */
    return 0;                                                          /* execveat */
  return drain_before_the_end();
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm) {
  struct task_mark *mark = bpf_task_storage_get(&marks, task, 0, 0);
  if (!mark) return 0;
  u32 inum, old_tid = mark->tid;
  mark->tid = container_pid(task, &inum); /* a thread that is not the leader becomes it */
  u32 key = mark->host_tgid;
  if (mark->clock_key == key) bpf_map_delete_elem(&clocks, &key);
  mark->clock_key = key;
  if (state != CAPTURE_ARMED) return 0;
  struct scratch *s = get_scratch();
  if (!s) return 0;
  struct event_frame head = {
      .kind = EVENT_EXEC, .tid = mark->tid, .arg_count = 1, .span_count = 1};
  struct event_span span = {.flags = EVENT_SPAN_INPUT};
  u32 offset = sizeof(head) + 8 + sizeof(span);
  long length = bpf_probe_read_kernel_str(s->frame + offset, 4096, bprm->filename);
  if (length < 0) length = 0;
  span.length = length;
  u32 end = offset + length;
  BOUND(end, 0xffff);
  __builtin_memset(s->frame + end, 0, 8);
  head.size = (end + 7) & ~7u;
  __builtin_memcpy(s->frame, &head, sizeof(head));
  *(u64 *)(s->frame + sizeof(head)) = old_tid;
  __builtin_memcpy(s->frame + sizeof(head) + 8, &span, sizeof(span));
  if (put_frame(s, head.size))
    events++;
  else
    state = CAPTURE_ENDED;
  return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task) {
  struct task_mark *mark = bpf_task_storage_get(&marks, task, 0, 0);
  if (!mark) return 0;
  if (task->mm && state == CAPTURE_ARMED) drain_clocks(mark, 1); /* Linux 6.16: it still has its memory */
  u32 key = mark->host_tgid;
  if (mark->clock_key == key && BPF_CORE_READ(task, signal, live.counter) == 0)
    bpf_map_delete_elem(&clocks, &key);
  if (state != CAPTURE_ARMED) return 0;
  struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
  u64 args[EVENT_MAX_ARGS] = {mark->tgid, BPF_CORE_READ(regs, orig_ax)};
  put_small(KIND(EVENT_TASK_EXIT, 0), mark->tid, task->exit_code, args);
  return 0;
}

SEC("tp_btf/signal_deliver")
int BPF_PROG(on_signal, int signal, struct kernel_siginfo *info, struct k_sigaction *action) {
  struct task_struct *task = bpf_get_current_task_btf();
  struct task_mark *mark = bpf_task_storage_get(&marks, task, 0, 0);
  if (!mark || state != CAPTURE_ARMED) return 0;
  struct scratch *s = get_scratch();
  if (!s) return 0;
  drain_clocks(mark, 1);
  struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
  u64 original = BPF_CORE_READ(regs, orig_ax);
  s->args[0] = BPF_CORE_READ(regs, ip);
  s->args[1] = (s64)original < 0;
  s->args[2] = (u64)BPF_CORE_READ(action, sa.sa_handler);
  s->args[3] = BPF_CORE_READ(action, sa.sa_flags);
  s->args[4] = BPF_CORE_READ(regs, ax);
  s->args[5] = original;
  struct event_span span = {.length = 48};
  u32 spans = sizeof(struct event_frame) + sizeof(s->args), data = spans + sizeof(span);
  struct event_frame head = {.size = data + span.length,
                             .kind = EVENT_SIGNAL,
                             .number = signal,
                             .tid = mark->tid,
                             .arg_count = EVENT_MAX_ARGS,
                             .span_count = 1};
  write_head(s, &head, EVENT_MAX_ARGS); /* clang 14 drops the stores of a memcpy() here */
  *(struct event_span *)(s->frame + spans) = span;
  bpf_probe_read_kernel(s->frame + data, 48, info);
  if (put_frame(s, data + 48))
    events++;
  else
    state = CAPTURE_ENDED;
  return 0;
}

/* A task that loses the CPU outside a system call: to a page fault that has to wait for the disk, or
 * pushed away. Others may run in the middle of its computation then. */
SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *previous, struct task_struct *next) {
  if (state != CAPTURE_ARMED) return 0;
  struct task_mark *mark = bpf_task_storage_get(&marks, previous, 0, 0);
  if (!mark) return 0;
  if (previous->mm) drain_clocks(mark, 1);
  struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(previous);
  if ((s64)BPF_CORE_READ(regs, orig_ax) >= 0) return 0;
  u32 task_state = previous->__state;
  struct task_mark *other = bpf_task_storage_get(&marks, next, 0, 0);
  if (!(task_state & 3) && !other) return 0; /* stopped, frozen, or pushed away by the host */
  u64 args[EVENT_MAX_ARGS] = {task_state, other ? other->tid : 0, BPF_CORE_READ(regs, ip)};
  put_small(KIND(EVENT_SWITCH, 0), mark->tid, 0, args);
  return 0;
}

/* ---- called by the loader ---- */

SEC("iter/task")
int mark_tasks(struct bpf_iter__task *context) {
  struct task_struct *task = context->task;
  if (!task) return 0;
  u32 inum;
  u32 tid = container_pid(task, &inum);
  if (!tid || inum != pid_namespace_inum) return 0;
  struct task_mark *mark = mark_task(task, tid);
  if (!mark) return 0;
  struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
  u64 call = BPF_CORE_READ(regs, orig_ax);
  mark->in_call = (s64)call >= 0;
  mark->restarts = call;
  /* It was frozen before. Of the calls that are restarted, only poll writes when it ends. */
  if (call == CALL_RESTART && (u64)BPF_CORE_READ(task, restart_block.poll.ufds) == BPF_CORE_READ(regs, di) &&
      BPF_CORE_READ(task, restart_block.poll.nfds) == (int)BPF_CORE_READ(regs, si))
    mark->restarts = CALL_POLL;
  marked_tasks++;
  return 0;
}

SEC("iter/task_file")
int learn_files(struct bpf_iter__task_file *context) {
  struct task_struct *task = context->task;
  struct file *file = context->file;
  if (!task || !file || task->tgid != (int)self_tgid) return 0;
  struct learned_file learned = {.fd = context->fd, .operations = (u64)file->f_op};
  if ((BPF_CORE_READ(file, f_inode, i_mode) & 0170000) == 0140000) {
    struct socket *socket = BPF_CORE_READ(file, private_data);
    learned.socket_operations = (u64)BPF_CORE_READ(socket, ops);
  }
  bpf_seq_write(context->meta->seq, &learned, sizeof(learned));
  return 0;
}

SEC("syscall")
int append(struct append_request *request) {
  u64 args[EVENT_MAX_ARGS] = {request->args[0], request->args[1], request->args[2]};
  put_small(KIND(request->kind, request->number), request->tid, request->result, args);
  if (request->kind == EVENT_PROBLEM) state = CAPTURE_ENDED;
  return 0;
}
