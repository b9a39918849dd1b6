// For the tests of file trees: an in-memory stream, temporary directories, a comparison of two
// trees that shares no code with what is tested, and a random tree that keeps changing.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "base/result.h"
#include "migrated/ship/byte_stream.h"
#include "migrated/ship/file_tree_receiver.h"
#include "migrated/ship/file_tree_sender.h"

namespace migrate::file_tree_test {

class StringSink : public ByteSink {
 public:
  Result<> Write(std::span<const std::byte> data) override;
  Result<> Finish() override { return MakeError(ErrorCode::kInternal, "Finish is not ours"); }
  std::string bytes;
  std::size_t fail_after = SIZE_MAX;
};

// Hands the bytes out in pieces of at most `piece`.
class StringSource : public ByteSource {
 public:
  explicit StringSource(std::string text, std::size_t piece = 4099)
      : bytes(std::move(text)), piece_(piece) {}
  Result<std::size_t> Read(std::span<std::byte> buffer) override;
  std::string bytes;
  std::size_t position = 0;

 private:
  std::size_t piece_;
};

class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  OwnedFd Open() const;

 private:
  std::string path_;
};

// Empty if equal; otherwise the differences, one per line. Attributes, content, holes, links.
std::string Differences(const std::string& a, const std::string& b);

void WriteTestFile(const std::string& path, const std::string& content);
std::string ReadTestFile(const std::string& path);
std::string RandomBytes(std::mt19937_64& random, std::size_t size);

struct Ends {
  explicit Ends(FileTreeSenderOptions sender_options = {},
                FileTreeReceiverOptions receiver_options = {.allow_devices = true})
      : sender(source.Open(), std::move(sender_options)),
        receiver(target.Open(), std::move(receiver_options)) {}
  // One round through a string; checks that exactly the round was read.
  Result<RoundStats> Round(const RoundOptions& options = {});

  TempDir source;
  TempDir target;
  FileTreeSender sender;
  FileTreeReceiver receiver;
  RoundStats received;
};

// A tree with all kinds of entries below a directory. Needs root.
class RandomTree {
 public:
  RandomTree(std::string root, std::uint64_t seed) : root_(std::move(root)), random_(seed) {}
  void Create(int entries);
  void Mutate(int changes);

 private:
  std::uint64_t Below(std::uint64_t n) { return random_() % n; }
  std::string NewName();
  std::vector<std::string> Paths(unsigned type);  // of entries of this type; 0: all; with the root
  std::string Any(unsigned type);
  void CreateOne();
  void MutateOne();
  void MutateContent(const std::string& path);
  void MutateAttributes(const std::string& path);

  std::string root_;
  std::mt19937_64 random_;
  int next_name_ = 0;
};

}  // namespace migrate::file_tree_test
