#include "base/remote_calls.h"

#include <linux/rseq.h>
#include <poll.h>
#include <sys/syscall.h>

#include <cstring>

#include "base/scope_exit.h"
#include "base/tracee_memory.h"
#include "base/tracee_testing.h"

namespace migrate {
namespace {

using namespace testing_support;  // NOLINT
using std::chrono::milliseconds;

class RemoteCallsTest : public ::testing::Test {
 protected:
  // The task's own pid, asked for from outside.
  void ExpectCallWorks(StoppedTracee& tracee) {
    const auto pid = RemoteSyscall(tracee, waits_, SYS_getpid, {});
    ASSERT_TRUE(pid) << pid.error().message;
    EXPECT_EQ(*pid, tracee.tid());
  }

  ThreadWaitSource waits_ = ThreadWaitSource::Create().value();
};

bool SameRegisters(const Registers& a, const Registers& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

TEST_F(RemoteCallsTest, InAComputationChangesNothing) {
  Shared<std::atomic<uint64_t>> count;
  Child child([&] {
    for (;;) ++*count;
    return 0;
  });
  ASSERT_TRUE(Eventually([&] { return *count > 0; }));
  auto stopped = SeizeAndStop(child.pid(), waits_);
  const Registers before = stopped.GetRegs().value();
  const auto state = stopped.GetXState().value();
  auto calls = RemoteCalls::Begin(stopped, waits_).value();
  EXPECT_EQ(calls.Call(SYS_getpid, {}).value(), child.pid());
  EXPECT_EQ(calls.Call(SYS_getppid, {}).value(), getpid());
  EXPECT_EQ(calls.Call(SYS_close, {12345}).value(), -EBADF);
  ASSERT_TRUE(std::move(calls).End());
  EXPECT_EQ(stopped.stop().kind, StopKind::kInterrupt);
  EXPECT_TRUE(SameRegisters(before, stopped.GetRegs().value()));
  EXPECT_EQ(state, stopped.GetXState().value());
  const uint64_t then = *count;
  ASSERT_TRUE(std::move(stopped).Detach());
  EXPECT_TRUE(Eventually([&] { return *count > then; }));
}

// A read that waits must go on waiting and then return its byte; not EINTR.
TEST_F(RemoteCallsTest, InABlockedSyscallThatIsRestarted) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Child child([&] {
    char byte = 0;
    return read(ends[0], &byte, 1) == 1 ? byte : errno + 100;
  });
  ASSERT_TRUE(Eventually([&] { return Sleeps(child.pid()); }));
  auto stopped = SeizeAndStop(child.pid(), waits_);
  const Registers before = stopped.GetRegs().value();
  EXPECT_EQ(static_cast<int64_t>(before.rax), -512);  // ERESTARTSYS
  ExpectCallWorks(stopped);
  EXPECT_TRUE(SameRegisters(before, stopped.GetRegs().value()));
  ASSERT_TRUE(std::move(stopped).Detach());
  ASSERT_EQ(write(ends[1], "A", 1), 1);
  EXPECT_EQ(WEXITSTATUS(child.WaitForEnd()), 'A');
  close(ends[0]);
  close(ends[1]);
}

// nanosleep restarts by restart_syscall, and ppoll with its temporary mask.
TEST_F(RemoteCallsTest, InASyscallWithARestartBlockAndInOneWithATemporaryMask) {
  Child sleeper([] {
    timespec time = {0, 300'000'000};
    return nanosleep(&time, nullptr) == 0 ? 33 : errno + 100;
  });
  Child poller([] {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    sigaction(SIGUSR1, &action, nullptr);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    sigset_t none;
    sigemptyset(&none);
    const timespec time = {20, 0};
    return ppoll(nullptr, 0, &time, &none) < 0 && errno == EINTR ? 34 : 1;
  });
  for (Child* child : {&sleeper, &poller}) {
    ASSERT_TRUE(Eventually([&] { return Sleeps(child->pid()); }));
    auto stopped = SeizeAndStop(child->pid(), waits_);
    ExpectCallWorks(stopped);
    ASSERT_TRUE(std::move(stopped).Detach());
  }
  EXPECT_EQ(WEXITSTATUS(sleeper.WaitForEnd()), 33);
  kill(poller.pid(), SIGUSR1);
  EXPECT_EQ(WEXITSTATUS(poller.WaitForEnd()), 34);
}

TEST_F(RemoteCallsTest, AtSyscallEntryTheOwnCallIsStillMadeOnce) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Shared<std::atomic<bool>> seized;
  Child child([&] {
    while (!*seized) {
      syscall(SYS_getppid);
    }
    return write(ends[1], "xyz", 3) == 3 ? 35 : 1;
  });
  auto stopped = SeizeAndStop(child.pid(), waits_);
  *seized = true;
  int found = 0;
  while (found == 0) {
    stopped = NextStop(std::move(stopped).Go(Resume::kSyscall), waits_);
    found = stopped.stop().kind == StopKind::kSyscallEntry &&
            stopped.GetRegs().value().orig_rax == SYS_write;
  }
  ExpectCallWorks(stopped);
  EXPECT_EQ(stopped.stop().kind, StopKind::kSyscallEntry);
  ExpectCallWorks(stopped);
  EXPECT_EQ(stopped.GetRegs().value().orig_rax, static_cast<unsigned long long>(SYS_write));
  stopped = NextStop(std::move(stopped).Go(Resume::kSyscall), waits_);
  EXPECT_EQ(stopped.stop().kind, StopKind::kSyscallExit);
  const Registers before = stopped.GetRegs().value();
  EXPECT_EQ(before.rax, 3u);
  ExpectCallWorks(stopped);
  EXPECT_EQ(stopped.stop().kind, StopKind::kSyscallExit);
  EXPECT_TRUE(SameRegisters(before, stopped.GetRegs().value()));
  ASSERT_TRUE(std::move(stopped).Detach());
  EXPECT_EQ(WEXITSTATUS(child.WaitForEnd()), 35);
  char buffer[16];
  EXPECT_EQ(read(ends[0], buffer, sizeof buffer), 3);
  close(ends[0]);
  close(ends[1]);
}

TEST_F(RemoteCallsTest, AtAnEmulatedEntryEndsAsItsExit) {
  Child child([] { return static_cast<int>(syscall(SYS_getppid)) == 77 ? 36 : 1; });
  auto stopped = SeizeAndStop(child.pid(), waits_);
  for (;;) {
    stopped = NextStop(std::move(stopped).Go(Resume::kSysemu), waits_);
    ASSERT_TRUE(stopped.stop().emulated);
    Registers registers = stopped.GetRegs().value();
    if (registers.orig_rax == SYS_getppid) {
      break;
    }
    // The library's own start of the child: execute it.
    const auto result = RemoteSyscall(stopped, waits_, static_cast<long>(registers.orig_rax),
                                      {registers.rdi, registers.rsi, registers.rdx, registers.r10,
                                       registers.r8, registers.r9});
    ASSERT_TRUE(result);
    registers = stopped.GetRegs().value();
    registers.rax = static_cast<unsigned long long>(*result);
    ASSERT_TRUE(stopped.SetRegs(registers));
  }
  ExpectCallWorks(stopped);
  EXPECT_EQ(stopped.stop().kind, StopKind::kSyscallExit);
  Registers registers = stopped.GetRegs().value();
  registers.rax = 77;
  ASSERT_TRUE(stopped.SetRegs(registers));
  ASSERT_TRUE(std::move(stopped).Detach());
  EXPECT_EQ(WEXITSTATUS(child.WaitForEnd()), 36);
}

TEST_F(RemoteCallsTest, SignalsThatArriveMeanwhileAreDeliveredAfterwardsOnce) {
  Shared<std::atomic<int>> handlers;
  static std::atomic<int>* out;
  out = &*handlers;
  Child child([] {
    signal(SIGUSR1, [](int) { ++*out; });
    for (;;) pause();
    return 0;
  });
  ASSERT_TRUE(Eventually([&] { return Sleeps(child.pid()); }));
  auto stopped = SeizeAndStop(child.pid(), waits_);
  auto calls = RemoteCalls::Begin(stopped, waits_).value();
  kill(child.pid(), SIGUSR1);
  kill(child.pid(), SIGSTOP);
  EXPECT_EQ(calls.Call(SYS_getpid, {}).value(), child.pid());
  ASSERT_TRUE(std::move(calls).End());
  EXPECT_EQ(*handlers, 0);
  ASSERT_TRUE(std::move(stopped).Detach());
  EXPECT_TRUE(Eventually([&] { return StatusOf(child.pid(), "State").starts_with("T"); }));
  kill(child.pid(), SIGCONT);
  EXPECT_TRUE(Eventually([&] { return *handlers == 1; }));
  EXPECT_TRUE(Eventually([&] { return Sleeps(child.pid()); }));
  EXPECT_EQ(*handlers, 1);
}

TEST_F(RemoteCallsTest, AStoppedProcessStaysStopped) {
  Child child([] {
    for (;;) pause();
    return 0;
  });
  kill(child.pid(), SIGSTOP);
  ASSERT_TRUE(Eventually([&] { return StatusOf(child.pid(), "State").starts_with("T"); }));
  auto stopped = SeizeAndStop(child.pid(), waits_);
  EXPECT_EQ(stopped.stop().kind, StopKind::kGroupStop);
  ExpectCallWorks(stopped);
  EXPECT_EQ(stopped.stop().kind, StopKind::kGroupStop);
  ASSERT_TRUE(std::move(stopped).Detach());
  EXPECT_TRUE(Eventually([&] { return StatusOf(child.pid(), "State").starts_with("T (stopped)"); }));
}

TEST_F(RemoteCallsTest, RefusesASignalStopAndNoticesAKill) {
  Child child([] {
    for (;;) pause();
    return 0;
  });
  auto running = RunningTracee::Seize(child.pid(), PTRACE_O_TRACESYSGOOD).value();
  kill(child.pid(), SIGUSR1);
  auto stopped = NextStop(std::move(running), waits_);
  EXPECT_EQ(RemoteCalls::Begin(stopped, waits_).error().code, ErrorCode::kFailedPrecondition);
  running = std::move(stopped).Go(Resume::kContinue, 0);
  ASSERT_TRUE(running.Interrupt());
  stopped = NextStop(std::move(running), waits_);
  auto calls = RemoteCalls::Begin(stopped, waits_).value();
  kill(child.pid(), SIGKILL);
  EXPECT_EQ(calls.Call(SYS_getpid, {}).error().code, ErrorCode::kNotFound);
}

// A restartable sequence that is left for a call must be aborted, as any preemption does.
TEST_F(RemoteCallsTest, ARestartableSequenceIsAborted) {
  struct alignas(32) Area {
    uint32_t cpu_id_start, cpu_id;
    uint64_t section;
    uint32_t flags, node, mm_cid;
    char room[64];
  };
  Shared<std::atomic<int>> phase;
  Child child([&] {
    static Area area;
    // glibc has registered an area of its own: a thread without one is needed.
    const auto thread = [](void* argument) {
      auto& state = *static_cast<std::atomic<int>*>(argument);
      if (syscall(SYS_rseq, &area, 32, 0, 0x53053053) != 0) {
        state = 99;
        return 0;
      }
      state = 1;
      asm volatile(
          ".pushsection .data.rel.local, \"aw\"\n"
          ".balign 32\n"
          "9: .long 0, 0\n .quad 1f, 2f - 1f, 4f\n"
          ".popsection\n"
          "lea 9b(%%rip), %%rax\n"
          "mov %%rax, %0\n"
          "1: pause\n jmp 1b\n"
          "2: jmp 5f\n"
          ".byte 0x0f, 0xb9, 0x3d\n .long 0x53053053\n"
          "4: nop\n"
          "5:\n"
          : "=m"(area.section)
          :
          : "rax", "memory");
      state = 2;
      return 0;
    };
    static char stack[65536];
    clone(thread, stack + sizeof stack, CLONE_VM | CLONE_FILES | CLONE_FS | SIGCHLD, &*phase);
    int status;
    wait(&status);
    return 0;
  });
  ASSERT_TRUE(Eventually([&] { return *phase != 0; }));
  if (*phase == 99) {
    GTEST_SKIP() << "no rseq";
  }
  // The kernel aborts by itself at every preemption, so here it may have been aborted already.
  const auto children = ReadSmallFile("/proc/" + std::to_string(child.pid()) + "/task/" +
                                      std::to_string(child.pid()) + "/children");
  ASSERT_TRUE(children);
  const pid_t tid = std::atoi(children->c_str());
  if (tid > 0) {
    const ScopeExit end([&] { kill(tid, SIGKILL); });
    auto running = RunningTracee::Seize(tid, PTRACE_O_TRACESYSGOOD);
    if (running && running->Interrupt()) {
      const auto event = waits_.Wait(tid, std::chrono::seconds(20)).value();
      auto state = std::move(*running).Decode(event->status);
      if (auto* stopped = std::get_if<StoppedTracee>(&state)) {
        const auto pid = RemoteSyscall(*stopped, waits_, SYS_getpid, {});
        EXPECT_TRUE(pid);
        ASSERT_TRUE(std::move(*stopped).Detach());
      }
    }
    EXPECT_TRUE(Eventually([&] { return *phase == 2; }));
  }
}

}  // namespace
}  // namespace migrate
