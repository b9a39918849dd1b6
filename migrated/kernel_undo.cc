#include "migrated/kernel_undo.h"

#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <sstream>
#include <thread>

#include "base/cgroup.h"
#include "base/file_util.h"
#include "base/limits.h"
#include "base/netns.h"
#include "migrated/container_processes.h"
#include "migrated/network/address_move.h"
#include "migrated/network/hold_queue.h"
#include "migrated/network/netlock.h"
#include "migrated/network/stand_in.h"
#include "recorder/recording.h"

namespace migrate {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kCriuPoll = 10ms;

// The value of a line of /proc/PID/status; 0 where there is none.
int StatusNumber(int task, std::string_view name) {
  const std::string status =
      ReadSmallFile("/proc/" + std::to_string(task) + "/status").value_or(std::string());
  const auto line = status.find("\n" + std::string(name) + ":");
  int number = 0;
  if (line != std::string::npos) {
    const auto digits = status.find_first_of("0123456789", line + name.size() + 2);
    if (digits != std::string::npos) {
      std::from_chars(status.data() + digits, status.data() + status.size(), number);
    }
  }
  return number;
}

// By its command line: CRIU may have been started through a loader, which then names the process.
// The admin's debugger is not waited for.
bool IsCriu(int pid) {
  const auto text = ReadSmallFile("/proc/" + std::to_string(pid) + "/cmdline");
  return text && text->find("criu") != std::string::npos;
}

bool HeldByCriu(const std::string& cgroup) {
  for (const int task : CgroupTasks(cgroup).value_or(std::vector<int>())) {
    const int tracer = StatusNumber(task, "TracerPid");
    if (tracer > 0 && IsCriu(tracer)) {
      return true;
    }
  }
  return false;
}

// Before CRIU has attached to the tasks it has only been started: by a runc that names the
// container.
bool BeingCheckpointed(const std::string& cgroup) {
  const std::string container = std::filesystem::path(cgroup).filename();
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    if (!isdigit(static_cast<unsigned char>(entry.path().filename().native()[0]))) {
      continue;
    }
    const std::string command = ReadSmallFile(entry.path() / "cmdline").value_or(std::string());
    // Arguments end with a zero byte; the container's id is the last one.
    std::string_view last = command;
    last = last.substr(0, last.find_last_not_of('\0') + 1);
    last = last.substr(last.rfind('\0') + 1);
    // With systemd the cgroup is called docker-ID.scope.
    if (command.find(std::string_view("\0checkpoint\0", 12)) != std::string::npos &&
        last.size() >= 12 && container.find(last) != std::string::npos) {
      return true;
    }
  }
  return false;
}

std::uint64_t ResidentBytes(const std::string& cgroup) {
  std::uint64_t pages = 0;
  for (const int pid : CgroupProcesses(cgroup).value_or(std::vector<int>())) {
    std::istringstream words(
        ReadSmallFile("/proc/" + std::to_string(pid) + "/statm").value_or(std::string()));
    std::uint64_t size = 0;
    std::uint64_t resident = 0;
    words >> size >> resident;
    pages += resident;
  }
  return pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

Result<std::string> Thaw(const std::string& cgroup) {
  if (!std::filesystem::exists(cgroup)) {
    return std::string();  // the container has been stopped or removed meanwhile
  }
  const Result<> waited = WaitForCriuToEnd(cgroup);
  // Also if CRIU hangs: what it holds stays held, the rest goes on.
  TRY(FrozenCgroup::Thaw(cgroup));
  TRY(waited);
  return std::string("the container runs again");
}

Result<std::string> Unlock(const v1::UndoItem& item) {
  int pid = 0;
  std::from_chars(item.name().data(), item.name().data() + item.name().size(), pid);
  const auto start_time = StartTimeOf(pid);
  if (!start_time || *start_time != item.detail()) {
    return std::string();  // that process has ended, and its namespace with it
  }
  TRY(UnlockNetns(TRY(OpenNetns(pid))));
  return std::string("its network is unlocked");
}

// Words of an undo item's detail.
std::vector<std::string> Words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) {
    words.push_back(word);
  }
  return words;
}

Result<std::string> ReleaseHold(const std::string& id) {
  TRY(RemoveHold(TRY(OpenNetns(getpid())), id));
  return std::string();
}

Result<std::string> GiveBack(const v1::UndoItem& item) {
  const std::vector<std::string> words = Words(item.detail());  // relay id, bridge, MAC
  if (words.size() < 3) {
    return MakeError(ErrorCode::kInternal, "a malformed undo entry: " + item.detail());
  }
  TRY(GiveBackAddress(TRY(OpenNetns(getpid())), {words[0], item.name(), words[1]}, words[2]));
  return std::string();
}

Result<std::string> StopRecording(RecordingUndo::Kind kind, const v1::UndoItem& item,
                                  std::string done) {
  TRY(UndoRecording({kind, item.detail()}, item.name()));
  return done;
}

}  // namespace

Result<> WaitForCriuToEnd(const std::string& cgroup, const std::function<bool()>& cancelled) {
  const auto deadline =
      Clock::now() + limits::kRuncTimeout + limits::TimeForMemory(ResidentBytes(cgroup));
  // The tasks first: a runc that is seen afterwards may have let go of them in between, one that
  // is not seen has no CRIU that could still come.
  while (HeldByCriu(cgroup) || BeingCheckpointed(cgroup)) {
    if (cancelled()) {
      return MakeError(ErrorCode::kCancelled, "cancelled");
    }
    if (Clock::now() >= deadline) {
      return MakeError(ErrorCode::kDeadlineExceeded,
                       "CRIU still holds tasks of " + cgroup + " and does not end");
    }
    std::this_thread::sleep_for(kCriuPoll);
  }
  return {};
}

Result<std::optional<std::string>> UndoInKernel(const v1::UndoItem& item) {
  switch (item.kind()) {
    case v1::UndoItem::FROZEN_CGROUP:
      return std::optional(TRY(Thaw(item.name())));
    case v1::UndoItem::NETWORK_LOCK:
      return std::optional(TRY(Unlock(item)));
    case v1::UndoItem::HOLD:
      return std::optional(TRY(ReleaseHold(item.name())));
    case v1::UndoItem::STAND_IN:
      return std::optional(TRY(GiveBack(item)));
    case v1::UndoItem::ADDRESS_ROUTE:
      TRY(item.detail() == kAddressRouteAway
              ? RemoveAddressRoute(TRY(OpenNetns(getpid())), item.name())
              : RemoveAddressTarget(TRY(OpenNetns(getpid())), item.name()));
      return std::optional(std::string());
    case v1::UndoItem::SCHEDULING:
      return std::optional(
          TRY(StopRecording(RecordingUndo::Kind::kScheduling, item, "its old scheduling is back")));
    case v1::UndoItem::VDSO:
      return std::optional(
          TRY(StopRecording(RecordingUndo::Kind::kVdso, item, "its clocks are as before")));
    case v1::UndoItem::TSC:
      return std::optional(TRY(StopRecording(RecordingUndo::Kind::kTsc, item, std::string())));
    default:
      return std::optional<std::string>();
  }
}

}  // namespace migrate
