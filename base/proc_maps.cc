#include "base/proc_maps.h"

#include <charconv>

#include "base/file_util.h"

namespace migrate {
namespace {

// Cuts off a number and the separator behind it.
bool TakeNumber(std::string_view& text, char separator, int base, std::uint64_t& number) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number, base);
  const auto length = static_cast<std::size_t>(parsed.ptr - text.data());
  if (parsed.ec != std::errc() || length >= text.size() || text[length] != separator) {
    return false;
  }
  text.remove_prefix(length + 1);
  return true;
}

// start-end perms offset major:minor inode [blanks name]
bool ParseLine(std::string_view line, Mapping& mapping) {
  std::uint64_t ignored = 0;
  if (!TakeNumber(line, '-', 16, mapping.start) || !TakeNumber(line, ' ', 16, mapping.end) ||
      line.size() < 5 || line[4] != ' ') {
    return false;
  }
  mapping.readable = line[0] == 'r';
  mapping.writable = line[1] == 'w';
  mapping.executable = line[2] == 'x';
  mapping.shared = line[3] == 's';
  line.remove_prefix(5);
  if (!TakeNumber(line, ' ', 16, mapping.offset) || !TakeNumber(line, ':', 16, ignored) ||
      !TakeNumber(line, ' ', 16, ignored)) {
    return false;
  }
  const auto parsed = std::from_chars(line.data(), line.data() + line.size(), mapping.inode);
  if (parsed.ec != std::errc()) {
    return false;
  }
  line.remove_prefix(static_cast<std::size_t>(parsed.ptr - line.data()));
  const auto name = line.find_first_not_of(' ');
  mapping.name = name == std::string_view::npos ? std::string() : std::string(line.substr(name));
  return mapping.start < mapping.end;
}

}  // namespace

Result<std::vector<Mapping>> ParseProcMaps(std::string_view text) {
  std::vector<Mapping> mappings;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    Mapping mapping;
    if (!ParseLine(line, mapping)) {
      return MakeError(ErrorCode::kInternal, "maps: not understood: " + std::string(line));
    }
    mappings.push_back(std::move(mapping));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return mappings;
}

Result<std::vector<Mapping>> ReadProcMaps(pid_t pid) {
  return ParseProcMaps(
      TRY(ReadSmallFile("/proc/" + std::to_string(pid) + "/maps", std::size_t{256} << 20)));
}

std::uint64_t FindFreeRange(const std::vector<Mapping>& mappings, const Mapping& anchor,
                            std::uint64_t size, std::uint64_t reach, std::uint64_t distance) {
  constexpr std::uint64_t kFirst = 1 << 20;               // mmap_min_addr, generously
  constexpr std::uint64_t kLast = (1ull << 47) - (1 << 20);  // user memory of x86-64
  std::uint64_t below = 0;
  std::uint64_t free_from = kFirst;
  for (std::size_t i = 0; i <= mappings.size(); ++i) {
    const bool last = i == mappings.size() || mappings[i].start >= kLast;
    const std::uint64_t free_to = last ? kLast : mappings[i].start;
    const std::uint64_t low_gap = free_from == anchor.end ? 0 : distance;
    const std::uint64_t high_gap = !last && free_to == anchor.start ? 0 : distance;
    if (free_to > free_from && free_to - free_from >= size + low_gap + high_gap) {
      const std::uint64_t lowest = free_from + low_gap;
      const std::uint64_t highest = free_to - high_gap - size;
      if (lowest >= anchor.end) {
        return lowest + size - anchor.start <= reach ? lowest : below;
      }
      if (highest < anchor.start && anchor.end - highest <= reach) {
        below = highest;  // the nearest so far
      }
    }
    if (last) {
      break;
    }
    free_from = mappings[i].end;
  }
  return below;
}

}  // namespace migrate
