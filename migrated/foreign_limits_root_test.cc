#include "migrated/foreign_limits.h"

#include <grp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace migrate {
namespace {

// A child of another user that waits for its end.
class Foreigner {
 public:
  Foreigner() {
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    pid_ = fork();
    if (pid_ == 0) {
      const bool dropped = setgroups(0, nullptr) == 0 && setgid(65534) == 0 && setuid(65534) == 0;
      (void)!write(ready[1], dropped ? "1" : "0", 1);
      pause();
      _exit(0);
    }
    char said = 0;
    EXPECT_EQ(read(ready[0], &said, 1), 1);
    EXPECT_EQ(said, '1');
    close(ready[0]);
    close(ready[1]);
  }
  ~Foreigner() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  int pid() const { return pid_; }

 private:
  int pid_ = -1;
};

bool MayReadLimits() {
  const Foreigner foreigner;
  return WithUnreadableLimits({foreigner.pid()}).empty();
}

// Stands for CRIU; dumps nothing, and says in its log what it is told to.
class ForeignLimits : public testing::Test {
 protected:
  std::string Criu(const std::string& log, int exit_code) {
    const auto path = directory_ / "criu";
    std::ofstream(path) << "#!/bin/sh\ntouch " << (directory_ / "called").string()
                        << "\nwhile [ \"$1\" != -D ]; do shift; done\necho \"" << log
                        << "\" >$2/dump.log\nexit " << exit_code << "\n";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path;
  }
  bool called() const { return std::filesystem::exists(directory_ / "called"); }

  void SetUp() override {
    char name[] = "/tmp/foreign-limits-test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

 private:
  std::filesystem::path directory_;
};

TEST_F(ForeignLimits, OwnProcessesAreReadable) {
  EXPECT_TRUE(WithUnreadableLimits({getpid()}).empty());
}

TEST_F(ForeignLimits, CriuThatCannotReadThemIsNamed) {
  const auto checked =
      CheckForeignLimits(Criu("Error (criu/cr-dump.c:389): Can't get rlimit 0: no", 1));
  if (MayReadLimits()) {
    EXPECT_TRUE(checked.has_value());
    EXPECT_FALSE(called());  // nothing to try
    return;
  }
  ASSERT_FALSE(checked.has_value());
  EXPECT_EQ(checked.error().reason, "NO_CAP_SYS_RESOURCE");
}

TEST_F(ForeignLimits, CriuThatDumpsIsGoodEnough) {
  EXPECT_TRUE(CheckForeignLimits(Criu("Dumping finished successfully", 0)).has_value());
}

TEST_F(ForeignLimits, OtherFailuresAreNotItsBusiness) {
  EXPECT_TRUE(
      CheckForeignLimits(Criu("rlimit: Can't setup RLIMIT_NOFILE for self; Dumping FAILED", 1))
          .has_value());
}

}  // namespace
}  // namespace migrate
