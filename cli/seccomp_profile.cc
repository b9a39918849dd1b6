// `migrate seccomp-profile`: needs no daemon.
#include "recorder/seccomp_profile.h"

#include <cstdio>

#include "base/file_util.h"
#include "cli/commands.h"

namespace migrate {

ExitCode RunSeccompProfile(const std::string& out) {
  const auto profile = SeccompProfile();
  if (!profile) {
    std::fprintf(stderr, "migrate: %s\n", profile.error().message.c_str());
    return ExitCode::kInternal;
  }
  if (out.empty() || out == "-") {
    const bool written =
        std::fwrite(profile->data(), 1, profile->size(), stdout) == profile->size() &&
        std::fflush(stdout) == 0;
    return written ? ExitCode::kMoved : ExitCode::kInternal;
  }
  // Readable by all: it is `docker`, as whoever runs it, that reads it.
  if (const auto written = WriteFileAtomically(out, *profile, 0644); !written) {
    std::fprintf(stderr, "migrate: %s\n", written.error().message.c_str());
    return ExitCode::kInternal;
  }
  return ExitCode::kMoved;
}

}  // namespace migrate
