/* uname, sysinfo, sysconf, host name, load, boot id: facts about the machine, which differ from host to host. */
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "probe.h"

static void each(unsigned round) {
  struct utsname names;
  struct sysinfo info;
  char host[256], boot[64];
  double load[3];
  OK(uname(&names));
  CHECK(strcmp(names.sysname, "Linux") == 0 && strcmp(names.machine, "x86_64") == 0);
  note(&names, sizeof names);
  OK(sysinfo(&info));
  CHECK(info.totalram > 0 && info.procs > 0);
  note(&info, sizeof info);
  OK(gethostname(host, sizeof host));
  CHECK(strcmp(host, names.nodename) == 0);
  note_number(OK(sysconf(_SC_NPROCESSORS_ONLN)));
  note_number(OK(sysconf(_SC_PHYS_PAGES)));
  note_number(OK(get_nprocs_conf()));
  if (getloadavg(load, 3) == 3) note(load, sizeof load);
  read_text("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
  note(boot, strlen(boot));
  mix_number(round);
}

PROBE(.round = each)
