/* Preloaded into CRIU on a machine whose root lacks CAP_SYS_RESOURCE, as some sandboxes and virtual machines have it: there
 * prlimit() refuses to read the limits of a process of another user, so that nothing that dropped root can be dumped.
 * /proc/PID/limits says the same to anybody. Only reading is replaced, and only when it was refused. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* In the order of RLIMIT_*, as the file has them. */
static const char* const names[] = {
    "Max cpu time",       "Max file size",     "Max data size",         "Max stack size",
    "Max core file size", "Max resident set",  "Max processes",         "Max open files",
    "Max locked memory",  "Max address space", "Max file locks",        "Max pending signals",
    "Max msgqueue size",  "Max nice priority", "Max realtime priority", "Max realtime timeout",
};

static rlim64_t parse(const char* text) { return strcmp(text, "unlimited") == 0 ? RLIM64_INFINITY : strtoull(text, NULL, 10); }

static int read_limit(pid_t pid, unsigned resource, struct rlimit64* limit) {
  char line[256], soft[32], hard[32];
  int found = 0;
  snprintf(line, sizeof line, "/proc/%d/limits", pid);
  FILE* file = resource < sizeof names / sizeof *names ? fopen(line, "re") : NULL;
  if (!file) return 0;
  while (!found && fgets(line, sizeof line, file)) {
    size_t length = strlen(names[resource]);
    if (strncmp(line, names[resource], length) == 0 && sscanf(line + length, "%31s %31s", soft, hard) == 2) {
      limit->rlim_cur = parse(soft);
      limit->rlim_max = parse(hard);
      found = 1;
    }
  }
  fclose(file);
  return found;
}

typedef long Syscall(long, long, long, long, long, long, long);

/* CRIU calls it this way. */
long syscall(long number, ...) {
  static Syscall* real;
  long a[6];
  va_list args;
  va_start(args, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(args, long);
  va_end(args);
  if (!real) real = (Syscall*)dlsym(RTLD_NEXT, "syscall");
  long result = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  if (number == SYS_prlimit64 && result != 0 && errno == EPERM && !a[2] && a[3]) {
    if (read_limit((pid_t)a[0], (unsigned)a[1], (struct rlimit64*)a[3])) return 0;
    errno = EPERM;
  }
  return result;
}
