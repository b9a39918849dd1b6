// What /proc says of processes: who they are, their descriptors, their mappings. For the preflights.
// Reading only; thread-safe. What is gone meanwhile, or may not be read, is left out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace migrate {

struct Process {
  int pid = 0;
  int parent = 0;
  int tracer = 0;
  std::string name = {};

  std::filesystem::path directory() const { return "/proc/" + std::to_string(pid); }
  std::string Label() const { return name + " (pid " + std::to_string(pid) + ")"; }
  // The namespace's link, e.g. "ipc:[4026531839]".
  std::string Namespace(const std::string& kind) const;
};

std::optional<Process> ReadProcess(int pid);
// Those of the cgroup and of all below.
std::vector<Process> ReadProcesses(const std::filesystem::path& cgroup);
// All there are, kernel threads too.
std::vector<int> AllProcesses();

struct Descriptor {
  int number = 0;
  std::string link;  // what it refers to, e.g. "socket:[4711]"
};
std::vector<Descriptor> ReadDescriptors(const Process& process);

// Of a file, also one without a name; anonymous private memory is left out.
struct FileMapping {
  std::string range;  // as in /proc/PID/map_files
  bool shared = false;
  bool writable = false;
  std::string device;  // "major:minor" in hex, as the kernel prints it
  std::uint64_t inode = 0;
  std::string name = {};
};
std::vector<FileMapping> ReadMappings(const Process& process);

// A decimal number; 0 if it is none.
int ToInt(std::string_view text);

}  // namespace migrate
