#include "migrated/docker/archive_filter.h"

#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>

namespace migrate {
namespace {

struct Item {
  std::string type;  // "file", "dir", "symlink", "hardlink"
  std::string content;
  bool operator==(const Item&) const = default;
};
using Items = std::vector<std::pair<std::string, Item>>;

class StringSink : public ByteSink {
 public:
  Result<> Write(std::span<const std::byte> data) override {
    if (fail_at != 0 && text.size() >= fail_at) {
      return MakeError(ErrorCode::kUnavailable, "peer gone");
    }
    text.append(reinterpret_cast<const char*>(data.data()), data.size());
    return {};
  }
  Result<> Finish() override { return {}; }
  std::string text;
  std::size_t fail_at = 0;
};

class StringSource : public ByteSource {
 public:
  explicit StringSource(std::string_view text) : text_(text) {}
  Result<std::size_t> Read(std::span<std::byte> buffer) override {
    const std::size_t size = std::min(buffer.size(), text_.size());
    std::memcpy(buffer.data(), text_.data(), size);
    text_.remove_prefix(size);
    read += size;
    return size;
  }
  std::size_t read = 0;

 private:
  std::string_view text_;
};

std::string Tar(const Items& items) {
  std::string buffer(8 * 1024 * 1024, '\0');
  std::size_t used = 0;
  archive* a = archive_write_new();
  archive_write_set_format_pax_restricted(a);
  archive_write_open_memory(a, buffer.data(), buffer.size(), &used);
  for (const auto& [path, item] : items) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, path.c_str());
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_filetype(entry, item.type == "dir"       ? AE_IFDIR
                                      : item.type == "symlink" ? AE_IFLNK
                                                               : AE_IFREG);
    if (item.type == "symlink") {
      archive_entry_set_symlink(entry, item.content.c_str());
    } else if (item.type == "hardlink") {
      archive_entry_set_hardlink(entry, item.content.c_str());
    } else if (item.type == "file") {
      archive_entry_set_size(entry, static_cast<la_int64_t>(item.content.size()));
    }
    archive_write_header(a, entry);
    if (item.type == "file") {
      archive_write_data(a, item.content.data(), item.content.size());
    }
    archive_entry_free(entry);
  }
  archive_write_close(a);
  archive_write_free(a);
  buffer.resize(used);
  return buffer;
}

Items Untar(const std::string& text) {
  Items items;
  archive* a = archive_read_new();
  archive_read_support_format_tar(a);
  archive_read_open_memory(a, text.data(), text.size());
  archive_entry* entry = nullptr;
  while (archive_read_next_header(a, &entry) == ARCHIVE_OK) {
    Item item;
    if (archive_entry_hardlink(entry) != nullptr) {
      item = {"hardlink", archive_entry_hardlink(entry)};
    } else if (archive_entry_symlink(entry) != nullptr) {
      item = {"symlink", archive_entry_symlink(entry)};
    } else if (archive_entry_filetype(entry) == AE_IFDIR) {
      item = {"dir", ""};
    } else {
      item = {"file", std::string(static_cast<std::size_t>(archive_entry_size(entry)), '\0')};
      archive_read_data(a, item.content.data(), item.content.size());
    }
    items.emplace_back(archive_entry_pathname(entry), item);
  }
  archive_read_free(a);
  return items;
}

