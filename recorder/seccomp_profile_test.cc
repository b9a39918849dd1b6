#include "recorder/seccomp_profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf_common.h>
#include <linux/filter.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/owned_fd.h"
#include "proto/syscall_table.h"

namespace migrate {
namespace {

using Json = nlohmann::json;
using ::testing::Contains;
using ::testing::Each;
using ::testing::IsSubsetOf;
using ::testing::Not;

using Capabilities = std::set<std::string>;

// What Docker gives to a container that asks for nothing.
const Capabilities kUsual{
    "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
    "CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
    "CAP_KILL",    "CAP_AUDIT_WRITE"};

Json Profile() {
  const auto text = SeccompProfile();
  EXPECT_TRUE(text) << text.error().message;
  return Json::parse(text.value_or("{}"));
}

// As Docker decides it: every included capability, no excluded one.
bool Applies(const Json& rule, const Capabilities& capabilities) {
  const auto has = [&](const Json& name) { return capabilities.contains(name); };
  const Json included = rule.value("includes", Json::object()).value("caps", Json::array());
  const Json excluded = rule.value("excludes", Json::object()).value("caps", Json::array());
  return std::all_of(included.begin(), included.end(), has) &&
         std::none_of(excluded.begin(), excluded.end(), has);
}

std::vector<Capabilities> InterestingCapabilities(const Json& profile) {
  std::vector<Capabilities> sets{{}, kUsual};
  Capabilities all;
  for (const Json& rule : profile["syscalls"]) {
    for (const Json& name : rule.value("includes", Json::object()).value("caps", Json::array())) {
      sets.push_back({name});
      all.insert(name);
    }
  }
  sets.push_back(all);
  return sets;
}

TEST(SeccompProfile, IsTheSameEveryTime) { EXPECT_EQ(*SeccompProfile(), *SeccompProfile()); }

TEST(SeccompProfile, EveryNameIsACall) {
  const Json profile = Profile();
  for (const Json& rule : profile["syscalls"]) {
    for (const std::string name : rule["names"]) {
      EXPECT_NE(seccomp_syscall_resolve_name(name.c_str()), __NR_SCMP_ERROR) << name;
    }
  }
}

TEST(SeccompProfile, NamesAreSortedAndOnceInARule) {
  const Json profile = Profile();
  for (const Json& rule : profile["syscalls"]) {
    const std::vector<std::string> names = rule["names"];
    EXPECT_TRUE(std::is_sorted(names.begin(), names.end())) << rule;
    EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size()) << rule;
  }
}

// Whatever capabilities a container has, no call has two answers.
TEST(SeccompProfile, NoNameHasTwoActions) {
  const Json profile = Profile();
  for (const Capabilities& capabilities : InterestingCapabilities(profile)) {
    std::map<std::string, std::string> actions;
    for (const Json& rule : profile["syscalls"]) {
      if (!Applies(rule, capabilities)) {
        continue;
      }
      for (const std::string name : rule["names"]) {
        const auto [first, added] = actions.emplace(name, rule["action"]);
        EXPECT_EQ(first->second, rule["action"].get<std::string>()) << name;
      }
    }
  }
}

TEST(SeccompProfile, RefusedCallsAnswerAsIfTheKernelLackedThem) {
  const std::vector<std::string> refused = SeccompRefusedCalls();
  EXPECT_THAT(refused, Contains("io_uring_setup"));
  EXPECT_THAT(refused, Contains("io_setup"));
  const Json profile = Profile();
  int rules = 0;
  for (const Json& rule : profile["syscalls"]) {
    const std::vector<std::string> names = rule["names"];
    if (names == refused) {
      ++rules;
      EXPECT_EQ(rule["action"], "SCMP_ACT_ERRNO");
      EXPECT_EQ(rule["errnoRet"], ENOSYS);
      EXPECT_FALSE(rule.contains("includes") || rule.contains("excludes") || rule.contains("args"));
      continue;
    }
    for (const std::string& name : names) {
      EXPECT_THAT(refused, Not(Contains(name)));
    }
  }
  EXPECT_EQ(rules, 1);
}

TEST(SeccompProfile, RefusesOnlyWhatTheTableRefuses) {
  for (const std::string& name : SeccompRefusedCalls()) {
    if (const SyscallRow* row = FindSyscall(name)) {
      // io_getevents and the like go with io_setup.
      EXPECT_TRUE(row->policy == Policy::kRefuse || name.starts_with("io_")) << name;
    }
  }
}

// A program needs these; a profile that lost one of them would only be noticed in production.
TEST(SeccompProfile, OrdinaryCallsAreAllowed) {
  std::set<std::string> allowed;
  const Json profile = Profile();
  for (const Json& rule : profile["syscalls"]) {
    if (Applies(rule, kUsual) && rule["action"] == "SCMP_ACT_ALLOW") {
      const std::vector<std::string> names = rule["names"];
      allowed.insert(names.begin(), names.end());
    }
  }
  const std::vector<std::string> needed{
      "read",   "write",      "openat", "mmap",       "clone",  "execve", "futex",
      "socket", "accept",     "chroot", "epoll_wait", "ptrace", "prctl",  "arch_prctl",
      "statx",  "exit_group", "rseq",   "wait4",      "vfork",  "getcwd", "io_cancel"};
  const std::vector<std::string> expected(needed.begin(), needed.end() - 1);
  EXPECT_THAT(expected, IsSubsetOf(allowed));
  EXPECT_THAT(allowed, Not(Contains(needed.back())));
  for (const char* privileged : {"mount", "setns", "reboot", "kexec_load", "name_to_handle_at"}) {
    EXPECT_THAT(allowed, Not(Contains(privileged)));
  }
  // 345 names without a condition in Docker's, of which ours take away what we refuse.
  EXPECT_GT(allowed.size(), 330u);
}

// --- the filter as the kernel sees it ---

scmp_compare Comparison(const std::string& name) {
  static const std::map<std::string, scmp_compare> kComparisons{
      {"SCMP_CMP_EQ", SCMP_CMP_EQ},
      {"SCMP_CMP_NE", SCMP_CMP_NE},
      {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}};
  return kComparisons.at(name);
}

void AddRule(scmp_filter_ctx filter, const Json& rule) {
  const std::uint32_t action = rule["action"] == "SCMP_ACT_ALLOW"
                                   ? SCMP_ACT_ALLOW
                                   : SCMP_ACT_ERRNO(rule.value("errnoRet", EPERM));
  std::vector<scmp_arg_cmp> arguments;
  for (const Json& argument : rule.value("args", Json::array())) {
    arguments.push_back({argument["index"], Comparison(argument["op"]), argument["value"],
                         argument.value("valueTwo", std::uint64_t{0})});
  }
  for (const std::string name : rule["names"]) {
    const int number = seccomp_syscall_resolve_name(name.c_str());
    EXPECT_EQ(seccomp_rule_add_array(filter, action, number,
                                     static_cast<unsigned>(arguments.size()), arguments.data()),
              0)
        << name;
  }
}

using Filter = std::unique_ptr<void, decltype(&seccomp_release)>;

// As runc makes it of what Docker hands over.
Filter FilterFor(const Capabilities& capabilities) {
  Filter filter(seccomp_init(SCMP_ACT_ERRNO(EPERM)), seccomp_release);
  const Json profile = Profile();
  EXPECT_EQ(seccomp_arch_add(filter.get(), SCMP_ARCH_X86), 0);
  EXPECT_EQ(seccomp_arch_add(filter.get(), SCMP_ARCH_X32), 0);
  for (const Json& rule : profile["syscalls"]) {
    if (Applies(rule, capabilities)) {
      AddRule(filter.get(), rule);
    }
  }
  return filter;
}

long CallErrno(const std::function<long()>& call) {
  errno = 0;
  return call() == -1 ? errno : 0;
}

// The errno of each call in a child under the filter, 0 for success; nothing if it could not load.
std::vector<long> UnderFilter(const Capabilities& capabilities,
                              const std::vector<std::function<long()>>& calls) {
  const Filter filter = FilterFor(capabilities);
  auto* answers = static_cast<long*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const pid_t child = fork();
  if (child == 0) {
    if (seccomp_load(filter.get()) != 0) {
      _exit(1);
    }
    for (std::size_t i = 0; i < calls.size(); ++i) {
      answers[i] = CallErrno(calls[i]);
    }
    _exit(0);
  }
  int status = 1;
  waitpid(child, &status, 0);
  std::vector<long> result;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    result.assign(answers, answers + calls.size());
  }
  munmap(answers, 4096);
  return result;
}

