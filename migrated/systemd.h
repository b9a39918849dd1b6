// Tells systemd how the daemon is; nothing happens where it does not ask. Thread-safe.
#pragma once

namespace migrate {

void NotifySystemd(const char* state);  // "READY=1"

}  // namespace migrate
