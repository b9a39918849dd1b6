#include "migrated/ship/file_tree_test_util.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "base/check.h"

namespace migrate::file_tree_test {
namespace fs = std::filesystem;

Result<> StringSink::Write(std::span<const std::byte> data) {
  if (bytes.size() + data.size() > fail_after) {
    return MakeError(ErrorCode::kUnavailable, "the peer is gone");
  }
  bytes.append(reinterpret_cast<const char*>(data.data()), data.size());
  return {};
}

Result<std::size_t> StringSource::Read(std::span<std::byte> buffer) {
  const std::size_t size = std::min({buffer.size(), bytes.size() - position, piece_});
  std::memcpy(buffer.data(), bytes.data() + position, size);
  position += size;
  return size;
}

TempDir::TempDir() {
  std::string name = (fs::temp_directory_path() / "migrate-ft-XXXXXX").string();
  CHECK(::mkdtemp(name.data()) != nullptr);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

OwnedFd TempDir::Open() const {
  OwnedFd fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  CHECK(fd);
  return fd;
}

void WriteTestFile(const std::string& path, const std::string& content) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << content;
  CHECK(out.flush());
}

std::string ReadTestFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string RandomBytes(std::mt19937_64& random, std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; i += 8) {
    const std::uint64_t value = random();
    std::memcpy(bytes.data() + i, &value, std::min<std::size_t>(8, size - i));
  }
  return bytes;
}

namespace {

std::string Extents(const std::string& path) {
  const OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  off_t position = 0;
  while ((position = ::lseek(fd.get(), position, SEEK_DATA)) >= 0) {
    const off_t end = ::lseek(fd.get(), position, SEEK_HOLE);
    text += std::to_string(position) + "-" + std::to_string(end) + " ";
    position = end;
  }
  return text;
}

std::map<std::string, std::string> Xattrs(const std::string& path) {
  std::string list(65536, '\0');
  const ssize_t size = ::llistxattr(path.c_str(), list.data(), list.size());
  std::map<std::string, std::string> xattrs;
  for (ssize_t at = 0; at < size;) {
    const std::string name = list.c_str() + at;
    std::string value(65536, '\0');
    const ssize_t got = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    value.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    xattrs[name] = value;
    at += static_cast<ssize_t>(name.size()) + 1;
  }
  return xattrs;
}

struct Comparison {
  std::string differences;
  std::map<ino_t, ino_t> pairs;  // a hard link group here is one there

  void Note(const std::string& path, const std::string& what) {
    differences += (path.empty() ? "." : path) + ": " + what + "\n";
  }

  void Compare(const std::string& a, const std::string& b, const std::string& path) {
    struct stat sa;
    struct stat sb;
    CHECK(::lstat(a.c_str(), &sa) == 0);
    CHECK(::lstat(b.c_str(), &sb) == 0);
    if (sa.st_mode != sb.st_mode || sa.st_uid != sb.st_uid || sa.st_gid != sb.st_gid) {
      Note(path, "mode or owner");
    }
    if (sa.st_mtim.tv_sec != sb.st_mtim.tv_sec || sa.st_mtim.tv_nsec != sb.st_mtim.tv_nsec) {
      Note(path, "mtime");
    }
    if (Xattrs(a) != Xattrs(b)) {
      Note(path, "xattrs");
    }
    if ((sa.st_mode & S_IFMT) != (sb.st_mode & S_IFMT)) {
      return;
    }
    if (S_ISDIR(sa.st_mode)) {
      CompareNames(a, b, path);
      return;
    }
    if (sa.st_nlink != sb.st_nlink ||
        pairs.emplace(sa.st_ino, sb.st_ino).first->second != sb.st_ino) {
      Note(path, "hard links");
    }
    if (sa.st_rdev != sb.st_rdev) {
      Note(path, "device");
    }
    if (S_ISLNK(sa.st_mode) && fs::read_symlink(a) != fs::read_symlink(b)) {
      Note(path, "symlink target");
    }
    if (S_ISREG(sa.st_mode)) {
      if (sa.st_size != sb.st_size) {
        Note(path, "size");
      } else if (sa.st_size < (64 << 20) && ReadTestFile(a) != ReadTestFile(b)) {
        Note(path, "content");
      }
      if (Extents(a) != Extents(b)) {
        Note(path, "holes: " + Extents(a) + " and " + Extents(b));
      }
    }
  }

