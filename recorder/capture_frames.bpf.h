/* What the parts of the recording program share: settings, state, maps, the event in the making, and
 * handing frames to the ring. Part of capture.bpf.c. */
#ifndef RECORDER_CAPTURE_FRAMES_BPF_H_
#define RECORDER_CAPTURE_FRAMES_BPF_H_

#include "recorder/kernel_types.bpf.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "recorder/capture_shared.h"

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

#endif /* RECORDER_CAPTURE_FRAMES_BPF_H_ */
