#include "recorder/beside_container.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>

namespace migrate {

void RunBesideContainer(int container_cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  const long count = std::min<long>(sysconf(_SC_NPROCESSORS_CONF), CPU_SETSIZE);
  for (int cpu = 0; cpu < count; ++cpu) {
    if (cpu != container_cpu) {
      CPU_SET(cpu, &cpus);
    }
  }
  if (count > 1) {
    sched_setaffinity(0, sizeof(cpus), &cpus);
  }
  struct sched_param priority {.sched_priority = 2};
  sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority);
}

}  // namespace migrate
