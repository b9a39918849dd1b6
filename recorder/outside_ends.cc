#include "recorder/outside_ends.h"

#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <compare>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "base/cgroup.h"
#include "base/file_util.h"
#include "base/netns.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using Kind = OutsideEnd::Kind;

struct FileId {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  std::uint64_t inode = 0;
  auto operator<=>(const FileId&) const = default;
};

struct FileFacts {
  FileId id;
  unsigned mode = 0;
};

// Of an open file, through its magic link. Never asks a file server, which might not answer.
std::optional<FileFacts> Facts(const fs::path& link) {
  struct statx info {};
  if (statx(AT_FDCWD, link.c_str(), AT_STATX_DONT_SYNC, STATX_INO | STATX_TYPE, &info) != 0) {
    return std::nullopt;
  }
  return FileFacts{{info.stx_dev_major, info.stx_dev_minor, info.stx_ino}, info.stx_mode};
}

fs::path LinkOf(const Process& process, const Descriptor& file) {
  return process.directory() / "fd" / std::to_string(file.number);
}

bool IsOpenForWriting(const Process& process, const Descriptor& file) {
  const auto text =
      ReadSmallFile(process.directory() / "fdinfo" / std::to_string(file.number)).value_or("");
  const auto at = text.find("flags:");
  if (at == std::string::npos) {
    return false;
  }
  return (std::strtoul(text.c_str() + at + 6, nullptr, 8) & O_ACCMODE) != O_RDONLY;
}

bool IsSystemV(const FileMapping& mapping) { return mapping.name.starts_with("/SYSV"); }

// --- peers of unix sockets ---

using Peers = std::map<std::uint64_t, std::uint64_t>;  // inode -> inode

int ReadPeer(const nlmsghdr* header, void* data) {
  auto& peers = *static_cast<Peers*>(data);
  const auto* message = static_cast<const unix_diag_msg*>(mnl_nlmsg_get_payload(header));
  // mnl_attr_for_each is not C++.
  for (auto* attribute =
           static_cast<nlattr*>(mnl_nlmsg_get_payload_offset(header, sizeof *message));
       mnl_attr_ok(attribute,
                   static_cast<int>(static_cast<char*>(mnl_nlmsg_get_payload_tail(header)) -
                                    reinterpret_cast<char*>(attribute)));
       attribute = mnl_attr_next(attribute)) {
    if (mnl_attr_get_type(attribute) == UNIX_DIAG_PEER &&
        mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0) {
      peers[message->udiag_ino] = mnl_attr_get_u32(attribute);
    }
  }
  return MNL_CB_OK;
}

Result<> DumpPeers(Peers& peers) {
  const std::unique_ptr<mnl_socket, decltype(&mnl_socket_close)> socket(
      mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC), mnl_socket_close);
  if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) {
    return ErrnoError("sock_diag");
  }
  std::array<char, 32768> buffer{};  // MNL_SOCKET_DUMP_SIZE is a variable
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  auto* request =
      static_cast<unix_diag_req*>(mnl_nlmsg_put_extra_header(header, sizeof(unix_diag_req)));
  request->sdiag_family = AF_UNIX;
  request->udiag_states = ~0U;
  request->udiag_show = UDIAG_SHOW_PEER;
  if (mnl_socket_sendto(socket.get(), header, header->nlmsg_len) < 0) {
    return ErrnoError("sock_diag");
  }
  for (int more = MNL_CB_OK; more > MNL_CB_STOP;) {
    const auto got = mnl_socket_recvfrom(socket.get(), buffer.data(), buffer.size());
    more = got < 0 ? MNL_CB_ERROR
                   : mnl_cb_run(buffer.data(), static_cast<std::size_t>(got), 0,
                                mnl_socket_get_portid(socket.get()), ReadPeer, &peers);
    if (more == MNL_CB_ERROR) {
      return ErrnoError("sock_diag of unix sockets");
    }
  }
  return {};
}

// Of the sockets that belong to the network namespace of the process.
Result<Peers> UnixPeers(int pid) {
  Peers peers;
  const OwnedFd netns = TRY(OpenNetns(pid));
  TRY(InNetns(netns, [&] { return DumpPeers(peers); }));
  return peers;
}

// --- the comparison ---

class Comparison {
 public:
  Comparison(const fs::path& cgroup, Peers peers)
      : cgroup_(cgroup), processes_(ReadProcesses(cgroup)), peers_(std::move(peers)) {
    for (const Process& process : processes_) {
      inside_.insert(process.pid);
    }
  }

  std::vector<OutsideEnd> Run() {
    for (const Process& process : processes_) {
      CollectDescriptors(process);
      CollectMappings(process);
    }
    for (const int pid : AllProcesses()) {
      if (!inside_.contains(pid) && pid != getpid()) {
        LookAt(Process{.pid = pid});
      }
    }
    std::vector<OutsideEnd> found;
    for (Candidate& candidate : candidates_) {
      if (candidate.end.outside.pid != 0) {
        found.push_back(std::move(candidate.end));
      }
    }
    return found;
  }

 private:
  struct Candidate {
    OutsideEnd end;
    bool writable = false;  // the container writes to the mapping
    std::string ipc;        // of System V memory, whose inodes are numbered by IPC namespace
  };
  using MapsKey = std::pair<std::string, std::uint64_t>;

