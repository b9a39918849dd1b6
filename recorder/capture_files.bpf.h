/* What is behind a descriptor: its enum fd_class, from the file. Part of capture.bpf.c. */
#ifndef RECORDER_CAPTURE_FILES_BPF_H_
#define RECORDER_CAPTURE_FILES_BPF_H_

#include "recorder/capture_frames.bpf.h"

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

#endif /* RECORDER_CAPTURE_FILES_BPF_H_ */
