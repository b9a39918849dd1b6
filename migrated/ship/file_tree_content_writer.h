// ContentWriter: the content of one regular file on the target, written in place as its frames
// arrive. They must cover the file from 0 to its end in order; blocks said to be the same are read
// and compared. Owns the file's descriptor and a buffer. One thread. Any error leaves the file in
// between: the round has failed.
#pragma once

#include <cstdint>
#include <string>

#include "base/owned_fd.h"
#include "base/result.h"
#include "migrated/ship/file_tree_blocks.h"
#include "proto/file_tree.pb.h"

namespace migrate {

class ContentWriter {
 public:
  ContentWriter() = default;

  // `file` is open for reading and writing; `fresh`: it is new and empty.
  Result<> Start(OwnedFd file, const v1::TreeEntry& entry, bool fresh);
  bool active() const { return static_cast<bool>(file_); }

  Result<> Data(const v1::TreeData& data);
  Result<> Hole(const v1::TreeHole& hole);
  Result<> Same(const v1::TreeSame& same);
  Result<OwnedFd> End(const v1::TreeFileEnd& end);

  std::uint64_t bytes_read() const { return bytes_read_; }  // of all files so far

 private:
  // The range continues where the last one ended.
  Result<> Advance(std::uint64_t offset, std::uint64_t length);
  Error Corrupt(std::string_view what) const;

  OwnedFd file_;
  std::string path_;
  bool fresh_ = false;
  std::uint64_t base_size_ = 0;
  std::uint64_t block_size_ = 0;
  std::uint64_t position_ = 0;
  std::uint64_t bytes_read_ = 0;
  BlockDigester digester_;
  Xxh3Stream run_;
};

// At `offset`, all of it.
Result<> WriteAt(FdRef fd, std::uint64_t offset, std::string_view data, std::string_view path);

}  // namespace migrate
