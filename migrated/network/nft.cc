#include "migrated/network/nft.h"

#include <nftables/libnftables.h>

#include <memory>
#include <mutex>
#include <sstream>

namespace migrate {
namespace {

std::mutex& NftMutex() {
  static std::mutex mutex;
  return mutex;
}

struct ContextDeleter {
  void operator()(nft_ctx* context) const { nft_ctx_free(context); }
};

unsigned OutputFlags(NftOutput output) {
  switch (output) {
    case NftOutput::kText:
      return NFT_CTX_OUTPUT_STATELESS | NFT_CTX_OUTPUT_NUMERIC_ALL;
    case NftOutput::kHandles:
      return NFT_CTX_OUTPUT_STATELESS | NFT_CTX_OUTPUT_NUMERIC_ALL | NFT_CTX_OUTPUT_HANDLE;
    case NftOutput::kJson:
      return NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_NUMERIC_ALL | NFT_CTX_OUTPUT_HANDLE;
  }
  return 0;
}

Error NftError(std::string text) {
  while (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  auto code = ErrorCode::kInternal;
  if (text.find("No such file or directory") != std::string::npos) {
    code = ErrorCode::kNotFound;
  } else if (text.find("File exists") != std::string::npos) {
    code = ErrorCode::kAlreadyExists;
  } else if (text.find("Operation not permitted") != std::string::npos) {
    code = ErrorCode::kPermissionDenied;
  }
  return MakeError(code, "nft: " + (text.empty() ? "failed without a message" : text));
}

}  // namespace

Result<std::string> RunNft(std::string_view commands, NftOutput output) {
  std::lock_guard lock(NftMutex());
  // A context per call: its netlink socket belongs to the namespace in which it was made.
  std::unique_ptr<nft_ctx, ContextDeleter> context(nft_ctx_new(NFT_CTX_DEFAULT));
  if (!context) {
    return MakeError(ErrorCode::kResourceExhausted, "nft: no context");
  }
  nft_ctx_buffer_output(context.get());
  nft_ctx_buffer_error(context.get());
  nft_ctx_output_set_flags(context.get(), OutputFlags(output));
  if (nft_run_cmd_from_buffer(context.get(), std::string(commands).c_str()) != 0) {
    return NftError(nft_ctx_get_error_buffer(context.get()));
  }
  return std::string(nft_ctx_get_output_buffer(context.get()));
}

Result<bool> NftTableExists(std::string_view family, std::string_view table) {
  std::istringstream lines(TRY(RunNft("list tables " + std::string(family))));
  std::string wanted = "table " + std::string(family) + " " + std::string(table);
  for (std::string line; std::getline(lines, line);) {
    if (line == wanted) {
      return true;
    }
  }
  return false;
}

Result<> RemoveNftTable(std::string_view family, std::string_view table) {
  // "add" first makes the deletion succeed where there is no such table.
  auto name = std::string(family) + " " + std::string(table) + "\n";
  TRY(RunNft("add table " + name + "delete table " + name));
  return {};
}

}  // namespace migrate
