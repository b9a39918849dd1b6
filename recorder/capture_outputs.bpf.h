/* Which bytes of a task belong to the event of its system call: the interpreter of struct
 * capture_row. Its twin in user space is proto/capture_plan.cc. Part of capture.bpf.c. */
#ifndef RECORDER_CAPTURE_OUTPUTS_BPF_H_
#define RECORDER_CAPTURE_OUTPUTS_BPF_H_

#include "recorder/capture_frames.bpf.h"

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

#endif /* RECORDER_CAPTURE_OUTPUTS_BPF_H_ */
