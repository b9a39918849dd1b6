#include "migrated/foreign_limits.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "base/file_util.h"
#include "base/scope_exit.h"
#include "base/subprocess.h"

namespace migrate {
namespace {

constexpr auto kTrialTimeout = std::chrono::seconds(20);

bool LimitsAreUnreadable(int pid) {
  rlimit limit{};
  return prlimit(pid, RLIMIT_NOFILE, nullptr, &limit) != 0 && errno == EPERM;
}

// $1: CRIU, $2: a directory. Dumps a process of another user, once it is the program that it should
// be; exit code 3: it is not. The quotes are the shell's.
constexpr char kTrial[] = R"sh(
setpriv --reuid=65534 --regid=65534 --clear-groups setsid sleep 60 </dev/null >/dev/null 2>&1 &
victim=$!
trap 'kill -9 $victim' EXIT
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  [ "$(cat /proc/$victim/comm)" = sleep ] && break
  sleep 0.05
done
[ "$(cat /proc/$victim/comm)" = sleep ] || exit 3
prlimit --pid $victim --nofile >/dev/null 2>&1 && exit 0
"$1" dump -t $victim -D "$2" -W "$2" -o dump.log --leave-running --manage-cgroups=ignore
)sh";

}  // namespace

std::vector<int> WithUnreadableLimits(const std::vector<int>& processes) {
  std::vector<int> found;
  for (const int pid : processes) {
    if (LimitsAreUnreadable(pid)) {
      found.push_back(pid);
    }
  }
  return found;
}

Result<> CheckForeignLimits(const std::string& criu_program) {
  char name[] = "/tmp/migrate-criu-trial-XXXXXX";
  if (mkdtemp(name) == nullptr) {
    return ErrnoError("mkdtemp");
  }
  const ScopeExit remove([&] {
    std::error_code ignored;
    std::filesystem::remove_all(name, ignored);
  });
  const SubprocessOutcome outcome = TRY(RunSubprocess(
      {.argv = {"sh", "-c", kTrial, "sh", criu_program, name}, .timeout = kTrialTimeout}));
  const auto log = ReadSmallFile(std::filesystem::path(name) / "dump.log");
  // Another failure says nothing about this; the dump itself will say more.
  if (outcome.ok() || !log || log->find("Can't get rlimit") == std::string::npos) {
    return {};
  }
  return MakeError(ErrorCode::kFailedPrecondition,
                   "CRIU cannot read the limits of processes of other users than root: root has no "
                   "CAP_SYS_RESOURCE here",
                   "NO_CAP_SYS_RESOURCE");
}

}  // namespace migrate
