/* procfs: stat, status, maps, statm, limits, cmdline, mounts, meminfo, loadavg, uptime, cpuinfo. */
#include "probe.h"

static int stat_fd;

static void setup(void) { stat_fd = OK(open("/proc/self/stat", O_RDONLY)); }

static void each(unsigned round) {
  static char text[1 << 20];
  static const char* const kFiles[] = {"self/status",  "self/maps", "self/statm", "self/limits",
                                       "self/cmdline", "mounts",    "meminfo",    "loadavg",
                                       "uptime",       "cpuinfo",   "version",    "sys/kernel/pid_max"};
  for (unsigned i = 0; i < sizeof kFiles / sizeof *kFiles; i++) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%s", kFiles[i]);
    size_t length = read_text(name, text, sizeof text);
    CHECK(length > 0);
    note(text, length);
  }
  ssize_t n = OK(pread(stat_fd, text, sizeof text - 1, 0));
  text[n] = 0;
  CHECK_EQ(atoi(text), getpid());
  note(text, n);
  read_text("/proc/self/maps", text, sizeof text);
  CHECK(strstr(text, "[stack]") && strstr(text, "[vdso]"));
  read_text("/proc/self/comm", text, sizeof text);
  CHECK(strncmp(text, program_invocation_short_name, strlen(text) - 1) == 0);
  FAILS(open("/proc/self/none", O_RDONLY), ENOENT);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
