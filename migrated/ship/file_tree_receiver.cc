#include "migrated/ship/file_tree_receiver.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/limits.h"
#include "migrated/ship/file_tree_frame.h"
#include "migrated/ship/file_tree_path.h"

namespace migrate {
namespace {

bool IsDevice(unsigned type) { return type == S_IFCHR || type == S_IFBLK; }

bool IsWhiteout(const v1::TreeEntry& entry) {
  return entry.type() == v1::TREE_ENTRY_TYPE_CHAR_DEVICE && entry.device_major() == 0 &&
         entry.device_minor() == 0;
}

Error Unfitting(std::string_view path) {
  return TreeError(ErrorCode::kDataLoss, path,
                   "what is on the target is not what the difference applies to");
}

}  // namespace

FileTreeReceiver::FileTreeReceiver(OwnedFd root, FileTreeReceiverOptions options)
    : tree_(std::move(root)), options_(std::move(options)) {}

Result<RoundStats> FileTreeReceiver::ReceiveRound(ByteSource& source, std::stop_token stop) {
  const auto start = std::chrono::steady_clock::now();
  FrameReader reader(source, std::move(stop), options_.progress);
  const std::uint64_t read_before = writer_.bytes_read();
  Result<RoundStats> stats = Receive(reader);
  names_ = {};
  appended_.reset();
  if (!stats) {
    round_ = 0;
    writer_ = {};
    return stats;
  }
  stats->bytes_read = writer_.bytes_read() - read_before;
  stats->bytes_sent = reader.bytes();
  stats->elapsed = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now() - start);
  return stats;
}

Result<RoundStats> FileTreeReceiver::Receive(FrameReader& reader) {
  v1::TreeMessage message;
  TRY(reader.Next(message));
  TRY(Begin(message));
  while (true) {
    TRY(reader.Next(message));
    if (message.kind_case() == v1::TreeMessage::kEnd) {
      break;
    }
    TRY(Apply(message));
  }
  if (writer_.active() || message.end().messages() != reader.messages() - 2) {
    return MakeError(ErrorCode::kDataLoss, "file stream corrupt: the round is incomplete");
  }
  TRY(Finish());
  return stats_;
}

Result<> FileTreeReceiver::Begin(const v1::TreeMessage& message) {
  if (message.kind_case() != v1::TreeMessage::kBegin) {
    return MakeError(ErrorCode::kDataLoss, "file stream corrupt: not the beginning of a round");
  }
  const v1::TreeRoundBegin& begin = message.begin();
  if (begin.format_version() != kTreeFormatVersion) {
    return MakeError(ErrorCode::kVersionMismatch,
                     "file stream of format " + std::to_string(begin.format_version()) +
                         ", this side knows " + std::to_string(kTreeFormatVersion));
  }
  if (!begin.full() &&
      (round_ == 0 || begin.stream_id() != stream_id_ || begin.round() != round_ + 1)) {
    return MakeError(ErrorCode::kFailedPrecondition,
                     "a round of differences does not follow the last round received");
  }
  stats_ = {};
  stats_.final = begin.final();
  full_ = begin.full();
  names_ = {};
  content_bytes_ = 0;
  tree_.ForgetDirectoryTimes();
  stream_id_ = begin.stream_id();
  round_ = begin.round();
  return {};
}

Result<> FileTreeReceiver::Finish() {
  appended_.reset();
  if (full_) {
    stats_.removed += TRY(tree_.RemoveUnnamed(names_));
  }
  TRY(tree_.ApplyDirectoryTimes());
  if (options_.sync && stats_.final && ::syncfs(tree_.root().get()) != 0) {
    return TreeErrno("sync", "");
  }
  return {};
}

Result<> FileTreeReceiver::Apply(const v1::TreeMessage& message) {
  switch (message.kind_case()) {
    case v1::TreeMessage::kData:
    case v1::TreeMessage::kHole:
    case v1::TreeMessage::kSame:
    case v1::TreeMessage::kFileEnd:
      return ApplyContent(message);
    default:
      break;
  }
  if (writer_.active()) {
    return MakeError(ErrorCode::kDataLoss, "file stream corrupt: a file is incomplete");
  }
  switch (message.kind_case()) {
    case v1::TreeMessage::kEntry:
      return ApplyEntry(message.entry());
    case v1::TreeMessage::kLink:
      return ApplyLink(message.link());
    case v1::TreeMessage::kRemove:
      return ApplyRemove(message.remove());
    case v1::TreeMessage::kAppend:
      return ApplyAppend(message.append());
    default:
      return MakeError(ErrorCode::kDataLoss, "file stream corrupt: unexpected message");
  }
}

Result<> FileTreeReceiver::ApplyContent(const v1::TreeMessage& message) {
  switch (message.kind_case()) {
    case v1::TreeMessage::kData:
      TRY(CountBytes(message.data().bytes().size(), file_.path()));
      return writer_.Data(message.data());
    case v1::TreeMessage::kHole:
      return writer_.Hole(message.hole());
    case v1::TreeMessage::kSame:
      return writer_.Same(message.same());
    default:
      return ApplyFileEnd(message.file_end());
  }
}

