#include "cli/render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace migrate {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

v1::Migration InDoubt(v1::Role role) {
  v1::Migration migration;
  migration.set_id("0123456789abcdef");
  migration.set_container_name("web1");
  migration.set_peer("hostB:7070");
  migration.set_role(role);
  migration.set_outcome(v1::OUTCOME_IN_DOUBT);
  migration.mutable_doubt()->mutable_since()->set_seconds(1'000'000);
  migration.mutable_doubt()->set_here("frozen here");
  migration.mutable_doubt()->set_peer("no daemon answers");
  migration.mutable_doubt()->add_commands("migrate resolve 0123456789abcdef --run-here");
  migration.mutable_doubt()->add_commands("migrate resolve 0123456789abcdef --end-here");
  return migration;
}

TEST(Render, ADoubtSaysWhatEachSideKnowsAndWhatEndsIt) {
  const std::string text = Summary(InDoubt(v1::ROLE_SOURCE));
  EXPECT_THAT(text, HasSubstr("in doubt since 1970-01-1"));
  EXPECT_THAT(text, HasSubstr("frozen here"));
  EXPECT_THAT(text, HasSubstr("hostB:7070: no daemon answers"));
  EXPECT_THAT(text, HasSubstr("migrate resolve 0123456789abcdef --run-here"));
  EXPECT_THAT(text, HasSubstr("migrate resolve 0123456789abcdef --end-here"));
}

TEST(Render, TheListNamesDoubtsOnly) {
  Migrations migrations;
  *migrations.Add() = InDoubt(v1::ROLE_TARGET);
  *migrations.Add() = InDoubt(v1::ROLE_SOURCE);
  migrations.Mutable(1)->set_id("fedcba9876543210");
  migrations.Mutable(1)->set_outcome(v1::OUTCOME_MOVED);
  EXPECT_THAT(DoubtLines(migrations), HasSubstr("0123456789abcdef web1: in doubt since"));
  EXPECT_THAT(DoubtLines(migrations), Not(HasSubstr("fedcba9876543210")));
}

TEST(Render, WhoseCopyRunsIsOnlySaidAtTheSource) {
  v1::Migration migration = InDoubt(v1::ROLE_SOURCE);
  migration.set_outcome(v1::OUTCOME_ROLLED_BACK);
  EXPECT_THAT(Summary(migration), HasSubstr("web1 runs here"));
  migration.set_role(v1::ROLE_TARGET);
  EXPECT_THAT(Summary(migration), Not(HasSubstr("runs here")));
}

TEST(Render, Relays) {
  Relays relays;
  EXPECT_THAT(RelayTable(relays), HasSubstr("no relays"));
  v1::RelayInfo* relay = relays.Add();
  relay->set_id("00000000000000aa");
  relay->set_container_name("web1-moved-01234567");
  relay->set_location("hostB:7070");
  relay->set_connections(3);
  relay->set_problem("gone");
  v1::PublishedPort* port = relay->add_ports();
  port->set_host_port(8080);
  port->set_container_port(80);
  port->set_protocol("tcp");
  const std::string text = RelayTable(relays);
  for (const char* part : {"00000000000000aa", "web1-moved-01234567", "hostB:7070", "8080->80/tcp",
                           "    3  ", "PROBLEM: gone"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

}  // namespace
}  // namespace migrate
