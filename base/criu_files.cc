#include "base/criu_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <map>
#include <regex>
#include <sstream>

#include "base/file_util.h"
#include "base/limits.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kServiceMagic = 0x55105940;  // second-level: statistics and the like
constexpr std::uint32_t kCommonMagic = 0x54564319;   // second-level: images proper
constexpr std::uint32_t kStatsMagic = 0x57093306;
constexpr std::uint32_t kCoreMagic = 0x55053847;
constexpr std::uint32_t kPagemapMagic = 0x56084025;
constexpr std::uint64_t kTaskStopped = 3;
constexpr std::uint64_t kPagePresent = 1
                                       << 2;  // flag of a pagemap entry: the pages are in the image
constexpr std::size_t kLogEndBytes = 4 * 1024 * 1024;
constexpr const char* kStoppedFile = "migrate-stopped";

// Protobuf wire format: fields of one message, read in order. Ends at the end or at nonsense.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}

  struct Field {
    std::uint32_t number = 0;
    std::uint64_t varint = 0;
    std::string_view bytes;
  };

  std::optional<Field> Next() {
    const auto key = Varint();
    if (!key) {
      return std::nullopt;
    }
    Field field{static_cast<std::uint32_t>(*key >> 3), 0, {}};
    switch (*key & 7) {
      case 0: {
        const auto value = Varint();
        field.varint = value.value_or(0);
        return value ? std::optional(field) : std::nullopt;
      }
      case 1:
        return Take(8, field);
      case 2: {
        const auto size = Varint();
        return size ? Take(*size, field) : std::nullopt;
      }
      case 5:
        return Take(4, field);
      default:
        return std::nullopt;
    }
  }

 private:
  std::optional<std::uint64_t> Varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<std::uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) {
        return value;
      }
    }
    return std::nullopt;
  }
  std::optional<Field> Take(std::uint64_t size, Field field) {
    if (size > rest_.size()) {
      return std::nullopt;
    }
    field.bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return field;
  }

  std::string_view rest_;
};

std::optional<WireReader::Field> FindField(std::string_view message, std::uint32_t number) {
  WireReader reader(message);
  while (auto field = reader.Next()) {
    if (field->number == number) {
      return field;
    }
  }
  return std::nullopt;
}

// The messages of an image: two magics, then for each its size; all little-endian.
Result<std::vector<std::string>> ReadMessages(const fs::path& path, std::uint32_t first,
                                              std::uint32_t second) {
  const std::string file = TRY(ReadSmallFile(path, limits::kMaxCriuImageBytes));
  std::array<std::uint32_t, 2> magic{};
  if (file.size() < sizeof magic) {
    return MakeError(ErrorCode::kDataLoss, path.string() + ": truncated CRIU image");
  }
  std::memcpy(magic.data(), file.data(), sizeof magic);
  if (magic[0] != first || magic[1] != second) {
    return MakeError(ErrorCode::kDataLoss, path.string() + ": not the CRIU image it should be");
  }
  std::vector<std::string> messages;
  std::uint32_t size = 0;
  for (std::size_t at = sizeof magic; at < file.size(); at += sizeof size + size) {
    if (file.size() - at >= sizeof size) {
      std::memcpy(&size, &file[at], sizeof size);
    }
    if (file.size() - at < sizeof size || file.size() - at - sizeof size < size) {
      return MakeError(ErrorCode::kDataLoss, path.string() + ": truncated CRIU image");
    }
    messages.push_back(file.substr(at + sizeof size, size));
  }
  if (messages.empty()) {
    return MakeError(ErrorCode::kDataLoss, path.string() + ": truncated CRIU image");
  }
  return messages;
}

// Of the entries of one pagemap.
std::uint64_t PresentPages(const std::vector<std::string>& messages) {
  std::uint64_t pages = 0;
  for (std::size_t i = 1; i < messages.size(); ++i) {
    const auto value = [&](std::uint32_t number) {
      const auto field = FindField(messages[i], number);
      return field ? field->varint : 0;
    };
    const bool present = FindField(messages[i], 4) ? (value(4) & kPagePresent) != 0 : value(3) == 0;
    if (present) {
      pages += value(5) != 0 ? value(5) : value(2);  // field 2 is what older versions write
    }
  }
  return pages;
}