const Items kOld = {
    {"a1/", {"dir", ""}},
    {"a1/layer.tar", {"file", std::string(300'000, 'a')}},
    {"b2/", {"dir", ""}},
    {"b2/layer.tar", {"file", std::string(200'000, 'b')}},
    {"c3/layer.tar", {"symlink", "../a1/layer.tar"}},
    {"d4/layer.tar", {"hardlink", "b2/layer.tar"}},
    {"manifest.json", {"file", R"([{"Layers":["a1/layer.tar"]}])"}},
};

TEST(FilterArchive, LeavesOutJustTheNamedFiles) {
  const std::string tar = Tar(kOld);
  StringSource source(tar);
  StringSink sink;
  const auto statistics = FilterArchive(source, {"a1/layer.tar"}, sink);
  ASSERT_TRUE(statistics);
  Items expected = kOld;
  expected.erase(expected.begin() + 1);
  EXPECT_EQ(Untar(sink.text), expected);
  EXPECT_EQ(statistics->files_left_out, 1U);
  EXPECT_EQ(statistics->bytes_left_out, 300'000U);
  EXPECT_EQ(statistics->bytes_written, sink.text.size());
  EXPECT_LT(sink.text.size(), 220'000U);
}

TEST(FilterArchive, LinksToWhatIsLeftOutStay) {
  const std::string tar = Tar(kOld);
  StringSource source(tar);
  StringSink sink;
  ASSERT_TRUE(FilterArchive(source, {"a1/layer.tar", "c3/layer.tar"}, sink));
  EXPECT_THAT(Untar(sink.text), ::testing::Contains(kOld[4]));
}

TEST(FilterArchive, ATornArchiveIsNeverPassedOnAsWhole) {
  const std::string tar = Tar(kOld);
  // The end of the last entry: what follows is padding, which means nothing.
  const std::size_t last_byte = tar.find(R"([{"Layers")") + kOld.back().second.content.size();
  for (std::size_t size = 0; size < last_byte; size += 1009) {
    StringSource source(std::string_view(tar).substr(0, size));
    StringSink sink;
    const auto result = FilterArchive(source, {}, sink);
    if (result) {
      // tar has no mark that tells a cut between two entries from the end; the load would fail.
      EXPECT_LT(Untar(sink.text).size(), kOld.size());
    }
  }
}

TEST(FilterArchive, TheSinksErrorComesBack) {
  const std::string tar = Tar(kOld);
  StringSource source(tar);
  StringSink sink;
  sink.fail_at = 1;
  const auto result = FilterArchive(source, {}, sink);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(result.error().message, "peer gone");
}

TEST(ReadArchiveLayout, OldFormatYieldsTheManifest) {
  const std::string tar = Tar(kOld);
  StringSource source(tar);
  const auto layout = ReadArchiveLayout(source);
  ASSERT_TRUE(layout);
  EXPECT_FALSE(layout->oci);
  EXPECT_EQ(layout->manifest, kOld.back().second.content);
}

TEST(ReadArchiveLayout, OciLayoutIsKnownAtTheStart) {
  const std::string tar = Tar({{"blobs/", {"dir", ""}},
                               {"blobs/sha256/", {"dir", ""}},
                               {"blobs/sha256/00", {"file", std::string(4'000'000, 'x')}},
                               {"manifest.json", {"file", "[]"}}});
  StringSource source(tar);
  const auto layout = ReadArchiveLayout(source);
  ASSERT_TRUE(layout);
  EXPECT_TRUE(layout->oci);
  EXPECT_LT(source.read, 2'000'000U);
}

TEST(ReadArchiveLayout, NoManifestIsDataLoss) {
  const std::string tar = Tar({{"a1/layer.tar", {"file", "x"}}});
  StringSource source(tar);
  EXPECT_EQ(ReadArchiveLayout(source).error().code, ErrorCode::kDataLoss);
}

TEST(ImageName, SplitsAsDockerDoes) {
  const auto split = [](const std::string& name) {
    const ImageName image = SplitImageName(name);
    return image.repository + "|" + image.tag;
  };
  EXPECT_EQ(split("redis"), "redis|latest");
  EXPECT_EQ(split("redis:7"), "redis|7");
  EXPECT_EQ(split("host:5000/a/b"), "host:5000/a/b|latest");
  EXPECT_EQ(split("host:5000/a/b:1.2"), "host:5000/a/b|1.2");
  EXPECT_EQ(split("redis@sha256:12"), "|");
  EXPECT_EQ(split("sha256:0123"), "|");
  EXPECT_EQ(split("0123456789ab"), "|");
}

}  // namespace
}  // namespace migrate
