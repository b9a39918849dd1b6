#include "migrated/compatibility.h"

#include <gtest/gtest.h>

namespace migrate {
namespace {

v1::Node Node() {
  v1::Node node;
  node.set_name("n");
  node.set_version("0.1.0");
  node.set_protocol(ProtocolVersion());
  node.set_architecture("x86_64");
  node.set_criu_version("4.2.1");
  node.set_cgroup_version(1);
  node.add_cpu_features("avx2");
  return node;
}

std::string OnlyCode(const v1::Node& source, const v1::Node& target) {
  const auto blockers = CompatibilityBlockers(source, target);
  return blockers.size() == 1 ? blockers[0].code() : std::to_string(blockers.size());
}

TEST(Compatibility, TheSameNodeIsFine) {
  EXPECT_TRUE(CompatibilityBlockers(Node(), Node()).empty());
}

TEST(Compatibility, AnotherProtocolIsTheOnlyThingSaid) {
  v1::Node other = Node();
  other.set_protocol(ProtocolVersion() + 1);
  other.set_architecture("aarch64");
  EXPECT_EQ(OnlyCode(Node(), other), "VERSION_MISMATCH");
  EXPECT_EQ(BlockersError(CompatibilityBlockers(Node(), other)).code, ErrorCode::kVersionMismatch);
}

TEST(Compatibility, NewerCpuAndCriuAreFineOlderOnesAreNot) {
  v1::Node newer = Node();
  newer.add_cpu_features("avx512f");
  newer.set_criu_version("4.3");
  EXPECT_TRUE(CompatibilityBlockers(Node(), newer).empty());
  v1::Node less = Node();
  less.clear_cpu_features();
  EXPECT_EQ(OnlyCode(Node(), less), "CPU_FEATURES");
  v1::Node older = Node();
  older.set_criu_version("3.17.1");
  EXPECT_EQ(OnlyCode(Node(), older), "CRIU_OLDER");
}

TEST(Compatibility, AllBlockersAreListed) {
  v1::Node other = Node();
  other.set_architecture("aarch64");
  other.set_cgroup_version(2);
  other.add_problems("no usable CRIU");
  const auto blockers = CompatibilityBlockers(Node(), other);
  EXPECT_EQ(blockers.size(), 3u);
  EXPECT_NE(BlockersError(blockers).message.find("(and 2 more)"), std::string::npos);
}

}  // namespace
}  // namespace migrate