  void CompareNames(const std::string& a, const std::string& b, const std::string& path) {
    std::map<std::string, int> names;
    for (const auto& entry : fs::directory_iterator(a)) {
      names[entry.path().filename().string()] |= 1;
    }
    for (const auto& entry : fs::directory_iterator(b)) {
      names[entry.path().filename().string()] |= 2;
    }
    for (const auto& [name, where] : names) {
      const std::string child = path.empty() ? name : path + "/" + name;
      if (where == 3) {
        Compare(a + "/" + name, b + "/" + name, child);
      } else {
        Note(child, where == 1 ? "missing" : "extraneous");
      }
    }
  }
};

}  // namespace

std::string Differences(const std::string& a, const std::string& b) {
  Comparison comparison;
  comparison.Compare(a, b, "");
  return comparison.differences;
}

Result<RoundStats> Ends::Round(const RoundOptions& options) {
  StringSink sink;
  const RoundStats sent = TRY(sender.SendRound(sink, options));
  CHECK(sent.bytes_sent == sink.bytes.size());
  StringSource source_stream(sink.bytes + "what follows");
  received = TRY(receiver.ReceiveRound(source_stream));
  CHECK(source_stream.position == sink.bytes.size());
  CHECK(received.bytes_sent == sent.bytes_sent);
  return sent;
}

std::string RandomTree::NewName() {
  std::string name = "n" + std::to_string(next_name_++);
  if (Below(10) == 0) {
    name += "\n\xff \\x";
  }
  return name;
}

