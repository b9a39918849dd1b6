#include "cli/render.h"

#include <google/protobuf/util/json_util.h>

#include <array>
#include <ctime>

#include "base/check.h"
#include "cli/units.h"
#include "proto/phase_table.h"

namespace migrate {
namespace {

constexpr int kBarCells = 20;
constexpr auto kPlainInterval = std::chrono::seconds(1);

const v1::PhaseProgress* CurrentPhase(const v1::Migration& migration) {
  for (const v1::PhaseProgress& progress : migration.phases()) {
    if (progress.phase() == migration.phase()) {
      return &progress;
    }
  }
  return nullptr;
}

std::string BarCells(const v1::PhaseProgress& progress) {
  if (progress.total_bytes() == 0) {
    return {};
  }
  const double share = std::min(1.0, static_cast<double>(progress.done_bytes()) /
                                         static_cast<double>(progress.total_bytes()));
  std::string bar;
  for (int cell = 0; cell < kBarCells; ++cell) {
    bar += cell < static_cast<int>(share * kBarCells) ? "█" : "░";
  }
  return bar + " ";
}

std::string Amount(const v1::PhaseProgress& progress) {
  std::string text;
  if (progress.done_bytes() > 0) {
    text += FormatBytes(progress.done_bytes());
    if (progress.total_bytes() > 0) {
      text += " of " + FormatBytes(progress.total_bytes());
    }
    if (progress.bytes_per_second() > 0) {
      text += "  " + FormatBytes(progress.bytes_per_second()) + "/s";
    }
  }
  return text;
}

std::string Line(const v1::Migration& migration, bool with_bar) {
  std::string text(PhaseName(migration.phase()));
  text.resize(std::max<std::size_t>(text.size(), 11), ' ');
  if (const v1::PhaseProgress* progress = CurrentPhase(migration)) {
    if (with_bar) {
      text += BarCells(*progress);
    }
    text += Amount(*progress);
    if (!progress->detail().empty()) {
      text += (text.ends_with(' ') ? "" : "  ") + progress->detail();
    }
    text += "  " + FormatMilliseconds(static_cast<double>(progress->elapsed_ms()));
  }
  return text;
}

std::string TimeOfDay() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm local{};
  localtime_r(&now.tv_sec, &local);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%02d:%02d:%02d.%03ld", local.tm_hour, local.tm_min,
                local.tm_sec, now.tv_nsec / 1'000'000);
  return text.data();
}

std::string FailureText(const v1::Migration& migration) {
  const v1::MigrationFailure& failure = migration.failure();
  std::string text = failure.message() + "\n";
  for (const v1::Blocker& blocker : failure.blockers()) {
    text += "  " + BlockerText(blocker) + "\n";
  }
  for (const std::string& undone : failure.undone()) {
    text += "  put back: " + undone + "\n";
  }
  return text;
}

std::string MovedText(const v1::Migration& migration) {
  if (migration.role() == v1::ROLE_TARGET) {
    return migration.container_name() + " came from " + migration.peer() +
           ", whose `migrate status " + migration.id() + "` has the figures\n";
  }
  std::string text = migration.container_name() + " moved to " + migration.peer() + " in " +
                     FormatMilliseconds(static_cast<double>(migration.total_time_ms())) + "\n";
  text += "  downtime    " + FormatMilliseconds(migration.downtime_ms()) + " (checkpoint " +
          FormatMilliseconds(migration.checkpoint_ms()) + ", ship " +
          FormatMilliseconds(migration.ship_ms()) + ", restore " +
          FormatMilliseconds(migration.restore_ms()) + ", cutover " +
          FormatMilliseconds(migration.cutover_ms()) + "; on this host's clock)\n";
  text += "  shipped     " + FormatBytes(migration.transferred_bytes()) + " (image " +
          FormatBytes(migration.transferred().image()) + ", files " +
          FormatBytes(migration.transferred().files()) + ", checkpoint " +
          FormatBytes(migration.transferred().checkpoint()) + ")\n";
  text += "  rung        " + migration.rung() + "\n";
  if (!migration.source_container_left().empty()) {
    text += "  left here   " + migration.source_container_left() +
            ", stopped (`migrate gc --moved` removes it)\n";
  }
  for (const std::string& relay : migration.relays()) {
    text += "  relay       " + relay + "\n";
  }
  return text;
}

}  // namespace

void ProgressPrinter::Bar(const v1::Migration& migration) {
  std::fprintf(out_, "\r\033[K%s", Line(migration, true).c_str());
  std::fflush(out_);
  line_open_ = true;
}

