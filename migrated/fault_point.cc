#include "migrated/fault_point.h"

#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>

namespace migrate {
namespace {

constexpr bool TableIsInOrder() {
  for (std::size_t i = 0; i < kFaultTable.size(); ++i) {
    if (static_cast<std::size_t>(kFaultTable[i].point) != i) {
      return false;
    }
  }
  return true;
}
static_assert(TableIsInOrder());

enum class Action { kNone, kKill, kFail, kWait };

struct Armed {
  std::atomic<Action> action = Action::kNone;
  std::chrono::milliseconds wait{0};
};

std::array<Armed, kFaultTable.size()>& Points() {
  static std::array<Armed, kFaultTable.size()> points;
  return points;
}

Result<> Arm(std::string_view item) {
  const auto equals = item.find('=');
  const std::string_view name = item.substr(0, equals);
  const std::string_view action =
      equals == std::string_view::npos ? std::string_view() : item.substr(equals + 1);
  for (const FaultRow& row : kFaultTable) {
    if (row.name != name) {
      continue;
    }
    Armed& armed = Points()[static_cast<std::size_t>(row.point)];
    if (action == "kill") {
      armed.action = Action::kKill;
      return {};
    }
    if (action == "fail") {
      armed.action = Action::kFail;
      return {};
    }
    constexpr std::string_view kWait = "wait:";
    long milliseconds = 0;
    if (action.starts_with(kWait) &&
        std::from_chars(action.data() + kWait.size(), action.data() + action.size(), milliseconds)
                .ptr == action.data() + action.size()) {
      armed.wait = std::chrono::milliseconds(milliseconds);
      armed.action = Action::kWait;
      return {};
    }
  }
  return MakeError(ErrorCode::kInvalidArgument,
                   "MIGRATED_FAULTS: '" + std::string(item) +
                       "' is not POINT=kill|fail|wait:MS; see migrated --list-fault-points");
}

}  // namespace

Result<> LoadFaults() {
  const char* text = std::getenv("MIGRATED_FAULTS");
  std::string_view rest = text == nullptr ? "" : text;
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    TRY(Arm(rest.substr(0, comma)));
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  }
  return {};
}

Result<> Fault(FaultPoint point) {
  Armed& armed = Points()[static_cast<std::size_t>(point)];
  if (armed.action == Action::kNone) {
    return {};
  }
  const FaultRow& row = kFaultTable[static_cast<std::size_t>(point)];
  switch (armed.action.exchange(Action::kNone)) {
    case Action::kKill:
      spdlog::warn("fault point {}: SIGKILL", row.name);
      std::raise(SIGKILL);
      break;
    case Action::kFail:
      spdlog::warn("fault point {}: fails", row.name);
      return MakeError(ErrorCode::kInternal, "fault point " + std::string(row.name), "FAULT_POINT");
    case Action::kWait:
      spdlog::warn("fault point {}: waiting {} ms", row.name, armed.wait.count());
      std::this_thread::sleep_for(armed.wait);
      break;
    case Action::kNone:
      break;
  }
  return {};
}

}  // namespace migrate
