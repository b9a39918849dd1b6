// Moves an image whose id the target lacks, without the layers that it has.
//
// The stream is the archive of `docker save` with layer files left out: at load the engine does
// not read a layer whose chain (it and all below) it knows. Layers below the first missing one are
// what can be left out; one whose content occurs again above it stays. Bounded memory; blocks.
//
// Archives before Docker 25 name layers by ids that only manifest.json, near the end, maps to
// contents: then the source's engine saves twice, the first time only for the mapping. Later ones
// (OCI layout) name blobs by digest and need one pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "migrated/docker/create_on_target.h"
#include "migrated/docker/docker_client.h"
#include "migrated/ship/byte_stream.h"

namespace migrate {

// Target: how many of the image's layers, counted from the base, some image here has.
Result<std::size_t> PresentLayers(DockerClient& client, const std::vector<std::string>& diff_ids);

struct SaveStatistics {
  std::uint64_t bytes_written = 0;
  std::uint64_t bytes_left_out = 0;
  std::size_t files_left_out = 0;
};

// Source: writes the archive without the lowest `layers_present` layers. Does not Finish() the
// sink.
Result<SaveStatistics> SaveImageWithout(DockerClient& client, const std::string& image_id,
                                        std::size_t layers_present, ByteSink& sink);

// Target: loads the stream, checks that the image is there under its id, and tags it
// `image_name` unless that is an id or digest, or another image here has the tag. Announces what
// it creates beforehand; an image that was there is not announced.
Result<> ReceiveImage(DockerClient& client, const std::string& image_id,
                      const std::string& image_name, ByteSource& source, const OnCreate& on_create);

struct ImageName {
  std::string repository;
  std::string tag;
};
// "host:5000/a/b" -> tag "latest". Empty repository: not a name that can be a tag.
ImageName SplitImageName(const std::string& name);

}  // namespace migrate
