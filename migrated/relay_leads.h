// The origins of a container's relays have to learn where it went: the source tells them in the
// hand-off. One that does not answer must not delay it: from then on the host where the container
// is now owes it the news, has that in its journal, and goes on telling until the origin answers.
// Until then clients of that origin reach nobody; their connections go on afterwards, if they have
// waited.
#pragma once

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "migrated/node.h"
#include "proto/journal.pb.h"

namespace migrate {

struct RelayNotLed {
  std::string relay_id;
  std::string origin_node;
  std::string why;
};

// At the source, in the hand-off: tells the origins other than the two hosts of the migration, all
// at once. Those of the relays in `silent` are not even asked. Returns those that do not know.
// Repeatable.
std::vector<RelayNotLed> LeadRelaysThere(Node& node, const v1::MigrationRecord& record,
                                         const std::set<std::string>& silent);

// Where the container runs by the operator's word: tells the origins, but for the other host of
// this migration, that it is here. Returns the ids of relays whose origins do not know.
std::vector<std::string> LeadRelaysHere(Node& node, const v1::MigrationRecord& record);

// The container of this lineage is here, and these relays have to be led here: into the journal,
// instead of what was there.
Result<> OweRelays(Node& node, const std::string& lineage_id, const std::vector<std::string>& ids);
Result<> OweRelaysOf(Node& node, const std::string& container_id,
                     const std::vector<std::string>& ids);

// For the preflight: origins, other than `target`, that do not answer now.
std::vector<std::string> NotesOnOrigins(Node& node, const v1::Lineage& lineage,
                                        const std::string& target);

// Owns a thread that tells the origins what the journal says that they are owed. The destructor
// ends it.
class RelayLeads {
 public:
  explicit RelayLeads(Node& node);

 private:
  void Run(const std::stop_token& stop);
  void LeadAll(const std::stop_token& stop);

  Node& node_;
  std::set<std::string> failed_;  // relays; their first failure was logged
  std::jthread thread_;
};

}  // namespace migrate
