#include "migrated/proxy_connections.h"

#include <gtest/gtest.h>

#include <string>

namespace migrate {
namespace {

std::string CommandLine(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) {
    line += word + '\0';
  }
  return line;
}

TEST(ProxyConnections, ReadsWhereAProxyLeads) {
  EXPECT_EQ(ParseProxyCommand(CommandLine({"/usr/sbin/docker-proxy", "-proto", "tcp", "-host-ip",
                                           "0.0.0.0", "-host-port", "6379", "-container-ip",
                                           "172.17.0.2", "-container-port", "80"})),
            (ProxyEnd{Protocol::kTcp, "172.17.0.2", 80}));
  EXPECT_EQ(ParseProxyCommand(CommandLine({"docker-proxy", "-proto", "udp", "-host-ip",
                                           "::", "-host-port", "53", "-container-ip", "172.17.0.2",
                                           "-container-port", "5353", "-use-listen-fd"})),
            (ProxyEnd{Protocol::kUdp, "172.17.0.2", 5353}));
}

TEST(ProxyConnections, LeavesOthersAlone) {
  EXPECT_EQ(ParseProxyCommand(""), std::nullopt);
  EXPECT_EQ(ParseProxyCommand(
                CommandLine({"vi", "-container-ip", "172.17.0.2", "-container-port", "80"})),
            std::nullopt);
  EXPECT_EQ(ParseProxyCommand(CommandLine({"docker-proxy", "-container-ip", "172.17.0.2"})),
            std::nullopt);
  EXPECT_EQ(ParseProxyCommand(CommandLine({"docker-proxy", "-proto", "sctp", "-container-ip",
                                           "172.17.0.2", "-container-port", "80"})),
            std::nullopt);
}

TEST(ProxyConnections, SaysNothingOfNone) {
  EXPECT_EQ(DescribeProxiedConnections(0), "");
  EXPECT_TRUE(DescribeProxiedConnections(3).starts_with("3 connections pass "));
}

}  // namespace
}  // namespace migrate