Result<> FileTreeReceiver::Name(const std::string& path) {
  if (!IsTreePath(path)) {
    return TreeError(ErrorCode::kInvalidArgument, path, "invalid path in the file stream");
  }
  if (!names_.Insert(path)) {
    return TreeError(ErrorCode::kDataLoss, path, "named twice in one round");
  }
  if (names_.size() > options_.max_entries) {
    return TreeError(ErrorCode::kResourceExhausted, path, "too many files");
  }
  ++stats_.entries;
  return {};
}

Result<> FileTreeReceiver::CountBytes(std::uint64_t bytes, std::string_view path) {
  content_bytes_ += bytes;
  if (content_bytes_ > options_.max_total_bytes) {
    return TreeError(ErrorCode::kResourceExhausted, path, "more data than allowed");
  }
  return {};
}

Result<> FileTreeReceiver::ApplyEntry(const v1::TreeEntry& entry) {
  const bool is_root = entry.path().empty() && entry.type() == v1::TREE_ENTRY_TYPE_DIRECTORY;
  if (!is_root) {
    TRY(Name(entry.path()));
  }
  TRY(ValidateAttributes(entry.attributes(), entry.path()));
  const unsigned type = ModeOf(entry.type());
  if (type == 0) {
    return TreeError(ErrorCode::kDataLoss, entry.path(), "unknown type");
  }
  if (IsDevice(type) && !options_.allow_devices && !IsWhiteout(entry)) {
    return TreeError(ErrorCode::kPermissionDenied, entry.path(), "device nodes are not allowed");
  }
  switch (type) {
    case S_IFDIR:
      return ApplyDirectory(entry);
    case S_IFREG:
      return ApplyRegular(entry);
    default:
      return ApplySpecial(entry);
  }
}

Result<> FileTreeReceiver::ApplyDirectory(const v1::TreeEntry& entry) {
  const std::string& path = entry.path();
  if (!path.empty()) {
    const std::optional<FileStat> old = TRY(tree_.Stat(path));
    if (!old || !old->is_directory()) {
      TRY(tree_.Touch(path));
      if (old) {
        TRY(tree_.Remove(path));
      }
      const TargetTree::Place place = TRY(tree_.Locate(path));
      if (::mkdirat(place.directory.get(), place.name.c_str(), 0700) != 0) {
        return TreeErrno("create directory", path);
      }
    }
  }
  const OwnedFd fd = OpenBeneath(tree_.root(), path, O_PATH | O_DIRECTORY);
  if (!fd) {
    return TreeErrno("open directory", path);
  }
  const v1::TreeAttributes& attributes = entry.attributes();
  TRY(ApplyAttributes(fd, S_IFDIR, attributes, false, path));
  tree_.SetDirectoryTime(path, {attributes.mtime_seconds(), attributes.mtime_nanoseconds()});
  return {};
}

Result<OwnedFd> FileTreeReceiver::OpenForWriting(const std::string& path, bool create) {
  const TargetTree::Place place = TRY(tree_.Locate(path));
  const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  OwnedFd fd(::openat(place.directory.get(), place.name.c_str(),
                      create ? flags | O_CREAT | O_EXCL : flags, 0600));
  if (!fd) {
    return TreeErrno(create ? "create" : "open", path);
  }
  return fd;
}

Result<> FileTreeReceiver::ApplyRegular(const v1::TreeEntry& entry) {
  const std::string& path = entry.path();
  if (entry.content() == v1::TREE_CONTENT_NEW) {
    TRY(tree_.Touch(path));
    TRY(tree_.Remove(path));
  } else {
    const std::optional<FileStat> old = TRY(tree_.Stat(path));
    const std::uint64_t size =
        entry.content() == v1::TREE_CONTENT_DELTA ? entry.base_size() : entry.size();
    if (!old || !old->is_regular() || old->size != size) {
      return Unfitting(path);
    }
  }
  switch (entry.content()) {
    case v1::TREE_CONTENT_KEEP:
      return ApplyAttributes(TRY(tree_.OpenEntry(path)), S_IFREG, entry.attributes(), true, path);
    case v1::TREE_CONTENT_NEW:
    case v1::TREE_CONTENT_DELTA: {
      const bool fresh = entry.content() == v1::TREE_CONTENT_NEW;
      file_ = entry;
      ++stats_.files_changed;
      return writer_.Start(TRY(OpenForWriting(path, fresh)), entry, fresh);
    }
    default:
      return TreeError(ErrorCode::kDataLoss, path, "file stream corrupt: unknown content");
  }
}

Result<> FileTreeReceiver::ApplyFileEnd(const v1::TreeFileEnd& end) {
  const OwnedFd file = TRY(writer_.End(end));
  return ApplyAttributes(file, S_IFREG, file_.attributes(), true, file_.path());
}