  // The index of the candidate for a file; a new one for a file that is seen for the first time.
  Candidate& CandidateFor(std::map<FileId, std::size_t>& index, const FileId& id, Kind kind) {
    const auto [place, added] = index.emplace(id, candidates_.size());
    if (added) {
      candidates_.emplace_back().end.kind = kind;
    }
    return candidates_[place->second];
  }

  static void Describe(OutsideEnd& end, const Process& process, std::string place,
                       const std::string& name, std::uint64_t inode) {
    if (end.inside.pid == 0) {
      end.inside = process;
      end.place = std::move(place);
      end.name = name;
      end.inode = inode;
    }
  }

  void CollectDescriptors(const Process& process) {
    for (const Descriptor& file : ReadDescriptors(process)) {
      const auto facts = Facts(LinkOf(process, file));
      if (!facts) {
        continue;
      }
      const std::string place = "descriptor " + std::to_string(file.number);
      if (S_ISFIFO(facts->mode)) {
        OutsideEnd& end = CandidateFor(by_file_, facts->id, Kind::kPipe).end;
        Describe(end, process, place, file.link, facts->id.inode);
        end.standard_stream |= file.number <= STDERR_FILENO && file.link.starts_with("pipe:");
      } else if (const auto peer = peers_.find(facts->id.inode);
                 S_ISSOCK(facts->mode) && peer != peers_.end() && peer->second != 0) {
        FileId other = facts->id;
        other.inode = peer->second;
        Describe(CandidateFor(by_file_, other, Kind::kUnixSocket).end, process, place, file.link,
                 facts->id.inode);
      }
    }
  }

  void CollectMappings(const Process& process) {
    for (const FileMapping& mapping : ReadMappings(process)) {
      if (!mapping.shared) {
        continue;
      }
      const auto facts = Facts(process.directory() / "map_files" / mapping.range);
      const std::string ipc = IsSystemV(mapping) ? process.Namespace("ipc") : std::string();
      const MapsKey key{mapping.device, mapping.inode};
      const auto [place, added] = by_mapping_.emplace(key, candidates_.size());
      if (added) {
        candidates_.emplace_back().end.kind = Kind::kMapping;
      }
      Candidate& candidate = candidates_[place->second];
      Describe(candidate.end, process, mapping.range, mapping.name, mapping.inode);
      candidate.writable |= mapping.writable;
      candidate.ipc = ipc;
      if (facts && ipc.empty()) {
        mapped_files_.emplace(facts->id, place->second);
      }
    }
  }

  void LookAt(const Process& process) {
    if (!by_file_.empty() || !mapped_files_.empty()) {
      for (const Descriptor& file : ReadDescriptors(process)) {
        LookAtDescriptor(process, file);
      }
    }
    if (!by_mapping_.empty()) {
      for (const FileMapping& mapping : ReadMappings(process)) {
        LookAtMapping(process, mapping);
      }
    }
  }

  void LookAtDescriptor(const Process& process, const Descriptor& file) {
    const auto facts = Facts(LinkOf(process, file));
    if (!facts) {
      return;
    }
    if (const auto end = by_file_.find(facts->id); end != by_file_.end()) {
      Found(candidates_[end->second], process);
    }
    const auto mapped = mapped_files_.find(facts->id);
    if (mapped != mapped_files_.end() &&
        (candidates_[mapped->second].writable || IsOpenForWriting(process, file))) {
      Found(candidates_[mapped->second], process);
    }
  }

  // A mapping that nobody writes to, as of a program's data files, is no matter.
  void LookAtMapping(const Process& process, const FileMapping& mapping) {
    const auto place = by_mapping_.find({mapping.device, mapping.inode});
    if (place == by_mapping_.end()) {
      return;
    }
    Candidate& candidate = candidates_[place->second];
    const bool changes = candidate.writable || (mapping.shared && mapping.writable);
    if (changes && (candidate.ipc.empty() || candidate.ipc == process.Namespace("ipc"))) {
      Found(candidate, process);
    }
  }

  void Found(Candidate& candidate, const Process& process) {
    if (candidate.end.outside.pid != 0 || inside_.contains(process.pid)) {
      return;
    }
    // It may have been born in the container since its processes were listed, or be gone.
    for (const int pid : CgroupProcesses(cgroup_).value_or(std::vector<int>())) {
      inside_.insert(pid);
    }
    const auto now = ReadProcess(process.pid);
    if (!inside_.contains(process.pid) && now) {
      candidate.end.outside = *now;
    }
  }

  const fs::path cgroup_;
  const std::vector<Process> processes_;
  const Peers peers_;
  std::set<int> inside_;
  std::vector<Candidate> candidates_;
  std::map<FileId, std::size_t> by_file_;  // a pipe, or the other end of a socket
  std::map<FileId, std::size_t> mapped_files_;
  std::map<MapsKey, std::size_t> by_mapping_;
};

}  // namespace

Result<std::vector<OutsideEnd>> FindOutsideEnds(int init_pid, const fs::path& cgroup) {
  Peers peers = TRY(UnixPeers(init_pid));
  return Comparison(cgroup, std::move(peers)).Run();
}

}  // namespace migrate
