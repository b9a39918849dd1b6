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

std::string DateAndTime(const google::protobuf::Timestamp& timestamp) {
  const std::time_t seconds = timestamp.seconds();
  tm local{};
  localtime_r(&seconds, &local);
  std::array<char, 64> text{};
  std::strftime(text.data(), text.size(), "%F %T", &local);
  return text.data();
}

std::string DoubtText(const v1::Migration& migration) {
  const v1::Doubt& doubt = migration.doubt();
  const bool source = migration.role() == v1::ROLE_SOURCE;
  std::string text = "in doubt since " + DateAndTime(doubt.since()) +
                     ": this daemon goes on asking, and two copies never run\n";
  text += "  here        " + doubt.here() + "\n";
  text += "  other side  " + migration.peer() + ": " + doubt.peer() + "\n";
  text += "  if that host is gone for good:\n";
  for (const std::string& command : doubt.commands()) {
    const bool run = command.ends_with("--run-here");
    text += "    " + command + (run ? "   it goes on here" : "   the copy here ends") +
            (source || run ? "" : ": it is removed") + "\n";
  }
  return text;
}

std::string HeldText(const v1::Migration& migration) {
  if (migration.held_packets() == 0 && migration.held_dropped() == 0) {
    return {};
  }
  std::string text = "  held        " + std::to_string(migration.held_packets()) + " packets (" +
                     FormatBytes(migration.held_bytes()) + ") for " +
                     FormatMilliseconds(migration.hold_ms());
  if (migration.held_dropped() > 0) {
    text += ", " + std::to_string(migration.held_dropped()) + " dropped beyond the limit";
  }
  return text + "\n";
}

std::string NotesText(const v1::Migration& migration) {
  std::string text;
  if (!migration.resolution().empty()) {
    text += "  resolved    " + migration.resolution() + "\n";
  }
  for (const std::string& warning : migration.warnings()) {
    text += "  WARNING     " + warning + "\n";
  }
  return text;
}

std::string MovedText(const v1::Migration& migration) {
  if (migration.role() == v1::ROLE_TARGET) {
    return migration.container_name() + " came from " + migration.peer() +
           ", whose `migrate status " + migration.id() + "` has the figures\n" +
           NotesText(migration);
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
  text += HeldText(migration);
  text += "  rung        " + migration.rung() + "\n";
  if (!migration.source_container_left().empty()) {
    text += "  left here   " + migration.source_container_left() +
            ", stopped (`migrate gc --moved` removes it)\n";
  }
  for (const std::string& relay : migration.relays()) {
    text += "  relay       " + relay + "\n";
  }
  return text + NotesText(migration);
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
             ": " + FailureText(migration) +
             (migration.role() == v1::ROLE_SOURCE ? "  " + name + " runs here\n" : "") +
             NotesText(migration);
    case v1::OUTCOME_IN_DOUBT:
      return DoubtText(migration);
    default:
      return OutcomeName(migration) + ": " + FailureText(migration);
  }
}

std::string DoubtLines(const Migrations& migrations) {
  std::string text;
  for (const v1::Migration& migration : migrations) {
    if (migration.outcome() == v1::OUTCOME_IN_DOUBT) {
      text +=
          "\n" + migration.id() + " " + migration.container_name() + ": " + DoubtText(migration);
    }
  }
  return text;
}

std::string RelayTable(const Relays& relays) {
  static constexpr char kFormat[] = "%-16s  %-28.28s  %-7s  %-22s  %-24s  %5s  %s\n";
  std::array<char, 512> line{};
  std::snprintf(line.data(), line.size(), kFormat, "RELAY", "CONTAINER", "MODE", "LEADS TO",
                "PORTS", "CONNS", "SINCE");
  std::string text = line.data();
  for (const v1::RelayInfo& relay : relays) {
    std::string ports;
    for (const v1::PublishedPort& port : relay.ports()) {
      ports += (ports.empty() ? "" : ",") + std::to_string(port.host_port()) + "->" +
               std::to_string(port.container_port()) + "/" + port.protocol();
    }
    const char* mode = relay.mode() == v1::NETWORK_MODE_ADDRESS ? "address"
                       : relay.mode() == v1::NETWORK_MODE_HOOK  ? "hook"
                                                                : "relay";
    std::snprintf(line.data(), line.size(), kFormat, relay.id().c_str(),
                  relay.container_name().c_str(), mode,
                  relay.location().empty() ? "(back here)" : relay.location().c_str(),
                  ports.empty() ? "-" : ports.c_str(), std::to_string(relay.connections()).c_str(),
                  relay.has_since() ? DateAndTime(relay.since()).c_str() : "-");
    text += line.data();
    if (!relay.problem().empty()) {
      text += "  PROBLEM: " + relay.problem() + "\n";
    }
  }
  return relays.empty() ? "no relays: no container that left this host is led to from here\n"
                        : text;
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
