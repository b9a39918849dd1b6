#include "recorder/process_scan.h"

#include <algorithm>
#include <charconv>

#include "base/cgroup.h"
#include "base/file_util.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxMapsBytes = 256 * 1024 * 1024;

std::string StatusField(std::string_view status, std::string_view key) {
  const auto at = status.find("\n" + std::string(key) + ":");
  if (at == std::string_view::npos) {
    return {};
  }
  const auto begin = status.find_first_not_of("\t ", at + key.size() + 2);
  const auto end = status.find('\n', begin);
  return std::string(status.substr(begin, end - begin));
}

std::string_view NextWord(std::string_view& line) {
  const auto begin = std::min(line.find_first_not_of(' '), line.size());
  const auto end = std::min(line.find(' ', begin), line.size());
  const std::string_view word = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return word;
}

// range permissions offset device inode [name]
std::optional<FileMapping> ParseMapping(std::string_view line) {
  FileMapping mapping;
  mapping.range = NextWord(line);
  const std::string_view permissions = NextWord(line);
  NextWord(line);  // offset
  mapping.device = NextWord(line);
  const std::string_view inode = NextWord(line);
  std::from_chars(inode.data(), inode.data() + inode.size(), mapping.inode);
  mapping.name = line.substr(std::min(line.find_first_not_of(' '), line.size()));
  // System V memory with the id 0 has the inode 0, on a device.
  if (permissions.size() < 4 || (mapping.inode == 0 && mapping.device == "00:00")) {
    return std::nullopt;
  }
  mapping.writable = permissions[1] == 'w';
  mapping.shared = permissions[3] == 's';
  return mapping;
}

}  // namespace

int ToInt(std::string_view text) {
  int value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string Process::Namespace(const std::string& kind) const {
  std::error_code error;
  return fs::read_symlink(directory() / "ns" / kind, error).string();
}

std::optional<Process> ReadProcess(int pid) {
  const auto text = ReadSmallFile("/proc/" + std::to_string(pid) + "/status");
  if (!text) {
    return std::nullopt;  // it has just ended
  }
  const std::string status = "\n" + *text;
  return Process{pid, ToInt(StatusField(status, "PPid")), ToInt(StatusField(status, "TracerPid")),
                 StatusField(status, "Name")};
}

std::vector<Process> ReadProcesses(const fs::path& cgroup) {
  std::vector<Process> processes;
  for (const int pid : CgroupProcesses(cgroup).value_or(std::vector<int>())) {
    if (auto process = ReadProcess(pid)) {
      processes.push_back(*std::move(process));
    }
  }
  return processes;
}

std::vector<int> AllProcesses() {
  std::vector<int> pids;
  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end;
       entry.increment(error)) {
    if (const int pid = ToInt(entry->path().filename().string()); pid > 0) {
      pids.push_back(pid);
    }
  }
  return pids;
}

std::vector<Descriptor> ReadDescriptors(const Process& process) {
  std::vector<Descriptor> descriptors;
  std::error_code error;
  for (fs::directory_iterator entry(process.directory() / "fd", error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code closed;
    std::string link = fs::read_symlink(entry->path(), closed).string();
    if (!closed) {
      descriptors.push_back({ToInt(entry->path().filename().string()), std::move(link)});
    }
  }
  return descriptors;
}

std::vector<FileMapping> ReadMappings(const Process& process) {
  std::vector<FileMapping> mappings;
  const auto maps = ReadSmallFile(process.directory() / "maps", kMaxMapsBytes);
  for (std::string_view rest = maps ? std::string_view(*maps) : std::string_view();
       !rest.empty();) {
    const auto end = std::min(rest.find('\n'), rest.size());
    if (auto mapping = ParseMapping(rest.substr(0, end))) {
      mappings.push_back(*std::move(mapping));
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return mappings;
}

}  // namespace migrate
