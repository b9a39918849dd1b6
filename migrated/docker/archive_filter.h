// Reads and rewrites the tar archive of `docker save` as a stream, in bounded memory. Internal to
// image_transfer.cc.
#pragma once

#include <set>
#include <string>

#include "base/result.h"
#include "migrated/docker/image_transfer.h"
#include "migrated/ship/byte_stream.h"

namespace migrate {

struct ArchiveLayout {
  bool oci = false;      // Docker 25 and later: blobs/sha256/<digest>
  std::string manifest;  // manifest.json; only read if not oci
};

// Stops reading as soon as it knows: at the first entry for the OCI layout.
Result<ArchiveLayout> ReadArchiveLayout(ByteSource& source);

// Copies the archive without the regular files at `paths`. Links, also to a file left out, stay:
// the engine does not follow those of a layer that it has.
Result<SaveStatistics> FilterArchive(ByteSource& source, const std::set<std::string>& paths,
                                     ByteSink& sink);

}  // namespace migrate
