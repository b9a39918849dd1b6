/* capget and capset: what the process may do, given up by a child; ambient and bounding sets. */
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "probe.h"

static int give_up(void* argument) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  (void)argument;
  OK(syscall(SYS_capget, &header, data));
  data[0].effective &= ~(1u << CAP_CHOWN);
  data[0].permitted &= ~(1u << CAP_CHOWN);
  OK(syscall(SYS_capset, &header, data));
  OK(syscall(SYS_capget, &header, data));
  CHECK_EQ(data[0].effective & (1u << CAP_CHOWN), 0);
  data[0].effective |= 1u << CAP_CHOWN;
  FAILS(syscall(SYS_capset, &header, data), EPERM);
  FAILS(chown(probe.dir, 12345, 12345), EPERM);
  CHECK_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0), 0);
  return 27;
}

static void setup(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  OK(syscall(SYS_capget, &header, data));
  if (!(data[0].effective & (1u << CAP_CHOWN))) skip("needs CAP_CHOWN");
}

static void each(unsigned round) {
  struct __user_cap_header_struct header = {0x1234, 0};
  struct __user_cap_data_struct data[2] = {{0}};
  FAILS(syscall(SYS_capget, &header, data), EINVAL);
  CHECK_EQ(header.version, _LINUX_CAPABILITY_VERSION_3); /* what it would take */
  OK(syscall(SYS_capget, &header, data));
  note(data, sizeof data);
  reap(start_child(give_up, NULL), 27);
  mix_number(round);
}

PROBE(.setup = setup, .round = each)
