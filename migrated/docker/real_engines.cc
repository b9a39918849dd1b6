#include "migrated/docker/real_engines.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/check.h"
#include "base/netns.h"
#include "base/subprocess.h"

namespace migrate::testing {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

std::string Shell(const std::string& script) {
  SubprocessOptions options;
  options.argv = {"bash", "-ec", script};
  const auto outcome = RunSubprocess(options).value();
  if (!outcome.ok()) {
    std::fprintf(stderr, "failed: %s\n%s\n", script.c_str(), outcome.stderr_text.c_str());
  }
  CHECK(outcome.ok());
  return outcome.stdout_text;
}

}  // namespace

RealEngine::RealEngine(const std::string& dockerd, bool with_runtime) {
  char directory[] = "/tmp/migrate-engine-XXXXXX";
  CHECK(::mkdtemp(directory) != nullptr);
  directory_ = directory;
  const std::string d = directory_;
  const std::string runc = Shell("command -v runc | tr -d '\\n'");
  // unshare, not `ip netns exec`: the latter hides the cgroups from dockerd.
  const std::string script = "ip link set lo up && exec " + dockerd + " --data-root " + d +
                             "/data --exec-root " + d + "/exec -H unix://" + d +
                             "/docker.sock --pidfile " + d + "/pid --log-level warn" +
                             (with_runtime ? " --add-runtime migrate=" + runc : "");
  pid_ = ::fork();
  CHECK(pid_ >= 0);
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    const int log = ::open((d + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(log, 1);
    ::dup2(log, 2);
    ::setsid();
    ::execlp("unshare", "unshare", "-n", "-m", "--propagation", "slave", "bash", "-c",
             script.c_str(), nullptr);
    ::_exit(127);
  }
  client_ = std::make_unique<DockerClient>(d + "/docker.sock");
  for (int i = 0; i < 300 && !client_->Ping(); ++i) {
    std::this_thread::sleep_for(100ms);
  }
  netns_ = OpenNetns(pid_).value();
}

RealEngine::~RealEngine() {
  if (auto containers = client_->ListContainers(true)) {
    for (const ContainerSummary& container : *containers) {
      static_cast<void>(client_->RemoveContainer(container.id, true, true));
    }
  }
  ::kill(pid_, SIGTERM);
  int status = 0;
  for (int i = 0; i < 300 && ::waitpid(pid_, &status, WNOHANG) == 0; ++i) {
    std::this_thread::sleep_for(100ms);
    if (i == 250) {
      ::kill(pid_, SIGKILL);
    }
  }
  std::error_code error;
  fs::remove_all(directory_, error);
}

std::string RealEngine::TryDocker(const std::vector<std::string>& args) {
  SubprocessOptions options;
  options.argv = {"docker", "-H", "unix://" + directory_ + "/docker.sock"};
  options.argv.insert(options.argv.end(), args.begin(), args.end());
  const auto outcome = RunSubprocess(options).value();
  std::string text = outcome.stdout_text + outcome.stderr_text;
  if (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  return text;
}

std::string RealEngine::Docker(const std::vector<std::string>& args) {
  SubprocessOptions options;
  options.argv = {"docker", "-H", "unix://" + directory_ + "/docker.sock"};
  options.argv.insert(options.argv.end(), args.begin(), args.end());
  auto outcome = RunSubprocess(options).value();
  if (!outcome.ok()) {
    std::fprintf(stderr, "docker %s: %s\n", args[0].c_str(), outcome.stderr_text.c_str());
  }
  CHECK(outcome.ok());
  std::string text = outcome.stdout_text;
  if (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  return text;
}

std::string RealEngine::Inspect(const std::string& what, const std::string& format) {
  return Docker({"inspect", "-f", format, what});
}

void RealEngine::ImportBase(const std::string& tag) {
  // A shell, a few programs, and the libraries that they name.
  Shell(
      "r=$(mktemp -d); trap 'rm -rf $r' EXIT; mkdir -p $r/bin $r/data $r/tmp; echo seed > "
      "$r/data/seed; head -c 300000 /dev/urandom > $r/ballast;"
      "for p in sh sleep cat ls; do f=$(command -v $p); cp -L $f $r/bin/;"
      "  ldd $f | grep -oE '/[^ ]+' | while read l; do mkdir -p $r$(dirname $l); cp -nL $l $r$l; "
      "done; done; tar c -C $r . | docker -H unix://" +
      directory_ + "/docker.sock import -c 'CMD [\"/bin/sleep\",\"1000\"]' - " + tag);
}

}  // namespace migrate::testing