std::vector<std::function<long()>> RefusedCalls() {
  std::vector<std::function<long()>> calls;
  for (const std::string& name : SeccompRefusedCalls()) {
    const int number = seccomp_syscall_resolve_name(name.c_str());
    if (number >= 0) {  // negative: 32-bit only
      calls.push_back([number] { return syscall(number, 0, 0, 0, 0, 0, 0); });
    }
  }
  return calls;
}

TEST(SeccompFilter, RefusedCallsFailWithEnosysForEverybody) {
  for (const Capabilities& capabilities : {kUsual, Capabilities{"CAP_SYS_ADMIN"}}) {
    const auto answers = UnderFilter(capabilities, RefusedCalls());
    ASSERT_FALSE(answers.empty());
    EXPECT_THAT(answers, Each(ENOSYS));
  }
}

TEST(SeccompFilter, TheRestIsAsWithDocker) {
  const auto answers =
      UnderFilter(kUsual, {
                              [] { return syscall(SYS_getpid); },
                              [] { return static_cast<long>(socket(AF_UNIX, SOCK_STREAM, 0)); },
                              [] { return static_cast<long>(socket(AF_VSOCK, SOCK_STREAM, 0)); },
                              [] { return static_cast<long>(unshare(CLONE_NEWUTS)); },
                              [] { return syscall(SYS_clone3, nullptr, 0); },
                              [] { return syscall(SYS_clone, CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0); },
                              [] { return syscall(SYS_personality, 0xffffffff); },
                              [] { return syscall(SYS_personality, 0x40000); },
                              [] { return syscall(SYS_kexec_load, 0, 0, 0, 0); },
                          });
  EXPECT_THAT(answers, ::testing::ElementsAre(0, 0, EPERM, EPERM, ENOSYS, EPERM, 0, EPERM, EPERM));
}

TEST(SeccompFilter, FitsIntoTheKernel) {
  const Filter filter = FilterFor(kUsual);
  const OwnedFd file(memfd_create("filter", MFD_CLOEXEC));
  ASSERT_EQ(seccomp_export_bpf(filter.get(), file.get()), 0);
  struct stat info {};
  ASSERT_EQ(fstat(file.get(), &info), 0);
  EXPECT_GT(info.st_size, 0);
  EXPECT_LE(info.st_size / static_cast<off_t>(sizeof(sock_filter)), BPF_MAXINSNS);
}

}  // namespace
}  // namespace migrate
