// For threads that watch a recorded container: they run on other CPUs than it, if there are any, and
// before it (its tasks have SCHED_FIFO 1), so that what they do is not put off by what they watch.
#pragma once

namespace migrate {

// Of the calling thread; without the right to it the thread stays as it is.
void RunBesideContainer(int container_cpu);

}  // namespace migrate
