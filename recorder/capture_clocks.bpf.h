/* Clock readings that come without a system call (base/clock_ring.h). Part of capture.bpf.c. */
#ifndef RECORDER_CAPTURE_CLOCKS_BPF_H_
#define RECORDER_CAPTURE_CLOCKS_BPF_H_

#include "recorder/capture_frames.bpf.h"

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

/* Logs what the current task's process has read since the last time. Readings are logged in the order
 * in which they were made, but may come later than other events of the process: at the latest when
 * one of its tasks gives up the CPU, its memory goes, or its ring begins a new round. */
static __always_inline struct clock_source *drain_clocks(struct task_mark *mark) {
  u32 key = mark->clock_key;
  struct clock_source *source = bpf_map_lookup_elem(&clocks, &key);
  u64 head = 0;
  if (!source) return 0;
  if (bpf_probe_read_user(&head, sizeof(head), (void *)(source->region + CLOCK_HEADER_OFFSET)))
    return source;
  if (head != source->drained) put_clocks(mark->tid, source, head);
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

#endif /* RECORDER_CAPTURE_CLOCKS_BPF_H_ */