void ProgressPrinter::Plain(const v1::Migration& migration) {
  const auto now = std::chrono::steady_clock::now();
  if (migration.phase() == last_phase_ && now - last_line_ < kPlainInterval) {
    return;
  }
  last_phase_ = migration.phase();
  last_line_ = now;
  std::fprintf(out_, "%s %s\n", TimeOfDay().c_str(), Line(migration, false).c_str());
  std::fflush(out_);
}

void ProgressPrinter::Update(const v1::Migration& migration) {
  switch (style_) {
    case ProgressStyle::kBar:
      Bar(migration);
      break;
    case ProgressStyle::kPlain:
      Plain(migration);
      break;
    case ProgressStyle::kJson:
      std::fprintf(out_, "%s\n", ToJson(migration, true).c_str());
      std::fflush(out_);
      break;
    case ProgressStyle::kNone:
      break;
  }
}

void ProgressPrinter::Finish() {
  if (line_open_) {
    std::fprintf(out_, "\r\033[K");
    std::fflush(out_);
    line_open_ = false;
  }
}

std::string ToJson(const google::protobuf::Message& message, bool one_line) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = !one_line;
  options.preserve_proto_field_names = true;
  std::string text;
  CHECK(google::protobuf::util::MessageToJsonString(message, &text, options).ok());
  return text;
}

std::string BlockerText(const v1::Blocker& blocker) {
  std::string text = blocker.code() + " " + blocker.subject();
  if (!blocker.detail().empty()) {
    text += ": " + blocker.detail();
  }
  if (!blocker.remedy().empty()) {
    text += " -> " + blocker.remedy();
  }
  return text;
}

std::string OutcomeName(const v1::Migration& migration) {
  switch (migration.outcome()) {
    case v1::OUTCOME_MOVED:
      return "moved";
    case v1::OUTCOME_REFUSED:
      return "refused";
    case v1::OUTCOME_ABORTED:
      return "aborted";
    case v1::OUTCOME_ROLLED_BACK:
      return "rolled back";
    case v1::OUTCOME_BUDGET_EXCEEDED:
      return "budget exceeded";
    case v1::OUTCOME_IN_DOUBT:
      return "in doubt";
    case v1::OUTCOME_INTERNAL_ERROR:
      return "internal error";
    default:
      return std::string(PhaseName(migration.phase()));
  }
}

std::string Summary(const v1::Migration& migration) {
  const std::string& name = migration.container_name();
  switch (migration.outcome()) {
    case v1::OUTCOME_MOVED:
      return MovedText(migration);
    case v1::OUTCOME_REFUSED:
      return "refused: " + FailureText(migration) + "  nothing was touched\n";
    case v1::OUTCOME_ABORTED:
    case v1::OUTCOME_ROLLED_BACK:
    case v1::OUTCOME_BUDGET_EXCEEDED:
      return OutcomeName(migration) + " in " + std::string(PhaseName(migration.failure().phase())) +
             ": " + FailureText(migration) + "  " + name + " runs here\n";
    case v1::OUTCOME_IN_DOUBT:
      return "in doubt: " + migration.peer() +
             " has not confirmed that the container runs there; it stays frozen here and this "
             "daemon goes on trying (migrate status " +
             migration.id() + ")\n";
    default:
      return OutcomeName(migration) + ": " + FailureText(migration);
  }
}

std::string ListHeader() {
  std::array<char, 160> text{};
  std::snprintf(text.data(), text.size(), "%-16s  %-20s  %-6s  %-22s  %-15s  %9s  %9s", "ID",
                "CONTAINER", "ROLE", "PEER", "STATE", "TIME", "DOWNTIME");
  return text.data();
}

std::string ListLine(const v1::Migration& migration) {
  std::array<char, 256> text{};
  std::snprintf(
      text.data(), text.size(), "%-16s  %-20.20s  %-6s  %-22s  %-15s  %9s  %9s",
      migration.id().c_str(), migration.container_name().c_str(),
      migration.role() == v1::ROLE_SOURCE ? "source" : "target", migration.peer().c_str(),
      OutcomeName(migration).c_str(),
      migration.total_time_ms() > 0
          ? FormatMilliseconds(static_cast<double>(migration.total_time_ms())).c_str()
          : "-",
      migration.downtime_ms() > 0 ? FormatMilliseconds(migration.downtime_ms()).c_str() : "-");
  return text.data();
}

}  // namespace migrate
