// For tests: a process that holds something.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <functional>

namespace migrate {

// A child that does something and then waits to be killed.
class Child {
 public:
  explicit Child(const std::function<bool()>& act) {
    std::array<int, 2> ready{};
    EXPECT_EQ(pipe(ready.data()), 0);
    pid_ = fork();
    if (pid_ == 0) {
      const char answer = act() ? 'y' : 'n';
      if (write(ready[1], &answer, 1) == 1) {
        for (;;) {
          pause();
        }
      }
      _exit(1);
    }
    close(ready[1]);
    char answer = 'n';
    able_ = read(ready[0], &answer, 1) == 1 && answer == 'y';
    close(ready[0]);
  }
  ~Child() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  pid_t pid() const { return pid_; }
  bool able() const { return able_; }  // false: this kernel refused the call

 private:
  pid_t pid_ = -1;
  bool able_ = false;
};

}  // namespace migrate
