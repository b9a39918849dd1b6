// A file tree copied on this host, in rounds, by the code that ships one to another host
// (ship/file_tree_sender.h, file_tree_receiver.h): owners, times, links, holes and extended
// attributes are kept, and a second round costs what has changed. One thread uses it; a round runs
// a second one.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"

namespace migrate {

class FileTreeReceiver;
class FileTreeSender;

class LocalTreeCopy {
 public:
  // `to` is made if it is missing.
  static Result<std::unique_ptr<LocalTreeCopy>> Create(const std::string& from,
                                                       const std::string& to,
                                                       std::vector<std::string> excludes);
  ~LocalTreeCopy();

  // The bytes of content that this round had to copy.
  Result<std::uint64_t> Round(bool final, const std::stop_token& stop);

 private:
  LocalTreeCopy();
  std::unique_ptr<FileTreeSender> sender_;
  std::unique_ptr<FileTreeReceiver> receiver_;
};

}  // namespace migrate
