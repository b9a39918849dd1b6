#include "base/vdso_image.h"

#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace migrate {
namespace {

constexpr std::size_t kMaxVdsoBytes = 256 * 1024;
constexpr std::size_t kMaxSymbols = 1024;
constexpr std::string_view kPrefix = "__vdso_";

Error Malformed(const char* what) {
  return MakeError(ErrorCode::kDataLoss, std::string("vDSO: ") + what);
}

// Reads structures at offsets that are not trusted.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  Result<T> Get(std::uint64_t offset) const {
    T value;
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(T)) {
      return Malformed("an offset leads out of it");
    }
    std::memcpy(&value, bytes_.data() + offset, sizeof(T));
    return value;
  }

  Result<std::string> GetString(std::uint64_t offset) const {
    if (offset >= bytes_.size()) {
      return Malformed("a name leads out of it");
    }
    const char* start = reinterpret_cast<const char*>(bytes_.data()) + offset;
    const std::size_t length = strnlen(start, bytes_.size() - offset);
    if (length == bytes_.size() - offset) {
      return Malformed("a name without an end");
    }
    return std::string(start, length);
  }

 private:
  std::span<const std::byte> bytes_;
};

struct DynamicTables {
  std::uint64_t symbols = 0;
  std::uint64_t strings = 0;
  std::uint64_t hash = 0;      // DT_HASH: its second word is the number of symbols
  std::uint64_t gnu_hash = 0;  // kernels since 6.11 may have this one only
};

Result<DynamicTables> FindTables(const Reader& reader) {
  const auto header = TRY(reader.Get<Elf64_Ehdr>(0));
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_machine != EM_X86_64) {
    return Malformed("not an ELF image for x86-64");
  }
  DynamicTables tables;
  for (int i = 0; i < header.e_phnum; ++i) {
    const auto program =
        TRY(reader.Get<Elf64_Phdr>(header.e_phoff + std::uint64_t{sizeof(Elf64_Phdr)} * i));
    if (program.p_type == PT_LOAD && (program.p_vaddr != 0 || program.p_offset != 0)) {
      return Malformed("its addresses are no offsets");
    }
    if (program.p_type != PT_DYNAMIC) {
      continue;
    }
    for (std::uint64_t at = program.p_offset;; at += sizeof(Elf64_Dyn)) {
      const auto dynamic = TRY(reader.Get<Elf64_Dyn>(at));
      switch (dynamic.d_tag) {
        case DT_NULL: return tables;
        case DT_SYMTAB: tables.symbols = dynamic.d_un.d_ptr; break;
        case DT_STRTAB: tables.strings = dynamic.d_un.d_ptr; break;
        case DT_HASH: tables.hash = dynamic.d_un.d_ptr; break;
        case DT_GNU_HASH: tables.gnu_hash = dynamic.d_un.d_ptr; break;
        default: break;
      }
    }
  }
  return Malformed("no dynamic section");
}

// DT_GNU_HASH has no count: the last chain's end tells.
Result<std::uint64_t> CountByGnuHash(const Reader& reader, std::uint64_t table) {
  const auto buckets = TRY(reader.Get<std::uint32_t>(table));
  const auto first = TRY(reader.Get<std::uint32_t>(table + 4));
  const auto bloom = TRY(reader.Get<std::uint32_t>(table + 8));
  const std::uint64_t bucket_start = table + 16 + std::uint64_t{bloom} * 8;
  std::uint32_t last = 0;
  for (std::uint64_t i = 0; i < buckets; ++i) {
    last = std::max(last, TRY(reader.Get<std::uint32_t>(bucket_start + i * 4)));
  }
  const std::uint64_t chains = bucket_start + std::uint64_t{buckets} * 4;
  std::uint64_t symbol = last;
  while (symbol >= first &&
         (TRY(reader.Get<std::uint32_t>(chains + (symbol - first) * 4)) & 1) == 0) {
    ++symbol;
  }
  return symbol + 1;
}

}  // namespace

const VdsoFunction* VdsoImage::Find(std::string_view name) const {
  const auto found = std::find_if(functions.begin(), functions.end(),
                                  [&](const VdsoFunction& each) { return each.name == name; });
  return found == functions.end() ? nullptr : &*found;
}

Result<VdsoImage> ParseVdso(std::vector<std::byte> bytes) {
  if (bytes.size() > kMaxVdsoBytes) {
    return Malformed("too large");
  }
  const Reader reader(bytes);
  const DynamicTables tables = TRY(FindTables(reader));
  if (tables.symbols == 0 || tables.strings == 0 || (tables.hash == 0 && tables.gnu_hash == 0)) {
    return Malformed("no symbols");
  }
  const std::uint64_t count = tables.hash != 0
                                  ? TRY(reader.Get<std::uint32_t>(tables.hash + 4))
                                  : TRY(CountByGnuHash(reader, tables.gnu_hash));
  if (count > kMaxSymbols) {
    return Malformed("too many symbols");
  }
  VdsoImage image;
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto symbol = TRY(reader.Get<Elf64_Sym>(tables.symbols + i * sizeof(Elf64_Sym)));
    const std::string name = TRY(reader.GetString(tables.strings + symbol.st_name));
    if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || !name.starts_with(kPrefix)) {
      continue;
    }
    if (symbol.st_value > bytes.size() || bytes.size() - symbol.st_value < symbol.st_size) {
      return Malformed("a function leads out of it");
    }
    image.functions.push_back({name.substr(kPrefix.size()),
                               static_cast<std::uint32_t>(symbol.st_value),
                               static_cast<std::uint32_t>(symbol.st_size)});
  }
  std::sort(image.functions.begin(), image.functions.end(),
            [](const auto& a, const auto& b) { return a.offset < b.offset; });
  image.bytes = std::move(bytes);
  return image;
}

Result<VdsoImage> OwnVdso() {
  const auto mapping = TRY(FindVdso(getpid()));
  if (!mapping) {
    return MakeError(ErrorCode::kFailedPrecondition, "this kernel maps no vDSO");
  }
  const auto* start = reinterpret_cast<const std::byte*>(mapping->start);  // NOLINT: our own memory
  return ParseVdso({start, start + (mapping->end - mapping->start)});
}

Result<std::optional<Mapping>> FindVdso(pid_t pid) {
  const auto mappings = TRY(ReadProcMaps(pid));
  for (const Mapping& mapping : mappings) {
    if (mapping.name == "[vdso]") {
      return std::optional(mapping);
    }
  }
  return std::optional<Mapping>();
}

}  // namespace migrate
