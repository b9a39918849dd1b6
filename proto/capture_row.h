/* What the BPF program needs to know of a syscall: derived from the rows of proto/syscall_table.cc,
 * interpreted by recorder/capture.bpf.c and, for tests, by its twin in user space
 * (proto/capture_plan.h). C, since both sides of the kernel include it. */
#ifndef PROTO_CAPTURE_ROW_H_
#define PROTO_CAPTURE_ROW_H_

#include "proto/event_layout.h"

/* Where the bytes are and how many. `arg` points to them; a null pointer is no output. Logging more
 * than the kernel wrote is harmless (the replica has the same bytes there), less is a defect. */
enum output_kind {
  OUT_NONE = 0,
  OUT_FIXED = 1,         /* `size` bytes */
  OUT_RESULT = 2,        /* as many as the result says, times `size` */
  OUT_RESULT_CAPPED = 3, /* the smaller of the result and args[len_arg] (a result that may exceed
                            the buffer: MSG_TRUNC, getgroups(0)); times `size` */
  OUT_ARG = 4,           /* args[len_arg] times `size` */
  OUT_POINTEE32 = 5,     /* the u32 behind args[len_arg], read after the call, at most `size` */
  OUT_POINTEE64 = 6,     /* the same, a u64 */
  OUT_IOVEC = 7,         /* `arg` is an iovec[args[len_arg]], filled in order up to the result */
  OUT_MSGHDR = 8,        /* a msghdr: its own three output fields, name, control, iovec up to the result */
  OUT_MMSGHDR = 9,       /* result-many of them, with msg_len; args[len_arg] long */
  OUT_FD_SET = 10,       /* args[len_arg] bits, rounded up to 8 bytes */
  OUT_IOCTL = 11,        /* by the command in args[len_arg]: struct capture_command */
  OUT_FCNTL = 12,        /* the same for fcntl */
  OUT_PRCTL = 13,        /* the same for prctl; `arg` is args[1] */
  OUT_IPC = 14,          /* the same for semctl, shmctl, msgctl: args[len_arg] is the command */
  OUT_FUTEX = 15,        /* the words that a futex operation writes */
  OUT_CLONE3 = 16,       /* struct clone_args: pidfd, parent_tid; in the child (result 0): child_tid */
  OUT_PATH = 17,         /* input: a C string, at most `size` bytes */
  OUT_BYTES_IN = 18,     /* input: args[len_arg] bytes, at most `size`; off by default unless `when` is
                            WHEN_ALWAYS (an address) */
  OUT_CLONE = 19,        /* clone: args[2], in the child args[3], as far as the flags in args[0] say */
  OUT_PAGES = 20,        /* one byte for each page that args[len_arg] bytes begin */
  OUT_RESULT_PLUS = 21,  /* as many as the result says and `size` more (msgrcv's type) */
  OUT_SOCKOPT = 22,     /* by level and option (args[1], args[2]): only what is refused */
  OUT_KIND_COUNT
};

/* When they have been written. */
enum output_when {
  WHEN_SUCCESS = 0,     /* result >= 0 */
  WHEN_ALWAYS = 1,      /* also on error, but -EFAULT: select's time-out, a path */
  WHEN_POSITIVE = 2,    /* result > 0 */
  WHEN_INTERRUPTED = 3, /* result is -EINTR or a restart: nanosleep's remaining time */
};

struct capture_output {
  ev_u8 kind;
  ev_u8 arg;
  ev_u8 len_arg;
  ev_u8 when;
  ev_u32 size;
};

#define CAPTURE_MAX_OUTPUTS 5
#define CAPTURE_MAX_SYSCALLS 512
#define CAPTURE_MAX_PATH 256 /* bytes of a path that are logged, its zero included */

/* Flags of a row. */
#define ROW_KNOWN 1      /* zeroed rows are unknown syscalls: they end the recording */
#define ROW_REFUSE 2     /* ends the recording when it succeeds */
#define ROW_SCHEDULING 4 /* changes scheduling or affinity: ends the recording when it succeeds */
#define ROW_NEVER_RETURNS 8 /* exit, exit_group, rt_sigreturn's arguments are of no use */
#define ROW_MAPS 16 /* mmap: no file counts if args[3] has CAPTURE_MAP_ANONYMOUS (the class is FD_NONE) */
#define CAPTURE_MAP_ANONYMOUS 0x20

struct capture_row {
  ev_u8 flags;
  ev_u8 arg_count;
  ev_u8 fd_arg; /* number of the argument whose file decides; 255: none */
  ev_u8 output_count;
  /* Bit per enum fd_class: outputs are not logged, since the replica executes the call on its own
   * copy. */
  ev_u32 own_copy_classes;
  ev_u32 refuse_classes; /* bit per class: success ends the recording */
  ev_u32 refuse_bits; /* success with one of them in args[refuse_arg] ends the recording */
  ev_u8 refuse_arg;
  ev_u8 unused[3];
  struct capture_output outputs[CAPTURE_MAX_OUTPUTS];
};

/* Bytes behind a command's argument; sorted by (kind, command) for nobody: the program hashes. */
struct capture_command {
  ev_u32 kind; /* OUT_IOCTL, OUT_FCNTL, OUT_PRCTL, OUT_IPC, OUT_SOCKOPT */
  ev_u32 command; /* args[len_arg] (OUT_SOCKOPT: the level in the upper half), or-ed with the output's
                     `size`: which of the System V calls; setsockopt or getsockopt */
};
#define COMMAND_REFUSE 0xffffffffu /* instead of a size: ends the recording when it succeeds */
#define COMMAND_IFCONF 0xfffffffeu /* struct ifconf, and the ifc_len bytes behind its pointer */
#define COMMAND_RESULT 0xfffffffdu /* the smaller of the result and args[2] */

#endif /* PROTO_CAPTURE_ROW_H_ */
