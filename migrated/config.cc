#include "migrated/config.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <toml++/toml.h>
#include <array>
#include <charconv>
#include <cstring>
#include <map>
#include <sstream>
#include <variant>

#include "base/file_util.h"

namespace migrate {
namespace {

using Target = std::variant<std::string*, bool*, std::uint16_t*>;

Error BadKey(std::string_view file, const std::string& key, std::string_view why) {
  return MakeError(ErrorCode::kInvalidArgument,
                   std::string(file) + ": " + key + " " + std::string(why));
}

Result<> Assign(const Target& target, const toml::node& node, std::string_view file,
                const std::string& key) {
  if (auto* const* text = std::get_if<std::string*>(&target)) {
    const auto value = node.value_exact<std::string>();
    if (!value) {
      return BadKey(file, key, "must be a string");
    }
    **text = *value;
  } else if (auto* const* flag = std::get_if<bool*>(&target)) {
    const auto value = node.value_exact<bool>();
    if (!value) {
      return BadKey(file, key, "must be true or false");
    }
    **flag = *value;
  } else {
    const auto value = node.value_exact<std::int64_t>();
    if (!value || *value < 1 || *value > 65535) {
      return BadKey(file, key, "must be a port number");
    }
    **std::get_if<std::uint16_t*>(&target) = static_cast<std::uint16_t>(*value);
  }
  return {};
}

std::map<std::string, Target> Keys(Config& config) {
  return {
      {"node_name", &config.node_name},
      {"log_level", &config.log_level},
      {"listen.control", &config.control_socket},
      {"listen.peer", &config.peer_listen},
      {"listen.advertise", &config.advertise_address},
      {"listen.insecure", &config.insecure},
      {"listen.insecure_anywhere", &config.insecure_anywhere},
      {"docker.socket", &config.docker_socket},
      {"docker.exec_root", &config.docker_exec_root},
      {"docker.runtime", &config.runtime_name},
      {"runtime.runc", &config.runc},
      {"runtime.criu_path", &config.criu_path},
      {"runtime.state_dir", &config.runtime_state_dir},
      {"state.dir", &config.state_dir},
      {"tls.ca", &config.tls.ca},
      {"tls.certificate", &config.tls.certificate},
      {"tls.key", &config.tls.key},
      {"relay.subnet", &config.relay_subnet},
      {"relay.udp_port", &config.relay_udp_port},
      {"hand_off.hook", &config.hand_off_hook},
  };
}

Result<> AssignTable(const std::map<std::string, Target>& keys, const toml::table& table,
                     const std::string& prefix, std::string_view file) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    if (const auto* inner = node.as_table()) {
      TRY(AssignTable(keys, *inner, name + ".", file));
      continue;
    }
    const auto found = keys.find(name);
    if (found == keys.end()) {
      return BadKey(file, name, "is not a known setting");
    }
    TRY(Assign(found->second, node, file, name));
  }
  return {};
}

bool InPrefix4(std::uint32_t address, std::uint32_t prefix, int bits) {
  return (address >> (32 - bits)) == (prefix >> (32 - bits));
}

}  // namespace

Result<Config> ParseConfig(std::string_view toml_text, std::string_view file_name) {
  toml::table table;
  try {
    table = toml::parse(toml_text, file_name);
  } catch (const toml::parse_error& error) {
    std::ostringstream text;
    text << file_name << ":" << error.source().begin.line << ": " << error.description();
    return MakeError(ErrorCode::kInvalidArgument, text.str());
  }
  Config config;
  TRY(AssignTable(Keys(config), table, "", file_name));
  if (config.node_name.empty()) {
    std::array<char, 256> name{};
    gethostname(name.data(), name.size() - 1);
    config.node_name = name.data();
  }
  return config;
}

Result<Config> LoadConfig(const std::string& path) {
  const std::string text = TRY(ReadSmallFile(path));
  return ParseConfig(text, path);
}

bool IsPrivateAddress(std::string_view address) {
  const std::string text(address);
  in_addr v4{};
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) {
    const std::uint32_t a = ntohl(v4.s_addr);
    return InPrefix4(a, 0x7f000000, 8) || InPrefix4(a, 0x0a000000, 8) ||
           InPrefix4(a, 0xac100000, 12) || InPrefix4(a, 0xc0a80000, 16) ||
           InPrefix4(a, 0xa9fe0000, 16) || InPrefix4(a, 0x64400000, 10);
  }
  in6_addr v6{};
  if (inet_pton(AF_INET6, text.c_str(), &v6) == 1) {
    const auto* bytes = v6.s6_addr;
    return IN6_IS_ADDR_LOOPBACK(&v6) || (bytes[0] & 0xfe) == 0xfc ||
           (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80);
  }
  return false;
}

std::string HostPort::ToString() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<HostPort> ParseHostPort(std::string_view text, std::uint16_t default_port) {
  const auto bad = [&](std::string_view why) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "'" + std::string(text) + "' is not host or host:port: " + std::string(why));
  };
  HostPort result{std::string(text), default_port};
  std::string_view port;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) {
      return bad("']' is missing");
    }
    result.host = text.substr(1, end - 1);
    if (end + 1 < text.size()) {
      if (text[end + 1] != ':') {
        return bad("':' expected after ']'");
      }
      port = text.substr(end + 2);
      if (port.empty()) {
        return bad("the port is empty");
      }
    }
  } else if (const auto colon = text.find(':');
             colon != std::string_view::npos &&
             text.find(':', colon + 1) == std::string_view::npos) {
    result.host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (port.empty()) {
      return bad("the port is empty");
    }
  }
  if (result.host.empty()) {
    return bad("the host is empty");
  }
  if (!port.empty()) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), value);
    if (error != std::errc{} || end != port.data() + port.size() || value < 1 || value > 65535) {
      return bad("the port is not a number from 1 to 65535");
    }
    result.port = static_cast<std::uint16_t>(value);
  }
  return result;
}

Result<> ValidateConfig(const Config& config) {
  const HostPort listen = TRY(ParseHostPort(config.peer_listen, kDefaultPeerPort));
  if (config.insecure && config.tls.configured()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "both listen.insecure and [tls] are set: remove one of them");
  }
  if (config.insecure && !config.insecure_anywhere && !IsPrivateAddress(listen.host)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "insecure mode on " + config.peer_listen +
                         ", which is not a private address: anybody who reaches it could take "
                         "containers. Configure [tls], listen on a private address, or force it "
                         "with --insecure-anywhere");
  }
  if (!config.insecure &&
      (config.tls.ca.empty() || config.tls.certificate.empty() || config.tls.key.empty())) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "peers need mutual TLS: set tls.ca, tls.certificate and tls.key (README, "
                     "\"Two real hosts\"), or --insecure for a testbed");
  }
  return {};
}

}  // namespace migrate
