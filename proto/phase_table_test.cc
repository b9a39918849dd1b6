// docs/phases.md is the table, rendered. After a change of the table:
//   MIGRATE_UPDATE_DOCS=1 build/dev/bin/phase_table_test
#include "proto/phase_table.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace migrate {
namespace {

const char* NameOf(MayRun may_run) {
  switch (may_run) {
    case MayRun::kSource:
      return "source";
    case MayRun::kNobody:
      return "nobody";
    case MayRun::kTarget:
      return "target";
  }
  return "";
}

std::string Rendered() {
  std::ostringstream text;
  text << "# Steps of a migration\n\nGenerated from "
          "[proto/phase_table.h](../proto/phase_table.h).\n\n"
       << "| step | phase shown | what happens | whose copy may run | can be aborted | next | "
          "after a "
          "failure |\n|---|---|---|---|---|---|---|\n";
  for (const StepRow& row : kStepTable) {
    text << "| " << row.name << " | " << PhaseName(row.phase) << " | " << row.what << " | "
         << NameOf(row.may_run) << " | " << (row.abortable ? "yes" : "no") << " | "
         << RowOf(row.next).name << " | " << RowOf(row.on_failure).name << " |\n";
  }
  return text.str();
}

TEST(PhaseTable, DocumentIsTheTable) {
  const std::string path = MIGRATE_SOURCE_DIR "/docs/phases.md";
  if (std::getenv("MIGRATE_UPDATE_DOCS") != nullptr) {
    std::ofstream(path) << Rendered();
  }
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), Rendered());
}

TEST(PhaseTable, NoStepBeforeTheCommitPointLetsTheTargetRun) {
  for (const StepRow& row : kStepTable) {
    if (row.step <= Step::kCommit || row.step == Step::kUndo) {
      EXPECT_NE(row.may_run, MayRun::kTarget) << row.name;
    } else {
      EXPECT_NE(row.may_run, MayRun::kSource) << row.name;
      EXPECT_FALSE(row.abortable) << row.name;
    }
  }
}

}  // namespace
}  // namespace migrate
