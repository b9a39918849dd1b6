#include "base/tracee.h"

#include <sys/syscall.h>

#include "base/tracee_memory.h"
#include "base/tracee_testing.h"

namespace migrate {
namespace {

using namespace testing_support;  // NOLINT
using std::chrono::milliseconds;

class TraceeTest : public ::testing::Test {
 protected:
  ThreadWaitSource waits_ = ThreadWaitSource::Create().value();
};

volatile sig_atomic_t handled = 0;

TEST_F(TraceeTest, StopsAndContinuesAComputation) {
  Shared<std::atomic<uint64_t>> count;
  Child child([&] {
    for (;;) ++*count;
    return 0;
  });
  ASSERT_TRUE(Eventually([&] { return *count > 0; }));
  auto stopped = SeizeAndStop(child.pid(), waits_);
  EXPECT_EQ(stopped.stop().kind, StopKind::kInterrupt);
  EXPECT_EQ(stopped.GetRegs().value().orig_rax, ~0ULL);
  const uint64_t then = *count;
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_EQ(*count, then);
  auto running = std::move(stopped).Go(Resume::kContinue);
  EXPECT_TRUE(Eventually([&] { return *count > then; }));
  static_cast<void>(running);
}

TEST_F(TraceeTest, TellsSyscallEntryFromExitAndSkipsEmulatedCalls) {
  Child child([] {
    for (;;) syscall(SYS_getppid, 1, 2, 3);
    return 0;
  });
  auto entry = NextStop(SeizeAndStop(child.pid(), waits_).Go(Resume::kSyscall), waits_);
  // fork() makes calls of its own in the child.
  while (entry.stop().kind != StopKind::kSyscallEntry ||
         entry.GetRegs().value().orig_rax != static_cast<unsigned long long>(SYS_getppid)) {
    entry = NextStop(std::move(entry).Go(Resume::kSyscall), waits_);
  }
  EXPECT_FALSE(entry.stop().emulated);
  EXPECT_EQ(entry.GetRegs().value().orig_rax, static_cast<unsigned long long>(SYS_getppid));
  auto exit = NextStop(std::move(entry).Go(Resume::kSyscall), waits_);
  ASSERT_EQ(exit.stop().kind, StopKind::kSyscallExit);
  EXPECT_EQ(exit.GetRegs().value().rax, static_cast<unsigned long long>(getpid()));
  auto emulated = NextStop(std::move(exit).Go(Resume::kSysemu), waits_);
  EXPECT_EQ(emulated.stop().kind, StopKind::kSyscallEntry);
  EXPECT_TRUE(emulated.stop().emulated);
  auto next = NextStop(std::move(emulated).Go(Resume::kSysemu), waits_);
  EXPECT_EQ(next.stop().kind, StopKind::kSyscallEntry);
  auto stepped = NextStop(std::move(next).Go(Resume::kSingleStep), waits_);
  EXPECT_EQ(stepped.stop().kind, StopKind::kSignal);
  EXPECT_EQ(stepped.stop().signal, SIGTRAP);
}

TEST_F(TraceeTest, SignalsCanBeChangedSuppressedAndDelivered) {
  Shared<std::atomic<int>> seen;
  static std::atomic<int>* out;
  out = &*seen;
  Child child([&] {
    struct sigaction action = {};
    action.sa_sigaction = [](int, siginfo_t* info, void*) { *out = info->si_value.sival_int; };
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGUSR1, &action, nullptr);
    *out = -1;
    for (;;) pause();
    return 0;
  });
  ASSERT_TRUE(Eventually([&] { return *seen == -1; }));
  auto running = RunningTracee::Seize(child.pid(), 0).value();
  sigval value;
  value.sival_int = 7;
  sigqueue(child.pid(), SIGUSR1, value);
  auto stop = NextStop(std::move(running), waits_);
  EXPECT_EQ(stop.stop().kind, StopKind::kSignal);
  EXPECT_EQ(stop.GetSigInfo().value().si_value.sival_int, 7);
  running = std::move(stop).Go(Resume::kContinue, 0);  // suppressed
  value.sival_int = 8;
  sigqueue(child.pid(), SIGUSR1, value);
  stop = NextStop(std::move(running), waits_);
  EXPECT_EQ(*seen, -1);
  siginfo_t info = stop.GetSigInfo().value();
  info.si_value.sival_int = 9;
  ASSERT_TRUE(stop.SetSigInfo(info));
  ASSERT_TRUE(std::move(stop).Detach(SIGUSR1));
  EXPECT_TRUE(Eventually([&] { return *seen == 9; }));
}

TEST_F(TraceeTest, GroupStopIsListenedToAndItsEndIsTold) {
  Child child([] {
    for (;;) pause();
    return 0;
  });
  auto running = RunningTracee::Seize(child.pid(), 0).value();
  kill(child.pid(), SIGSTOP);
  auto stop = NextStop(std::move(running), waits_);
  ASSERT_EQ(stop.stop().kind, StopKind::kSignal);
  stop = NextStop(std::move(stop).Go(Resume::kContinue, SIGSTOP), waits_);
  ASSERT_EQ(stop.stop().kind, StopKind::kGroupStop);
  EXPECT_EQ(stop.stop().signal, SIGSTOP);
  running = std::move(stop).Listen();
  kill(child.pid(), SIGCONT);
  stop = NextStop(std::move(running), waits_);
  EXPECT_EQ(stop.stop().kind, StopKind::kInterrupt);
  ASSERT_TRUE(std::move(stop).Detach());
}

TEST_F(TraceeTest, NewTasksAreAttachedAndExecIsSeenBeforeItsFirstInstruction) {
  Child child([] {
    pause();
    if (fork() == 0) {
      execl("/bin/true", "true", nullptr);
    }
    int status;
    wait(&status);
    return WEXITSTATUS(status);
  });
  static_assert(kStopKinds == static_cast<int>(StopKind::kSeccomp) + 1);
  ASSERT_TRUE(Eventually([&] { return Sleeps(child.pid()); }));
  auto parent = SeizeAndStop(child.pid(), waits_, PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXEC);
  Registers registers = parent.GetRegs().value();
  registers.rax = static_cast<unsigned long long>(-EINTR);  // ends pause()
  registers.orig_rax = ~0ULL;
  ASSERT_TRUE(parent.SetRegs(registers));
  parent = NextStop(std::move(parent).Go(Resume::kContinue), waits_);
  ASSERT_EQ(parent.stop().kind, StopKind::kFork);
  const auto born = static_cast<pid_t>(parent.stop().message);
  auto grandchild = NextStop(RunningTracee::Adopt(born), waits_);
  EXPECT_EQ(grandchild.stop().kind, StopKind::kInterrupt);
  grandchild = NextStop(std::move(grandchild).Go(Resume::kContinue), waits_);
  EXPECT_EQ(grandchild.stop().kind, StopKind::kExec);
  EXPECT_EQ(grandchild.stop().message, static_cast<uint64_t>(born));
  ASSERT_TRUE(std::move(grandchild).Detach());
  ASSERT_TRUE(std::move(parent).Detach());
  const int status = child.WaitForEnd();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST_F(TraceeTest, AKilledTaskIsNotFoundAndItsEndIsTold) {
  Child child([] { return pause(); });
  auto stopped = SeizeAndStop(child.pid(), waits_);
  kill(child.pid(), SIGKILL);
  ASSERT_TRUE(Eventually([&] { return !stopped.GetRegs(); }));
  EXPECT_EQ(stopped.GetRegs().error().code, ErrorCode::kNotFound);
  auto running = std::move(stopped).Go(Resume::kContinue);  // harmless
  const auto event = waits_.Wait(child.pid(), std::chrono::seconds(20)).value().value();
  const auto state = std::move(running).Decode(event.status);
  ASSERT_TRUE(std::holds_alternative<Exited>(state));
  EXPECT_EQ(std::get<Exited>(state).signal, SIGKILL);
}

TEST_F(TraceeTest, MaskXStateAndPendingSignals) {
  Child child([] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    for (;;) pause();
    return 0;
  });
  ASSERT_TRUE(Eventually([&] { return Sleeps(child.pid()); }));
  auto stopped = SeizeAndStop(child.pid(), waits_);
  const uint64_t bit = uint64_t{1} << (SIGRTMIN - 1);
  EXPECT_EQ(stopped.GetSigMask().value() & bit, bit);
  sigval value;
  value.sival_int = 5;
  sigqueue(child.pid(), SIGRTMIN, value);
  const auto pending = stopped.PeekPending(true, 8).value();
  ASSERT_EQ(pending.size(), 1u);
  EXPECT_EQ(pending[0].si_value.sival_int, 5);
  const auto state = stopped.GetXState().value();
  EXPECT_GE(state.size(), 512u);
  EXPECT_TRUE(stopped.SetXState(state));
  ASSERT_TRUE(std::move(stopped).Detach());
}

TEST_F(TraceeTest, MemoryIsReadAndWrittenAlsoWhereTheProcessMayNot) {
  auto* page = static_cast<char*>(
      mmap(nullptr, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  munmap(page + 8192, 4096);  // a hole behind it
  std::snprintf(page + 4090, 16, "across-pages");
  Child child([&] {
    mprotect(page, 4096, PROT_NONE);
    for (;;) pause();
    return 0;
  });
  ASSERT_TRUE(Eventually([&] { return Sleeps(child.pid()); }));
  const auto address = reinterpret_cast<uint64_t>(page) + 4090;
  using Text = std::array<char, 12>;
  EXPECT_EQ(std::string(ReadTracee<Text>(child.pid(), address).value().data(), 12), "across-pages");
  ASSERT_TRUE(WriteTracee(child.pid(), address, Text{'A', 'C', 'R', 'O', 'S', 'S'}));
  EXPECT_EQ(std::string(ReadTracee<Text>(child.pid(), address).value().data()), "ACROSS");
  EXPECT_EQ(std::string(page + 4090), "across-pages");
  const auto bad = ReadTracee<uint64_t>(child.pid(), reinterpret_cast<uint64_t>(page) + 8190);
  EXPECT_FALSE(bad);
  munmap(page, 8192);
}

TEST_F(TraceeTest, WaitsEndByTimeAndByWakingAndOnlyOwnTraceesAreSeen) {
  Child child([] {
    for (;;) pause();
    return 0;
  });
  EXPECT_FALSE(waits_.Wait(WaitSource::kAnyTask, milliseconds(5)).value());
  auto running = RunningTracee::Seize(child.pid(), 0).value();
  EXPECT_FALSE(waits_.Wait(child.pid(), milliseconds(15)).value());
  std::thread waker([&] {
    std::this_thread::sleep_for(milliseconds(5));
    waits_.Wake();
  });
  EXPECT_FALSE(waits_.Wait(WaitSource::kAnyTask, std::nullopt).value());
  waker.join();
  ASSERT_TRUE(running.Interrupt());
  std::thread([&] {
    auto other = ThreadWaitSource::Create().value();
    EXPECT_FALSE(other.Wait(WaitSource::kAnyTask, milliseconds(10)).value());
    EXPECT_EQ(other.Wait(child.pid(), milliseconds(10)).error().code, ErrorCode::kNotFound);
  }).join();
  EXPECT_EQ(NextStop(std::move(running), waits_).stop().kind, StopKind::kInterrupt);
}

}  // namespace
}  // namespace migrate
