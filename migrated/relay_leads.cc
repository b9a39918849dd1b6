#include "migrated/relay_leads.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <future>

#include "base/netns.h"
#include "base/stop_wait.h"
#include "migrated/network/host_facts.h"
#include "migrated/peer_address.h"
#include "migrated/relays.h"
#include "migrated/resolve.h"

namespace migrate {
namespace {

// Clients of all hosts wait for it in the hand-off.
constexpr auto kLeadTimeout = std::chrono::seconds(2);
constexpr auto kLeadAgain = std::chrono::seconds(2);

// An origin without that relay any more has nobody to lead.
Result<> Repoint(Node& node, const v1::Relay& relay, const v1::RepointRelayRequest& request) {
  auto origin = TRY(node.ConnectPeer(relay.origin_endpoint()));
  const auto reply = origin->RepointRelay(request, {.timeout = kLeadTimeout});
  if (!reply && reply.error().code == ErrorCode::kNotFound) {
    spdlog::warn("relay {}: {}: {}", relay.id(), relay.origin_node(), reply.error().message);
    return {};
  }
  return reply ? Result<>() : Result<>(reply.error());
}

Result<> LeadHere(Node& node, const v1::Relay& relay) {
  const OwnedFd host = TRY(OpenNetns(getpid()));
  HostPort here = TRY(ParseHostPort(node.Describe().peer_endpoint(), kDefaultPeerPort));
  v1::RepointRelayRequest request;
  request.set_relay_id(relay.id());
  request.set_new_address(
      TRY(SourceAddressToward(host, TRY(ResolveIpv4(relay.origin_endpoint())))));
  if (here.host == "0.0.0.0" || here.host == "::") {
    here.host = request.new_address();
  }
  request.set_new_endpoint(here.ToString());
  return Repoint(node, relay, request);
}

std::vector<RelayNotLed> ForAll(const std::vector<v1::Relay>& relays,
                                const std::function<Result<>(const v1::Relay&)>& lead) {
  std::vector<std::future<Result<>>> calls;
  calls.reserve(relays.size());
  for (const v1::Relay& relay : relays) {
    calls.push_back(std::async(std::launch::async, [&lead, &relay] { return lead(relay); }));
  }
  std::vector<RelayNotLed> failed;
  for (std::size_t i = 0; i < relays.size(); ++i) {
    if (const Result<> led = calls[i].get(); !led) {
      failed.push_back({relays[i].id(), relays[i].origin_node(), led.error().message});
    }
  }
  return failed;
}

// The container of the record must not be on its way elsewhere: its source tells the origins then.
bool IsMoving(Node& node, const std::string& lineage_id) {
  const auto records = node.journal().Migrations();
  return !records ||
         std::any_of(records->begin(), records->end(), [&](const v1::MigrationRecord& record) {
           return record.lineage().id() == lineage_id && !HasEnded(record.migration());
         });
}

}  // namespace

std::vector<RelayNotLed> LeadRelaysThere(Node& node, const v1::MigrationRecord& record,
                                         const std::set<std::string>& silent) {
  const auto remote = ResolveIpv4(record.migration().peer());
  std::vector<v1::Relay> others;
  std::vector<RelayNotLed> failed;
  for (const v1::Relay& relay : record.lineage().relays()) {
    const auto origin = ResolveIpv4(relay.origin_endpoint());
    if (relay.origin_node() == node.config().node_name ||
        (origin && remote && *origin == *remote)) {
      continue;
    }
    if (silent.contains(relay.id())) {
      failed.push_back({relay.id(), relay.origin_node(), "its daemon does not answer"});
    } else {
      others.push_back(relay);
    }
  }
  const auto told = ForAll(others, [&](const v1::Relay& relay) -> Result<> {
    v1::RepointRelayRequest request;
    request.set_relay_id(relay.id());
    request.set_new_address(TRY(Result(remote)));
    request.set_new_endpoint(record.migration().peer());
    return Repoint(node, relay, request);
  });
  failed.insert(failed.end(), told.begin(), told.end());
  return failed;
}

std::vector<std::string> LeadRelaysHere(Node& node, const v1::MigrationRecord& record) {
  std::vector<v1::Relay> others;
  for (const v1::Relay& relay : record.lineage().relays()) {
    if (relay.origin_node() != node.config().node_name &&
        relay.origin_endpoint() != record.migration().peer()) {
      others.push_back(relay);
    }
  }
  std::vector<std::string> ids;
  for (const RelayNotLed& failed :
       ForAll(others, [&](const v1::Relay& relay) { return LeadHere(node, relay); })) {
    spdlog::error("relay {}: {} does not lead here yet: {}", failed.relay_id, failed.origin_node,
                  failed.why);
    ids.push_back(failed.relay_id);
  }
  return ids;
}

Result<> OweRelays(Node& node, const std::string& lineage_id, const std::vector<std::string>& ids) {
  for (v1::LineageRecord& record : TRY(node.journal().Lineages())) {
    if (record.lineage().id() == lineage_id && !record.moved_away()) {
      record.mutable_relays_to_lead()->Assign(ids.begin(), ids.end());
      TRY(node.journal().Put(record));
    }
  }
  return {};
}

Result<> OweRelaysOf(Node& node, const std::string& container_id,
                     const std::vector<std::string>& ids) {
  const auto record = TRY(node.journal().FindLineage(container_id));
  return record ? OweRelays(node, record->lineage().id(), ids) : Result<>();
}

std::vector<std::string> NotesOnOrigins(Node& node, const v1::Lineage& lineage,
                                        const std::string& target) {
  std::vector<v1::Relay> others;
  for (const v1::Relay& relay : lineage.relays()) {
    if (relay.origin_node() != node.config().node_name && relay.origin_endpoint() != target) {
      others.push_back(relay);
    }
  }
  v1::HelloRequest hello;
  *hello.mutable_node() = node.Describe();
  std::vector<std::string> notes;
  for (const RelayNotLed& silent : ForAll(others, [&](const v1::Relay& relay) -> Result<> {
         auto origin = TRY(node.ConnectPeer(relay.origin_endpoint()));
         TRY(origin->Hello(hello, {.timeout = kLeadTimeout}));
         return {};
       })) {
    notes.push_back("clients that come through " + silent.origin_node +
                    ", where the container was before, will not reach it after the move until the "
                    "daemon of that host answers: " +
                    silent.why);
  }
  return notes;
}

RelayLeads::RelayLeads(Node& node)
    : node_(node), thread_([this](const std::stop_token& stop) { Run(stop); }) {}

void RelayLeads::Run(const std::stop_token& stop) {
  do {
    LeadAll(stop);
  } while (!WaitForStop(stop, kLeadAgain));
}

void RelayLeads::LeadAll(const std::stop_token& stop) {
  const auto records = node_.journal().Lineages();
  for (const v1::LineageRecord& record : records ? *records : std::vector<v1::LineageRecord>()) {
    const auto& owed = record.relays_to_lead();
    if (owed.empty() || record.moved_away() || IsMoving(node_, record.lineage().id())) {
      continue;
    }
    std::vector<std::string> left;
    for (const v1::Relay& relay : record.lineage().relays()) {
      if (std::find(owed.begin(), owed.end(), relay.id()) == owed.end()) {
        continue;
      }
      if (const Result<> led =
              stop.stop_requested() ? MakeError(ErrorCode::kCancelled, "") : LeadHere(node_, relay);
          !led) {
        left.push_back(relay.id());
        spdlog::log(failed_.insert(relay.id()).second ? spdlog::level::warn : spdlog::level::debug,
                    "relay {}: {} does not lead here yet: {}", relay.id(), relay.origin_node(),
                    led.error().message);
      } else {
        failed_.erase(relay.id());
        spdlog::info("relay {}: {} leads here now", relay.id(), relay.origin_node());
      }
    }
    if (static_cast<int>(left.size()) == owed.size()) {
      continue;
    }
    if (const Result<> saved = OweRelays(node_, record.lineage().id(), left); !saved) {
      spdlog::error("relays of {}: {}", record.container_id(), saved.error().message);
    }
  }
}

}  // namespace migrate
