// The daemon's configuration: a TOML file, then flags over it. Unknown keys are errors, so that a
// typing mistake is not a silent default. A value; no threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace migrate {

struct TlsFiles {
  std::string ca;
  std::string certificate;
  std::string key;
  bool configured() const { return !ca.empty() || !certificate.empty() || !key.empty(); }
};

struct Config {
  std::string node_name;  // default: the host name

  std::string control_socket = "/run/migrated/migrated.sock";
  std::string peer_listen = "0.0.0.0:7070";
  // What other daemons call this one; default: the address that the connection to them has.
  std::string advertise_address;
  bool insecure = false;           // no TLS between daemons: for a testbed
  bool insecure_anywhere = false;  // even on an address that is not private

  std::string docker_socket = "/var/run/docker.sock";
  std::string docker_exec_root = "/run/docker";
  std::string runtime_name = "migrate";

  std::string runc = "runc";
  std::string criu_path;  // directory of the criu to use, put first in PATH; empty: PATH as it is
  std::string runtime_state_dir = "/run/migrated/runtime";

  std::string state_dir = "/var/lib/migrated";

  TlsFiles tls;

  std::string relay_subnet = "198.18.0.0/16";
  std::uint16_t relay_udp_port = 7748;

  // Run by `--network=hook` when a container has left; the admin's, hence not in a request.
  std::string hand_off_hook;

  std::string log_level = "info";
};

inline constexpr std::uint16_t kDefaultPeerPort = 7070;

Result<Config> ParseConfig(std::string_view toml_text, std::string_view file_name);
Result<Config> LoadConfig(const std::string& path);

// What the values mean together: TLS complete or --insecure on a private address, and so on.
Result<> ValidateConfig(const Config& config);

// Loopback, RFC 1918, link-local, carrier-grade NAT, unique local. "0.0.0.0" and "::" are not.
bool IsPrivateAddress(std::string_view address);

struct HostPort {
  std::string host;
  std::uint16_t port = 0;
  std::string ToString() const;
};

// "host", "host:port", "[v6]:port"; a missing port is `default_port`.
Result<HostPort> ParseHostPort(std::string_view text, std::uint16_t default_port);

}  // namespace migrate