std::vector<std::string> RandomTree::Paths(unsigned type) {
  std::vector<std::string> paths;
  if (type == 0 || type == S_IFDIR) {
    paths.push_back(root_);
  }
  for (auto at = fs::recursive_directory_iterator(root_); at != fs::end(at); ++at) {
    struct stat stat;
    CHECK(::lstat(at->path().c_str(), &stat) == 0);
    if (type == 0 || (stat.st_mode & S_IFMT) == type) {
      paths.push_back(at->path().string());
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string RandomTree::Any(unsigned type) {
  const std::vector<std::string> paths = Paths(type);
  return paths.empty() ? std::string() : paths[Below(paths.size())];
}

void RandomTree::CreateOne() {
  const std::string path = Any(S_IFDIR) + "/" + NewName();
  switch (Below(12)) {
    case 0:
    case 1:
      CHECK(::mkdir(path.c_str(), 0755) == 0);
      break;
    case 2:
      CHECK(::symlink(RandomBytes(random_, 8).c_str()[0] != '\0' ? "some/where" : "/abs",
                      path.c_str()) == 0);
      break;
    case 3:
      CHECK(::mkfifo(path.c_str(), 0640) == 0);
      break;
    case 4:
      CHECK(::mknod(path.c_str(), S_IFSOCK | 0700, 0) == 0);
      break;
    case 5:
      CHECK(::mknod(path.c_str(), (Below(2) ? S_IFCHR : S_IFBLK) | 0600,
                    makedev(Below(300), Below(70000))) == 0);
      break;
    case 6:
      CHECK(::mknod(path.c_str(), S_IFCHR, 0) == 0);
      break;
    case 7: {
      const std::string other = Any(Below(3) == 0 ? S_IFLNK : S_IFREG);
      if (!other.empty()) {
        CHECK(::link(other.c_str(), path.c_str()) == 0);
        break;
      }
      [[fallthrough]];
    }
    default: {
      WriteTestFile(path, RandomBytes(random_, Below(3) == 0 ? Below(400000) : Below(3000)));
      if (Below(4) == 0) {  // sparse: a piece far behind the end
        const OwnedFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
        const std::string piece = RandomBytes(random_, Below(20000));
        CHECK(::pwrite(fd.get(), piece.data(), piece.size(), static_cast<off_t>(Below(1000000))) >=
              0);
        CHECK(::ftruncate(fd.get(), static_cast<off_t>(Below(1500000))) == 0);
      }
    }
  }
  if (Below(3) == 0) {
    MutateAttributes(path);
  }
}

void RandomTree::Create(int entries) {
  for (int i = 0; i < entries; ++i) {
    CreateOne();
  }
}

void RandomTree::Mutate(int changes) {
  for (int i = 0; i < changes; ++i) {
    MutateOne();
  }
}

void RandomTree::MutateContent(const std::string& path) {
  const OwnedFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  struct stat stat;
  CHECK(fd && ::fstat(fd.get(), &stat) == 0);
  const auto size = static_cast<std::uint64_t>(stat.st_size);
  const std::string piece = RandomBytes(random_, 1 + Below(5000));
  switch (Below(6)) {
    case 0:
      CHECK(::pwrite(fd.get(), piece.data(), piece.size(), stat.st_size) > 0);
      break;
    case 1:
      CHECK(::ftruncate(fd.get(), static_cast<off_t>(Below(size + 1))) == 0);
      break;
    case 2:
      CHECK(::ftruncate(fd.get(), static_cast<off_t>(size + Below(200000))) == 0);
      break;
    case 3:
      if (size > 0) {
        CHECK(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                          static_cast<off_t>(Below(size)),
                          static_cast<off_t>(1 + Below(150000))) == 0);
      }
      break;
    default:
      CHECK(::pwrite(fd.get(), piece.data(), piece.size(), static_cast<off_t>(Below(size + 1))) >
            0);
  }
  if (Below(4) == 0) {  // a writer that hides its work from mtime
    const timespec times[2] = {stat.st_atim, stat.st_mtim};
    CHECK(::futimens(fd.get(), times) == 0);
  }
}

void RandomTree::MutateAttributes(const std::string& path) {
  struct stat stat;
  CHECK(::lstat(path.c_str(), &stat) == 0);
  const bool is_link = S_ISLNK(stat.st_mode);
  const bool plain = S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode);
  switch (Below(7)) {
    case 0:
      if (!is_link) {
        CHECK(::chmod(path.c_str(), static_cast<mode_t>(Below(010000))) == 0);
      }
      break;
    case 1:
      CHECK(::lchown(path.c_str(), static_cast<uid_t>(Below(70000)), 7) == 0);
      break;
    case 2: {
      const timespec times[2] = {{1, 2}, {static_cast<time_t>(Below(2000000000)), 123456789}};
      CHECK(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
      break;
    }
    case 3: {
      const std::string name = "trusted.overlay.x" + std::to_string(Below(3));
      const std::string value = RandomBytes(random_, Below(40));
      CHECK(::lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0) == 0);
      break;
    }
    case 4:
      ::lremovexattr(path.c_str(), ("trusted.overlay.x" + std::to_string(Below(3))).c_str());
      break;
    case 5:
      if (plain) {
        CHECK(::setxattr(path.c_str(), "user.note", "hello", 1 + Below(5), 0) == 0);
      }
      break;
    default:
      if (S_ISREG(stat.st_mode)) {  // cap_net_raw+ep
        const std::uint32_t capability[5] = {0x02000001, 1U << 13, 0, 0, 0};
        CHECK(::setxattr(path.c_str(), "security.capability", capability, sizeof(capability), 0) ==
              0);
      }
  }
}

void RandomTree::MutateOne() {
  const std::string path = Any(0);
  const bool is_root = path == root_;
  switch (Below(12)) {
    case 0:
    case 1:
      CreateOne();
      break;
    case 2:
      if (!is_root) {
        fs::remove_all(path);
      }
      break;
    case 3: {  // rename, perhaps over something else
      const std::string to = Below(2) ? Any(0) : Any(S_IFDIR) + "/" + NewName();
      if (!is_root && to != root_ && !to.starts_with(path + "/") && !path.starts_with(to + "/")) {
        std::error_code ignored;
        fs::rename(path, to, ignored);
      }
      break;
    }
    case 4: {  // replaced by another kind of thing
      const bool was_directory = fs::symlink_status(path).type() == fs::file_type::directory;
      if (!is_root) {
        fs::remove_all(path);
        if (was_directory) {
          WriteTestFile(path, "now a file");
        } else {
          CHECK(::mkdir(path.c_str(), 0700) == 0);
          WriteTestFile(path + "/inner", "below what was a file");
        }
      }
      break;
    }
    case 5:
    case 6:
    case 7:
      MutateAttributes(path);
      break;
    default: {
      const std::string file = Any(S_IFREG);
      if (!file.empty()) {
        MutateContent(file);
      }
    }
  }
}

}  // namespace migrate::file_tree_test
