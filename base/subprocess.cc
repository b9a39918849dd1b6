#include "base/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <map>

#include "base/limits.h"

extern char** environ;

namespace migrate {
namespace {

struct Pipe {
  OwnedFd read;
  OwnedFd write;
};

Result<Pipe> MakePipe() {
  std::array<int, 2> fds{};
  if (pipe2(fds.data(), O_CLOEXEC) != 0) {
    return ErrnoError("pipe2");
  }
  return Pipe{OwnedFd(fds[0]), OwnedFd(fds[1])};
}

std::vector<std::string> MergedEnvironment(const SubprocessOptions& options) {
  std::map<std::string, std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const auto equals = text.find('=');
    if (equals != std::string::npos) {
      merged[text.substr(0, equals)] = text.substr(equals + 1);
    }
  }
  for (const auto& [key, value] : options.env) {
    merged[key] = value;
  }
  std::vector<std::string> environment;
  environment.reserve(merged.size());
  for (const auto& [key, value] : merged) {
    environment.push_back(key + "=" + value);
  }
  return environment;
}

// PATH is searched in the parent, with the child's PATH: execvpe in a forked child of a threaded
// program may not allocate.
std::string FindProgram(const std::string& name, const std::vector<std::string>& environment) {
  if (name.find('/') != std::string::npos) {
    return name;
  }
  std::string path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (const std::string& entry : environment) {
    if (entry.starts_with("PATH=")) {
      path = entry.substr(5);
    }
  }
  for (std::size_t begin = 0; begin <= path.size();) {
    auto end = path.find(':', begin);
    if (end == std::string::npos) {
      end = path.size();
    }
    std::string candidate = path.substr(begin, end - begin) + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
    begin = end + 1;
  }
  return {};
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& text : strings) {
    pointers.push_back(text.data());
  }
  pointers.push_back(nullptr);
  return pointers;
}

// Between fork and exec: async-signal-safe calls only.
[[noreturn]] void ExecChild(const char* program, char** argv, char** envp, const char* directory,
                            const std::vector<std::pair<FdRef, int>>& inherit, int stdout_fd,
                            int stderr_fd, int error_fd) {
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  const int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  bool ok =
      null_fd >= 0 && dup2(null_fd, 0) >= 0 && dup2(stdout_fd, 1) >= 0 && dup2(stderr_fd, 2) >= 0;
  for (const auto& [fd, number] : inherit) {
    if (fd.get() == number) {
      ok = ok && fcntl(number, F_SETFD, 0) == 0;
    } else {
      ok = ok && dup2(fd.get(), number) >= 0;
    }
  }
  if (ok && (*directory == '\0' || chdir(directory) == 0)) {
    execve(program, argv, envp);
  }
  const int error_number = errno;
  [[maybe_unused]] const auto written = write(error_fd, &error_number, sizeof error_number);
  _exit(127);
}

void AppendBounded(std::string& text, const char* data, std::size_t size) {
  const std::size_t room = limits::kSubprocessMaxOutputBytes - text.size();
  text.append(data, std::min(size, room));
}

// Reads both pipes until end of file or the deadline; false at the deadline.
bool Collect(const Pipe& out, const Pipe& err, std::chrono::steady_clock::time_point deadline,
             SubprocessOutcome& outcome) {
  std::array<pollfd, 2> polls{pollfd{out.read.get(), POLLIN, 0}, pollfd{err.read.get(), POLLIN, 0}};
  std::array<std::string*, 2> texts{&outcome.stdout_text, &outcome.stderr_text};
  std::array<char, 16384> buffer{};
  while (polls[0].fd >= 0 || polls[1].fd >= 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      return false;
    }
    if (poll(polls.data(), polls.size(), static_cast<int>(left.count())) < 0 && errno != EINTR) {
      return false;
    }
    for (std::size_t i = 0; i < polls.size(); ++i) {
      if (polls[i].fd < 0 || polls[i].revents == 0) {
        continue;
      }
      const auto count = read(polls[i].fd, buffer.data(), buffer.size());
      if (count > 0) {
        AppendBounded(*texts[i], buffer.data(), static_cast<std::size_t>(count));
      } else if (count == 0 || errno != EINTR) {
        polls[i].fd = -1;
      }
    }
  }
  return true;
}

}  // namespace

Result<SubprocessOutcome> RunSubprocess(const SubprocessOptions& options) {
  std::vector<std::string> argv = options.argv;
  std::vector<std::string> environment = MergedEnvironment(options);
  const std::string program = FindProgram(argv.at(0), environment);
  if (program.empty()) {
    return MakeError(ErrorCode::kNotFound, argv[0] + ": not found in PATH");
  }
  Pipe out = TRY(MakePipe());
  Pipe err = TRY(MakePipe());
  Pipe exec_error = TRY(MakePipe());
  auto argv_pointers = Pointers(argv);
  auto environment_pointers = Pointers(environment);
  const auto deadline = std::chrono::steady_clock::now() + options.timeout;

  const pid_t pid = fork();
  if (pid < 0) {
    return ErrnoError("fork");
  }
  if (pid == 0) {
    ExecChild(program.c_str(), argv_pointers.data(), environment_pointers.data(),
              options.working_directory.c_str(), options.inherit, out.write.get(), err.write.get(),
              exec_error.write.get());
  }
  out.write.reset();
  err.write.reset();
  exec_error.write.reset();

  SubprocessOutcome outcome;
  if (!Collect(out, err, deadline, outcome)) {
    outcome.timed_out = true;
    kill(-pid, SIGKILL);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  int exec_errno = 0;
  if (read(exec_error.read.get(), &exec_errno, sizeof exec_errno) ==
      static_cast<ssize_t>(sizeof exec_errno)) {
    return ErrnoError("start " + program, exec_errno);
  }
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

}  // namespace migrate