std::optional<int> ParseInt(std::string_view text) {
  int value = 0;
  const auto end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  return parsed.ec == std::errc() && parsed.ptr == end ? std::optional(value) : std::nullopt;
}

struct CriuLogError {
  int process = 0;  // 0: not known
  std::string text;
};

// Errors that every run prints, or that only say that something before them failed.
bool IsConsequence(std::string_view text) {
  static constexpr std::array<std::string_view, 10> kNoise{"rlimit: Can't setup RLIMIT_NOFILE",
                                                           "Dumping FAILED",
                                                           "Restoring FAILED",
                                                           "Dump files (pid:",
                                                           "Pre-dumping FAILED",
                                                           "Can't dump ghost file",
                                                           "Unable to kill",
                                                           "exited, status=",
                                                           "Can't collect task",
                                                           "Killed by signal"};
  return std::any_of(kNoise.begin(), kNoise.end(), [&](std::string_view noise) {
    return text.find(noise) != std::string_view::npos;
  });
}

std::string TrimmedText(std::string text) {
  std::replace(text.begin(), text.end(), '\t', ' ');
  const auto begin = text.find_first_not_of(' ');
  const auto end = text.find_last_not_of(" .\r");
  return begin == std::string::npos ? std::string() : text.substr(begin, end - begin + 1);
}

}  // namespace

Result<CriuDumpStats> ReadCriuDumpStats(const fs::path& work_dir) {
  const auto messages = TRY(ReadMessages(work_dir / "stats-dump", kServiceMagic, kStatsMagic));
  const auto dump = FindField(messages[0], 1);
  if (!dump) {
    return MakeError(ErrorCode::kDataLoss, work_dir.string() + "/stats-dump: no dump statistics");
  }
  const auto value = [&](std::uint32_t number) {
    const auto field = FindField(dump->bytes, number);
    return field ? field->varint : 0;
  };
  const auto time = [&](std::uint32_t number) {
    return std::chrono::microseconds(static_cast<std::int64_t>(value(number)));
  };
  return CriuDumpStats{time(1), time(2), time(3), time(4), value(5), value(7), value(14)};
}

Result<std::vector<int>> ReadStoppedProcesses(const fs::path& image_dir) {
  std::vector<int> stopped;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(image_dir, error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("core-") || !name.ends_with(".img")) {
      continue;
    }
    const auto pid = ParseInt(std::string_view(name).substr(5, name.size() - 9));
    const auto core = TRY(ReadMessages(entry.path(), kCommonMagic, kCoreMagic));
    const auto task = FindField(core[0], 3);  // of the main thread only
    const auto state = task ? FindField(task->bytes, 1) : std::nullopt;
    if (pid && state && state->varint == kTaskStopped) {
      stopped.push_back(*pid);
    }
  }
  if (error) {
    return ErrnoError("read " + image_dir.string(), error.value());
  }
  if (fs::exists(image_dir / kStoppedFile, error)) {
    std::istringstream lines(TRY(ReadSmallFile(image_dir / kStoppedFile)));
    for (std::string line; std::getline(lines, line);) {
      const auto pid = ParseInt(line);
      if (!pid || *pid <= 0) {
        return MakeError(ErrorCode::kDataLoss, (image_dir / kStoppedFile).string() + ": corrupt");
      }
      stopped.push_back(*pid);
    }
  }
  std::sort(stopped.begin(), stopped.end());
  stopped.erase(std::unique(stopped.begin(), stopped.end()), stopped.end());
  return stopped;
}

Result<> WriteStoppedProcesses(const fs::path& image_dir, const std::vector<int>& processes) {
  std::string text;
  for (const int pid : processes) {
    text += std::to_string(pid) + "\n";
  }
  return WriteFileAtomically(image_dir / kStoppedFile, text);
}

