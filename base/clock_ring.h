/* Clock readings that are logged without a system call: how they lie in the memory of the process.
 * C, since the BPF program reads it, too.
 *
 * A process that is recorded has a region of CLOCK_REGION_PAGES pages, private memory at an address
 * that the recorder chose: a page of code, to which the entries of its vDSO jump
 * (base/clock_code.h), a page with the header, and the ring. All zero is a valid beginning.
 *
 * Recording: entry number i lies in slot i % CLOCK_RING_ENTRIES. The code writes its `sequence`, the
 * low half of i, last. Number 0 of each round has no entry: that reading is a plain system call, so
 * that whoever drains the ring at every system call of the process loses nothing and the process
 * need not know what was drained. The reader:
 *   - reads entries [drained, head) when a task of the process loses the CPU, execs or ends, and at
 *     the system call that is number 0 of a round; `drained` is kept by the reader, 0 at first. So
 *     readings stand in the log in their own order, but possibly behind events that followed them:
 *     whoever replays looks ahead for those of the process that it lets run;
 *   - skips i % CLOCK_RING_ENTRIES == 0 unless its sequence is i; stops in front of another entry
 *     whose sequence is not i (its task was interrupted while it wrote it: a problem);
 *   - head - drained > CLOCK_RING_ENTRIES: readings were lost, a problem;
 *   - takes no system call for an event whose instruction pointer lies in the vDSO: it was made by
 *     the original code inside a reading, whose entry follows;
 *   - in a child with memory of its own: drained = head, without reading (the child has a copy, the
 *     parent logs); tasks that share memory (threads, vfork) share one ring and one `drained`.
 *
 * Replay: entries are written by the replayer, `limit` is the number of the next one that is not
 * there yet; the code takes the entry `head` and adds 1. When there is none, or it is for another
 * function or clock, the code makes the plain system call, and so does it for number 0 of each round.
 */
#ifndef BASE_CLOCK_RING_H_
#define BASE_CLOCK_RING_H_

#ifdef __bpf__
typedef unsigned short clock_u16;
typedef unsigned int clock_u32;
typedef unsigned long long clock_u64;
#else
#include <stdint.h>
typedef uint16_t clock_u16;
typedef uint32_t clock_u32;
typedef uint64_t clock_u64;
#endif

#define CLOCK_PAGE 4096
#define CLOCK_REGION_PAGES 4
#define CLOCK_HEADER_OFFSET CLOCK_PAGE
#define CLOCK_ENTRIES_OFFSET (2 * CLOCK_PAGE)
#define CLOCK_RING_ENTRIES 256 /* the code compares one byte: not to be changed alone */

enum clock_function {
  CLOCK_FUNCTION_NONE = 0,
  CLOCK_GETTIME = 1,  /* clock: its id; value: seconds, nanoseconds */
  CLOCK_GETTIMEOFDAY = 2, /* value: seconds, microseconds */
  CLOCK_TIME = 3,     /* result: the seconds */
};

struct clock_ring_header {
  clock_u64 head;
  clock_u64 limit; /* replay only */
};

struct clock_ring_entry {
  clock_u32 sequence;
  clock_u16 function;
  clock_u16 clock;
  clock_u64 result; /* of an int function: the low half. Not 0: value has no meaning (but CLOCK_TIME) */
  clock_u64 value[2];
};

#endif /* BASE_CLOCK_RING_H_ */
