#include "migrated/compatibility.h"

namespace migrate {

std::uint32_t ProtocolVersion() { return 1; }

}  // namespace migrate
