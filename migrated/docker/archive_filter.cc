#include "migrated/docker/archive_filter.h"

#include <archive.h>
#include <archive_entry.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/limits.h"

namespace migrate {

namespace {

constexpr std::size_t kMaxManifestBytes = 4 * 1024 * 1024;
constexpr int kWriteBlockBytes = 256 * 1024;

struct FreeArchive {
  void operator()(archive* a) const { archive_free(a); }  // of either kind
};

// What libarchive calls back; keeps the Error that libarchive would only pass on as a text.
struct Reading {
  ByteSource& source;
  std::vector<std::byte> buffer = std::vector<std::byte>(limits::kMaxChunkBytes);
  std::optional<Error> error = std::nullopt;

  static la_ssize_t Callback(archive* a, void* self_pointer, const void** data) {
    auto& self = *static_cast<Reading*>(self_pointer);
    auto got = self.source.Read(self.buffer);
    if (!got) {
      self.error = got.error();
      archive_set_error(a, EIO, "%s", got.error().message.c_str());
      return -1;
    }
    *data = self.buffer.data();
    return static_cast<la_ssize_t>(*got);
  }
};

struct Writing {
  ByteSink& sink;
  std::uint64_t bytes = 0;
  std::optional<Error> error = std::nullopt;

  static la_ssize_t Callback(archive* a, void* self_pointer, const void* data, std::size_t size) {
    auto& self = *static_cast<Writing*>(self_pointer);
    if (self.error) {
      return -1;  // libarchive flushes once more when it is closed
    }
    auto written = self.sink.Write(std::span(static_cast<const std::byte*>(data), size));
    if (!written) {
      self.error = written.error();
      archive_set_error(a, EIO, "%s", written.error().message.c_str());
      return -1;
    }
    self.bytes += size;
    return static_cast<la_ssize_t>(size);
  }
};

Error ArchiveError(archive* a, const std::optional<Error>& cause) {
  if (cause) {
    return *cause;
  }
  const char* text = archive_error_string(a);
  return MakeError(ErrorCode::kDataLoss,
                   std::string("image archive: ") + (text != nullptr ? text : "damaged"));
}

class ArchiveReader {
 public:
  explicit ArchiveReader(ByteSource& source) : reading_{source}, archive_(archive_read_new()) {
    archive_read_support_format_tar(archive_.get());
  }

  Result<> Open() {
    if (archive_read_open(archive_.get(), &reading_, nullptr, Reading::Callback, nullptr) !=
        ARCHIVE_OK) {
      return Fail();
    }
    return {};
  }

  // nullptr at the end.
  Result<archive_entry*> Next() {
    archive_entry* entry = nullptr;
    const int status = archive_read_next_header(archive_.get(), &entry);
    if (status == ARCHIVE_EOF) {
      return static_cast<archive_entry*>(nullptr);
    }
    if (status != ARCHIVE_OK) {
      return Fail();  // a warning, too: never pass on half an entry
    }
    return entry;
  }

  Result<std::span<const std::byte>> Data(std::span<std::byte> buffer) {
    const la_ssize_t got = archive_read_data(archive_.get(), buffer.data(), buffer.size());
    if (got < 0) {
      return Fail();
    }
    return std::span<const std::byte>(buffer.first(static_cast<std::size_t>(got)));
  }

  Error Fail() const { return ArchiveError(archive_.get(), reading_.error); }

 private:
  Reading reading_;
  std::unique_ptr<archive, FreeArchive> archive_;
};

std::string Pathname(archive_entry* entry) {
  const char* text = archive_entry_pathname(entry);
  std::string path = text != nullptr ? text : "";
  return path.starts_with("./") ? path.substr(2) : path;
}

Result<> CopyData(ArchiveReader& reader, archive* out, const Writing& writing,
                  std::span<std::byte> buffer) {
  while (true) {
    const auto data = TRY(reader.Data(buffer));
    if (data.empty()) {
      return {};
    }
    if (archive_write_data(out, data.data(), data.size()) != static_cast<la_ssize_t>(data.size())) {
      return ArchiveError(out, writing.error);
    }
  }
}

}  // namespace

Result<ArchiveLayout> ReadArchiveLayout(ByteSource& source) {
  ArchiveReader reader(source);
  TRY(reader.Open());
  std::vector<std::byte> buffer(limits::kMaxChunkBytes);
  while (archive_entry* entry = TRY(reader.Next())) {
    const std::string path = Pathname(entry);
    if (path.starts_with("blobs/")) {
      return ArchiveLayout{.oci = true, .manifest = {}};
    }
    if (path != "manifest.json") {
      continue;
    }
    ArchiveLayout layout;
    while (true) {
      const auto data = TRY(reader.Data(buffer));
      if (data.empty()) {
        return layout;
      }
      layout.manifest.append(reinterpret_cast<const char*>(data.data()), data.size());
      if (layout.manifest.size() > kMaxManifestBytes) {
        return MakeError(ErrorCode::kResourceExhausted, "image archive: manifest too long");
      }
    }
  }
  return MakeError(ErrorCode::kDataLoss, "image archive: no manifest.json");
}

Result<SaveStatistics> FilterArchive(ByteSource& source, const std::set<std::string>& paths,
                                     ByteSink& sink) {
  ArchiveReader reader(source);
  TRY(reader.Open());
  Writing writing{sink};
  const std::unique_ptr<archive, FreeArchive> out(archive_write_new());
  archive_write_set_format_pax_restricted(out.get());
  archive_write_set_bytes_per_block(out.get(), kWriteBlockBytes);
  archive_write_set_bytes_in_last_block(out.get(), 1);
  if (archive_write_open(out.get(), &writing, nullptr, Writing::Callback, nullptr) != ARCHIVE_OK) {
    return ArchiveError(out.get(), writing.error);
  }
  SaveStatistics statistics;
  std::vector<std::byte> buffer(limits::kMaxChunkBytes);
  while (archive_entry* entry = TRY(reader.Next())) {
    if (archive_entry_filetype(entry) == AE_IFREG && archive_entry_hardlink(entry) == nullptr &&
        paths.count(Pathname(entry)) > 0) {
      statistics.bytes_left_out += static_cast<std::uint64_t>(archive_entry_size(entry));
      ++statistics.files_left_out;
      continue;
    }
    if (archive_write_header(out.get(), entry) != ARCHIVE_OK) {
      return ArchiveError(out.get(), writing.error);
    }
    TRY(CopyData(reader, out.get(), writing, buffer));
  }
  if (archive_write_close(out.get()) != ARCHIVE_OK) {
    return ArchiveError(out.get(), writing.error);
  }
  statistics.bytes_written = writing.bytes;
  return statistics;
}

}  // namespace migrate