Result<> CheckImagePages(const fs::path& image_dir) {
  std::error_code error;
  const auto page_size = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  for (const auto& entry : fs::directory_iterator(image_dir, error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("pagemap-") || !name.ends_with(".img")) {
      continue;
    }
    const auto messages = TRY(ReadMessages(entry.path(), kCommonMagic, kPagemapMagic));
    const auto id = FindField(messages[0], 1);
    const fs::path pages = image_dir / ("pages-" + std::to_string(id ? id->varint : 0) + ".img");
    const std::uint64_t wanted = PresentPages(messages) * page_size;
    std::error_code missing;
    const auto size = fs::file_size(pages, missing);
    if (wanted > 0 && (missing || size < wanted)) {
      return MakeError(ErrorCode::kDataLoss,
                       pages.string() + " has " + std::to_string(missing ? 0 : size) + " of " +
                           std::to_string(wanted) + " bytes: the image is damaged");
    }
  }
  return error ? Result<>(ErrnoError("read " + image_dir.string(), error.value())) : Result<>();
}

Result<fs::path> CriuDirectory(const fs::path& configured) {
  if (configured.empty()) {
    return fs::path();
  }
  std::error_code error;
  const bool is_directory = fs::is_directory(configured, error);
  const fs::path program = is_directory ? configured / "criu" : configured;
  if (program.filename() != "criu" || access(program.c_str(), X_OK) != 0) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     "no CRIU at " + program.string() + ": install it with scripts/setup",
                     "CRIU_UNUSABLE");
  }
  return fs::absolute(program.parent_path(), error);
}

std::string CondenseCriuLog(std::string_view log) {
  // "(00.038407) Error (criu/fsnotify.c:284): fsnotify: Can't dump that handle"; at a restore the
  // process's id stands before "Error".
  static const std::regex kError(
      R"(^(?:pie: \d+: )?\(\d+\.\d+\)\s+(?:(\d+):\s+)?Error \([^)]*\):\s*(.*)$)");
  static const std::regex kSeize(R"(SEIZE (\d+) \(comm (.*)\): success)");
  static const std::regex kDumpedPid(R"(\(pid: (\d+)\))");
  std::optional<CriuLogError> cause;
  std::string fallback;
  std::map<int, std::string> names;
  std::istringstream lines{std::string(log)};
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (line.find("SEIZE ") != std::string::npos && std::regex_search(line, match, kSeize)) {
      names[std::stoi(match[1])] = match[2];
    }
    if (line.find("Error (") == std::string::npos || line.size() > 4096 ||
        !std::regex_match(line, match, kError)) {
      continue;
    }
    const std::string text = TrimmedText(match[2]);
    if (!IsConsequence(text)) {
      if (!cause) {
        cause = CriuLogError{ParseInt(match[1].str()).value_or(0), text};
      }
    } else if (text.find("RLIMIT_NOFILE") == std::string::npos) {
      fallback = text;
    }
    if (cause && cause->process == 0 && std::regex_search(text, match, kDumpedPid)) {
      cause->process = ParseInt(match[1].str()).value_or(0);
    }
  }
  if (!cause) {
    return fallback;
  }
  std::string result = cause->text;
  if (cause->process != 0) {
    const auto name = names.find(cause->process);
    result += " (process " + std::to_string(cause->process) +
              (name == names.end() ? ")" : ", " + name->second + ")");
  }
  return result;
}

std::string CondenseCriuLogFile(const fs::path& log) {
  const auto fd = OpenFile(log, O_RDONLY);
  if (!fd) {
    return {};
  }
  const off_t size = lseek(fd->get(), 0, SEEK_END);
  std::string text(kLogEndBytes, '\0');
  const auto head = pread(fd->get(), text.data(), text.size(), 0);
  text.resize(head > 0 ? static_cast<std::size_t>(head) : 0);
  if (size > static_cast<off_t>(text.size())) {
    const off_t begin =
        std::max(static_cast<off_t>(text.size()), size - static_cast<off_t>(kLogEndBytes));
    std::string tail(static_cast<std::size_t>(size - begin), '\0');
    const auto count = pread(fd->get(), tail.data(), tail.size(), begin);
    text += "\n" + tail.substr(0, count > 0 ? static_cast<std::size_t>(count) : 0);
  }
  return CondenseCriuLog(text);
}

}  // namespace migrate
