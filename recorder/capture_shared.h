/* What recorder/capture.cc and its BPF program agree on besides the frames. */
#ifndef RECORDER_CAPTURE_SHARED_H_
#define RECORDER_CAPTURE_SHARED_H_

#include "base/clock_ring.h"
#include "proto/capture_row.h"

enum capture_state {
  CAPTURE_IDLE = 0,  /* attached, nothing is logged, new tasks are marked */
  CAPTURE_ARMED = 1, /* everything is logged */
  CAPTURE_ENDED = 2, /* a problem ended it; the frame of the problem is the last one */
};

/* Operations of files whose class is not told by their inode; learned by example. */
enum known_file {
  KNOWN_EVENTFD,
  KNOWN_TIMERFD,
  KNOWN_SIGNALFD,
  KNOWN_EPOLL,
  KNOWN_INOTIFY,
  KNOWN_PIDFD,
  KNOWN_SOCKET,
  /* From here on the operations of the socket, not of its file. */
  KNOWN_UNIX_STREAM,
  KNOWN_UNIX_DGRAM,
  KNOWN_UNIX_SEQPACKET,
  KNOWN_FILE_COUNT
};

/* One line of the iterator that learns them. */
struct learned_file {
  ev_u32 fd;
  ev_u32 padding;
  ev_u64 operations;
  ev_u64 socket_operations; /* 0: no socket */
};

/* A file whose other end is outside the container, by inode number. */
struct outside_file {
  ev_u32 is_socket;
  ev_u32 padding;
  ev_u64 inode;
};

/* The argument of the program that logs an event made in user space: TSC readings, marks. */
struct append_request {
  ev_u8 kind;
  ev_u8 arg_count;
  ev_u16 number;
  ev_u32 tid;
  ev_s64 result;
  ev_u64 args[3];
};

/* Where a process keeps its clock readings (base/clock_ring.h); by the tgid, on this host, of the
 * process that made the memory: threads and vfork children share it. */
struct clock_source {
  ev_u64 region;     /* address of its code page */
  ev_u64 vdso;       /* a clock call from there is part of a reading that the ring tells */
  ev_u64 vdso_end;
  ev_u64 drained;    /* readings that have been logged */
};
#define CAPTURE_MAX_CLOCK_SOURCES 16384

#endif /* RECORDER_CAPTURE_SHARED_H_ */
