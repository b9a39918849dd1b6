/* The few fields of kernel structures that capture.bpf.c reads. CO-RE: only the names count, libbpf
 * finds the offsets of the running kernel in its BTF when the program is loaded. So no vmlinux.h of
 * the build machine is needed. */
#ifndef RECORDER_KERNEL_TYPES_BPF_H_
#define RECORDER_KERNEL_TYPES_BPF_H_

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;

enum bpf_map_type {
  BPF_MAP_TYPE_HASH = 1,
  BPF_MAP_TYPE_ARRAY = 2,
  BPF_MAP_TYPE_PERCPU_ARRAY = 6,
  BPF_MAP_TYPE_RINGBUF = 27,
  BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum { BPF_F_NO_PREALLOC = 1 };
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pt_regs {
  unsigned long r10, r9, r8, ax, cx, dx, si, di;
  unsigned long orig_ax, ip, sp;
};

struct ns_common {
  unsigned int inum;
};
struct pid_namespace {
  struct ns_common ns;
};
struct upid {
  int nr;
  struct pid_namespace *ns;
};
struct pid {
  unsigned int level;
  struct upid numbers[1];
};

struct super_block {
  unsigned long s_magic;
};
struct inode {
  unsigned short i_mode;
  unsigned int i_rdev;
  unsigned long i_ino;
  struct super_block *i_sb;
};
struct file_operations {
  void *owner;
};
struct file {
  const struct file_operations *f_op;
  struct inode *f_inode;
  void *private_data;
};
struct fdtable {
  unsigned int max_fds;
  struct file **fd;
};
struct files_struct {
  struct fdtable *fdt;
};

struct sock_common {
  unsigned short skc_family;
};
struct sock {
  struct sock_common __sk_common;
};
struct proto_ops;
struct socket {
  struct sock *sk;
  const struct proto_ops *ops;
};

struct thread_info {
  u32 status;
};
typedef struct {
  int counter;
} atomic_t;
struct signal_struct {
  atomic_t live;
};
struct mm_struct;
struct restart_block {
  struct {
    struct pollfd *ufds;
    int nfds;
  } poll;
};
struct task_struct {
  struct restart_block restart_block;
  struct thread_info thread_info;
  struct mm_struct *mm;
  struct signal_struct *signal;
  unsigned int __state;
  unsigned int flags;
  int pid;
  int tgid;
  int exit_code;
  struct pid *thread_pid;
  struct task_struct *group_leader;
  struct files_struct *files;
};

struct linux_binprm {
  const char *filename;
};
struct kernel_siginfo {
  int si_signo;
  int si_errno;
  int si_code;
};
struct sigaction {
  void *sa_handler;
  unsigned long sa_flags;
};
struct k_sigaction {
  struct sigaction sa;
};

struct seq_file;
struct bpf_iter_meta {
  struct seq_file *seq;
  u64 session_id;
  u64 seq_num;
};
struct bpf_iter__task {
  struct bpf_iter_meta *meta;
  struct task_struct *task;
};
struct bpf_iter__task_file {
  struct bpf_iter_meta *meta;
  struct task_struct *task;
  u32 fd;
  struct file *file;
};

#pragma clang attribute pop

/* User space. */
struct user_iovec {
  u64 base;
  u64 length;
};
struct user_msghdr {
  u64 name;
  u32 name_length;
  u32 padding;
  u64 iov;
  u64 iov_length;
  u64 control;
  u64 control_length;
  u32 flags;
  u32 padding2;
};
struct user_mmsghdr {
  struct user_msghdr header;
  u32 length;
  u32 padding;
};
struct user_ifconf {
  u32 length;
  u32 padding;
  u64 buffer;
};
struct user_clone_args {
  u64 flags, pidfd, child_tid, parent_tid;
};

#endif /* RECORDER_KERNEL_TYPES_BPF_H_ */
