// A daemon that speaks a protocol of the future, for the scenario that is refused because of it.
#include "migrated/compatibility.h"

namespace migrate {

std::uint32_t ProtocolVersion() { return 1000; }

}  // namespace migrate
