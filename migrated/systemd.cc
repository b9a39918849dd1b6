#include "migrated/systemd.h"

#include <systemd/sd-daemon.h>

namespace migrate {

void NotifySystemd(const char* state) { sd_notify(0, state); }

}  // namespace migrate