Result<> FileTreeReceiver::ApplySpecial(const v1::TreeEntry& entry) {
  const std::string& path = entry.path();
  if (entry.content() == v1::TREE_CONTENT_NEW) {
    TRY(tree_.Touch(path));
    TRY(tree_.Remove(path));
    TRY(CreateSpecial(entry));
  } else if (entry.content() != v1::TREE_CONTENT_KEEP) {
    return TreeError(ErrorCode::kDataLoss, path, "file stream corrupt: unknown content");
  }
  const std::optional<FileStat> stat = TRY(tree_.Stat(path));
  const unsigned type = ModeOf(entry.type());
  if (!stat || stat->type() != type ||
      (IsDevice(type) &&
       stat->device_number != makedev(entry.device_major(), entry.device_minor()))) {
    return Unfitting(path);
  }
  return ApplyAttributes(TRY(tree_.OpenEntry(path)), type, entry.attributes(), true, path);
}

Result<> FileTreeReceiver::CreateSpecial(const v1::TreeEntry& entry) {
  const std::string& path = entry.path();
  const TargetTree::Place place = TRY(tree_.Locate(path));
  const unsigned type = ModeOf(entry.type());
  if (type == S_IFLNK) {
    const std::string& target = entry.symlink_target();
    if (target.empty() || target.size() >= limits::kMaxPathBytes ||
        target.find('\0') != std::string::npos) {
      return TreeError(ErrorCode::kInvalidArgument, path, "invalid target of a symlink");
    }
    return ::symlinkat(target.c_str(), place.directory.get(), place.name.c_str()) == 0
               ? Result<>()
               : TreeErrno("create symlink", path);
  }
  const dev_t device =
      IsDevice(type) ? makedev(entry.device_major(), entry.device_minor()) : dev_t{0};
  return ::mknodat(place.directory.get(), place.name.c_str(), type | 0600, device) == 0
             ? Result<>()
             : TreeErrno("create", path);
}

Result<> FileTreeReceiver::ApplyLink(const v1::TreeLink& link) {
  TRY(Name(link.path()));
  if (!IsTreePath(link.target()) || link.target() == link.path()) {
    return TreeError(ErrorCode::kInvalidArgument, link.path(), "invalid target of a hard link");
  }
  // What an untidy target held before a full round is not the source's: it will be removed.
  if (full_ && !names_.Contains(link.target())) {
    return TreeError(ErrorCode::kDataLoss, link.path(), "hard link to a file that was not sent");
  }
  const std::optional<FileStat> target = TRY(tree_.Stat(link.target()));
  if (!target || target->is_directory() ||
      (IsDevice(target->type()) && !options_.allow_devices && target->device_number != 0)) {
    return Unfitting(link.target());
  }
  TRY(tree_.Touch(link.path()));
  TRY(tree_.Remove(link.path()));
  const OwnedFd entry = TRY(tree_.OpenEntry(link.target()));
  const TargetTree::Place place = TRY(tree_.Locate(link.path()));
  if (::linkat(entry.get(), "", place.directory.get(), place.name.c_str(), AT_EMPTY_PATH) != 0) {
    return TreeErrno("create hard link", link.path());
  }
  return {};
}

Result<> FileTreeReceiver::ApplyRemove(const v1::TreeRemove& remove) {
  TRY(Name(remove.path()));
  if (!TRY(tree_.Stat(remove.path()))) {
    return Unfitting(remove.path());
  }
  TRY(tree_.Touch(remove.path()));
  ++stats_.removed;
  return tree_.Remove(remove.path());
}

Result<> FileTreeReceiver::ApplyAppend(const v1::TreeAppend& append) {
  const std::string& path = append.path();
  if (!IsTreePath(path)) {
    return TreeError(ErrorCode::kInvalidArgument, path, "invalid path in the file stream");
  }
  constexpr auto kMax = static_cast<std::uint64_t>(limits::kMaxFileBytes);
  if (append.bytes().empty() || append.offset() > kMax ||
      append.offset() + append.bytes().size() > kMax) {
    return TreeError(ErrorCode::kResourceExhausted, path, "invalid append");
  }
  TRY(CountBytes(append.bytes().size(), path));
  if (!appended_ || appended_path_ != path) {
    const bool create = append.offset() == 0;
    if (create) {
      TRY(Name(path));
      TRY(tree_.Touch(path));
      TRY(tree_.Remove(path));
      ++stats_.files_changed;
    } else if (full_ && !names_.Contains(path)) {
      return Unfitting(path);
    }
    appended_ = TRY(OpenForWriting(path, create));
    appended_path_ = path;
  }
  const auto stat = StatEntry(appended_, "");
  if (!stat || !stat->is_regular() || stat->size != append.offset()) {
    return Unfitting(path);
  }
  return WriteAt(appended_, append.offset(), append.bytes(), path);
}

}  // namespace migrate
