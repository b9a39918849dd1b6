#include "migrated/config.h"

#include <gtest/gtest.h>

namespace migrate {
namespace {

TEST(Config, ReadsEveryKindOfValue) {
  auto config = ParseConfig(
      "node_name = \"a\"\n[listen]\npeer = \"10.0.0.1:7071\"\ninsecure = true\n"
      "[relay]\nudp_port = 9000\n",
      "x.toml");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->node_name, "a");
  EXPECT_EQ(config->peer_listen, "10.0.0.1:7071");
  EXPECT_TRUE(config->insecure);
  EXPECT_EQ(config->relay_udp_port, 9000);
  EXPECT_TRUE(ValidateConfig(*config));
}

TEST(Config, NamesTheFileAndTheKey) {
  EXPECT_EQ(ParseConfig("[docker]\nsockt = \"x\"", "x.toml").error().message,
            "x.toml: docker.sockt is not a known setting");
  EXPECT_EQ(ParseConfig("node_name = 3", "x.toml").error().message,
            "x.toml: node_name must be a string");
  EXPECT_TRUE(ParseConfig("a = ", "x.toml").error().message.starts_with("x.toml:1: "));
}

TEST(Config, RefusesInsecureOnAPublicAddress) {
  Config config;
  config.insecure = true;
  config.peer_listen = "0.0.0.0:7070";
  EXPECT_FALSE(ValidateConfig(config));
  config.insecure_anywhere = true;
  EXPECT_TRUE(ValidateConfig(config));
}

TEST(Config, RefusesHalfATlsConfiguration) {
  Config config;
  config.tls.ca = "ca.pem";
  EXPECT_FALSE(ValidateConfig(config));
  config.tls.certificate = "c.pem";
  config.tls.key = "k.pem";
  EXPECT_TRUE(ValidateConfig(config));
}

TEST(Config, PrivateAddresses) {
  for (const char* address :
       {"127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "::1", "fd00::1"}) {
    EXPECT_TRUE(IsPrivateAddress(address)) << address;
  }
  for (const char* address : {"0.0.0.0", "::", "8.8.8.8", "172.32.0.1", "host"}) {
    EXPECT_FALSE(IsPrivateAddress(address)) << address;
  }
}

TEST(HostPort, Forms) {
  EXPECT_EQ(ParseHostPort("b", 7070)->ToString(), "b:7070");
  EXPECT_EQ(ParseHostPort("b:1", 7070)->ToString(), "b:1");
  EXPECT_EQ(ParseHostPort("[::1]:2", 7070)->ToString(), "[::1]:2");
  EXPECT_EQ(ParseHostPort("fd00::2", 7070)->ToString(), "[fd00::2]:7070");
  for (const char* text : {"", ":1", "b:", "b:0", "b:65536", "b:x", "[::1", "[::1]x"}) {
    EXPECT_FALSE(ParseHostPort(text, 7070)) << text;
  }
}

}  // namespace
}  // namespace migrate
