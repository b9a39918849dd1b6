/* Capture: every input of the tasks of one container, as frames of proto/event_layout.h in one ring.
 *
 * A system call is logged when it returns. Its arguments are still in the registers then (x86-64),
 * so entering one costs nothing. What it wrote is told by its row (proto/capture_row.h); there is no
 * code for single calls beyond the kinds of output. The container runs on one CPU without
 * preemption, so the order of the frames is the order in which its tasks ran.
 *
 * What cannot be logged ends the recording with a frame that says so: never a gap.
 */
#include "recorder/capture_clocks.bpf.h"
#include "recorder/capture_files.bpf.h"
#include "recorder/capture_frames.bpf.h"
#include "recorder/capture_outputs.bpf.h"

char LICENSE[] SEC("license") = "GPL";

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
  if (is_clock_call(number)) {
    /* It may be the one that begins a new round: the ring must be empty then. */
    struct clock_source *source = drain_clocks(mark);
    if (source && regs->ip >= source->vdso && regs->ip < source->vdso_end) return 0;
  }
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
  struct clock_source *source = drain_clocks(parent_mark);
  if (source && !(clone_flags & CLONE_VM)) fork_clocks(mark, source);
  u64 args[EVENT_MAX_ARGS] = {tid, (clone_flags & CLONE_THREAD) ? parent_mark->tgid : tid, clone_flags};
  put_small(KIND(EVENT_TASK_NEW, 0), parent_tid, 0, args);
  return 0;
}

/* The memory of these callers is about to go, and what they have read with it. */
static __always_inline int drain_before_the_end(void) {
  struct task_mark *mark = bpf_task_storage_get(&marks, bpf_get_current_task_btf(), 0, 0);
  if (mark && state == CAPTURE_ARMED) drain_clocks(mark);
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
  if (task->mm && state == CAPTURE_ARMED) drain_clocks(mark); /* Linux 6.16: it still has its memory */
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
  drain_clocks(mark);
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
  if (previous->mm) drain_clocks(mark);
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
