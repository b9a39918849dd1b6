#include "recorder/starvation.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/cgroup.h"
#include "base/file_util.h"
#include "base/stop_wait.h"
#include "recorder/beside_container.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// What /proc/TID tells at one moment.
struct Sample {
  bool runnable = false;
  std::uint64_t run = 0;     // ns on a CPU
  std::uint64_t slices = 0;  // times put on a CPU
};

// CPU time of a cgroup: v1 cpuacct.usage is a number of nanoseconds, v2 cpu.stat begins with a
// number of microseconds.
class CpuUsage {
 public:
  static CpuUsage Of(int pid, const std::string& container_id) {
    CpuUsage usage;
    for (const auto& [controller, file] :
         {std::pair{"cpuacct", "cpuacct.usage"}, std::pair{"cpu", "cpu.stat"}}) {
      const auto cgroup = FindControllerCgroup(pid, controller, container_id, file);
      auto fd = cgroup && *cgroup ? OpenFile(**cgroup / file, O_RDONLY) : Result<OwnedFd>();
      if (fd && *fd) {
        usage.fd_ = std::move(*fd);
        break;
      }
    }
    return usage;
  }

  std::optional<nanoseconds> Read() const {
    std::array<char, 64> buffer{};
    const auto size = pread(fd_.get(), buffer.data(), buffer.size(), 0);
    std::string_view text(buffer.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
    constexpr std::string_view kMicroseconds = "usage_usec ";
    const bool is_v2 = text.starts_with(kMicroseconds);
    text.remove_prefix(is_v2 ? kMicroseconds.size() : 0);
    std::int64_t number = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc()) {
      return std::nullopt;
    }
    return nanoseconds(is_v2 ? number * 1000 : number);
  }

 private:
  OwnedFd fd_;
};

std::optional<Sample> ReadSample(int tid) {
  const std::string directory = "/proc/" + std::to_string(tid) + "/";
  const auto stat = ReadSmallFile(directory + "stat");
  const auto schedule = ReadSmallFile(directory + "schedstat");
  if (!stat || !schedule) {
    return std::nullopt;
  }
  const auto bracket = stat->rfind(") ");
  Sample sample;
  sample.runnable = bracket != std::string::npos && (*stat)[bracket + 2] == 'R';
  unsigned long long run = 0, delay = 0, slices = 0;
  if (sscanf(schedule->c_str(), "%llu %llu %llu", &run, &delay, &slices) != 3) {
    return std::nullopt;
  }
  sample.run = run;
  sample.slices = slices;
  return sample;
}

using Samples = std::map<int, Sample>;  // runnable tasks only

Samples ReadSamples(const fs::path& cgroup) {
  Samples samples;
  const auto tids = CgroupTasks(cgroup);
  for (const int tid : tids.value_or(std::vector<int>())) {
    if (const auto sample = ReadSample(tid); sample && sample->runnable) {
      samples[tid] = *sample;
    }
  }
  return samples;
}

// A stretch of time in which one task was on the CPU and another one ready for it, all the time.
class Stretch {
 public:
  // A task was on the CPU all the time if it ran and was not put there anew; it waited all the time
  // if it was ready and was not put there.
  std::optional<Starvation> Add(const Samples& samples, Clock::time_point now) {
    int spinner = 0, waiter = 0;
    for (auto it = first_.begin(); it != first_.end();) {
      const auto current = samples.find(it->first);
      if (current == samples.end() || current->second.slices != it->second.slices) {
        it = first_.erase(it);
        continue;
      }
      (current->second.run > it->second.run ? spinner : waiter) = it->first;
      ++it;
    }
    if (spinner == 0 || waiter == 0) {
      first_ = samples;
      since_ = now;
      return std::nullopt;
    }
    return Starvation{spinner, waiter, std::chrono::duration_cast<milliseconds>(now - since_)};
  }
  void Clear() { first_.clear(); }
  bool active() const { return first_.size() > 1; }

 private:
  Samples first_;
  Clock::time_point since_;
};

}  // namespace

struct StarvationWatchdog::Impl {
  StarvationOptions options;
  CpuUsage usage;
  Stretch spin;      // without an event
  Stretch monopoly;  // whatever the events
  std::set<int> told;
  std::jthread thread;  // last: ends before the rest goes

  void Run(const std::stop_token& stop);
  bool IsBusy();
  void Tell(std::optional<Starvation> found, milliseconds limit, bool without_syscalls);

  // The kernel accounts a running task by ticks of up to 10 ms, so that single polls tell nothing.
  std::array<nanoseconds, 4> recent_usage{};
  std::size_t polls = 0;
};

// A task that spins uses all of the time. Without accounting: always.
bool StarvationWatchdog::Impl::IsBusy() {
  const auto used = usage.Read();
  auto& slot = recent_usage[polls++ % recent_usage.size()];
  const bool busy = !used || *used - slot > limits::kStarvationPoll;
  slot = used.value_or(nanoseconds(0));
  return busy && polls > recent_usage.size();
}

void StarvationWatchdog::Impl::Tell(std::optional<Starvation> found, milliseconds limit,
                                    bool without_syscalls) {
  if (found && found->waited >= limit && told.insert(found->spinner).second) {
    found->without_syscalls = without_syscalls;
    options.on_starved(*found);
  }
}

void StarvationWatchdog::Impl::Run(const std::stop_token& stop) {
  RunBesideContainer(options.cpu);
  std::uint64_t last_progress = options.progress();
  auto last_look = Clock::now();
  Clock::duration look{};  // took the last one
  while (!WaitForStop(stop, limits::kStarvationPoll)) {
    const std::uint64_t progress = options.progress();
    const bool event_seen = std::exchange(last_progress, progress) != progress;
    const bool busy = IsBusy();
    const auto now = Clock::now();
    if (event_seen) {
      spin.Clear();
    } else if (busy || spin.active()) {
      Tell(spin.Add(ReadSamples(options.freezer_cgroup), now), options.limit, true);
    }
    // A look at many tasks takes long, and a busy container is looked at all the time.
    if (event_seen && busy &&
        now - last_look > std::max<Clock::duration>(limits::kTurn / 2, look * 20)) {
      const auto found = monopoly.Add(ReadSamples(options.freezer_cgroup), now);
      last_look = Clock::now();
      look = last_look - now;
      if (found && found->waited >= limits::kTurn && options.on_turn_over) {
        options.on_turn_over(found->spinner);
      }
      Tell(found, options.monopoly_limit, false);
    }
  }
}

StarvationWatchdog::StarvationWatchdog(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StarvationWatchdog::~StarvationWatchdog() = default;

Result<std::unique_ptr<StarvationWatchdog>> StarvationWatchdog::Start(StarvationOptions options) {
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  impl->usage = CpuUsage::Of(impl->options.init_pid, impl->options.container_id);
  auto* raw = impl.get();
  impl->thread = std::jthread([raw](const std::stop_token& stop) { raw->Run(stop); });
  return std::unique_ptr<StarvationWatchdog>(new StarvationWatchdog(std::move(impl)));
}

}  // namespace migrate
