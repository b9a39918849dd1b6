#include "migrated/docker/image_transfer.h"

#include <algorithm>
#include <map>

#include "base/limits.h"
#include "migrated/docker/archive_filter.h"
#include "migrated/docker/json_util.h"

namespace migrate {

namespace {

// The contents that can be left out: the lowest `count` layers, but for those that occur above.
std::set<std::string> DroppableDiffIds(const std::vector<std::string>& diff_ids,
                                       std::size_t count) {
  count = std::min(count, diff_ids.size());
  const auto first_missing = diff_ids.begin() + static_cast<std::ptrdiff_t>(count);
  std::set<std::string> result(diff_ids.begin(), first_missing);
  for (auto id = first_missing; id != diff_ids.end(); ++id) {
    result.erase(*id);
  }
  return result;
}

// Paths of the layer files to leave out, by the manifest of the old format.
Result<std::set<std::string>> PathsByManifest(const std::string& text,
                                              const std::vector<std::string>& diff_ids,
                                              const std::set<std::string>& droppable) {
  const Json manifest = Json::parse(text, nullptr, false);
  if (!manifest.is_array() || manifest.size() != 1) {
    return MakeError(ErrorCode::kInternal, "docker save: not the manifest of one image");
  }
  const auto layers = JsonStrings(manifest[0], "Layers");
  if (layers.size() != diff_ids.size()) {
    return MakeError(ErrorCode::kInternal, "docker save: manifest and image differ in layers");
  }
  std::set<std::string> paths;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (droppable.count(diff_ids[i]) > 0) {
      paths.insert(layers[i]);
    }
  }
  return paths;
}

std::string BlobPath(const std::string& digest) {
  constexpr std::string_view kAlgorithm = "sha256:";
  return digest.starts_with(kAlgorithm) ? "blobs/sha256/" + digest.substr(kAlgorithm.size())
                                        : std::string();
}

}  // namespace

Result<std::size_t> PresentLayers(DockerClient& client, const std::vector<std::string>& diff_ids) {
  std::size_t longest = 0;
  for (const ImageInfo& image : TRY(client.ListImages())) {
    const auto [mine, theirs] = std::mismatch(diff_ids.begin(), diff_ids.end(),
                                              image.diff_ids.begin(), image.diff_ids.end());
    longest = std::max(longest, static_cast<std::size_t>(mine - diff_ids.begin()));
  }
  return longest;
}

Result<SaveStatistics> SaveImageWithout(DockerClient& client, const std::string& image_id,
                                        std::size_t layers_present, ByteSink& sink) {
  const ImageInfo image = TRY(client.InspectImage(image_id));
  const auto droppable = DroppableDiffIds(image.diff_ids, layers_present);
  std::set<std::string> paths;
  if (!droppable.empty()) {
    const auto probe = TRY(client.OpenImageArchive(image.id));
    const ArchiveLayout layout = TRY(ReadArchiveLayout(*probe));
    if (layout.oci) {
      for (const std::string& diff_id : droppable) {
        paths.insert(BlobPath(diff_id));
      }
    } else {
      paths = TRY(PathsByManifest(layout.manifest, image.diff_ids, droppable));
    }
  }
  const auto archive = TRY(client.OpenImageArchive(image.id));
  return FilterArchive(*archive, paths, sink);
}

ImageName SplitImageName(const std::string& name) {
  const bool hex = name.size() >= 12 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
                     return std::isxdigit(c) != 0;
                   });
  if (name.empty() || hex || name.starts_with("sha256:") || name.find('@') != std::string::npos) {
    return {};
  }
  const std::size_t slash = name.rfind('/');
  const std::size_t colon = name.find(':', slash == std::string::npos ? 0 : slash);
  if (colon == std::string::npos) {
    return {name, "latest"};
  }
  return {name.substr(0, colon), name.substr(colon + 1)};
}

Result<> ReceiveImage(DockerClient& client, const std::string& image_id,
                      const std::string& image_name, ByteSource& source,
                      const OnCreate& on_create) {
  auto before = client.InspectImage(image_id);
  if (!before && before.error().code == ErrorCode::kNotFound) {
    TRY(on_create({UndoKind::kImage, image_id}));
  }
  TRY(client.LoadImage(source));
  auto loaded = client.InspectImage(image_id);
  if (!loaded) {
    return Error(loaded.error()).WithContext("the image is not there after its transfer");
  }
  const ImageName name = SplitImageName(image_name);
  if (name.repository.empty()) {
    return {};
  }
  const std::string reference = name.repository + ":" + name.tag;
  auto holder = client.InspectImage(reference);
  if (holder) {
    return {};  // it is this image already, or another one's name, which stays its own
  }
  if (holder.error().code != ErrorCode::kNotFound) {
    return holder.error();
  }
  TRY(on_create({UndoKind::kImageTag, reference}));
  return client.TagImage(image_id, name.repository, name.tag);
}

}  // namespace migrate
