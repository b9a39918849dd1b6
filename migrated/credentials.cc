#include "migrated/credentials.h"

#include "base/file_util.h"

namespace migrate {
namespace {

struct TlsContents {
  std::string ca;
  std::string certificate;
  std::string key;
};

Result<TlsContents> ReadTlsFiles(const TlsFiles& files) {
  TlsContents contents;
  contents.ca = TRY(ReadSmallFile(files.ca));
  contents.certificate = TRY(ReadSmallFile(files.certificate));
  contents.key = TRY(ReadSmallFile(files.key));
  return contents;
}

}  // namespace

Result<std::shared_ptr<grpc::ChannelCredentials>> PeerChannelCredentials(const Config& config) {
  if (config.insecure) {
    return grpc::InsecureChannelCredentials();
  }
  const TlsContents tls = TRY(ReadTlsFiles(config.tls));
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = tls.ca;
  options.pem_cert_chain = tls.certificate;
  options.pem_private_key = tls.key;
  return grpc::SslCredentials(options);
}

Result<std::shared_ptr<grpc::ServerCredentials>> PeerServerCredentials(const Config& config) {
  if (config.insecure) {
    return grpc::InsecureServerCredentials();
  }
  const TlsContents tls = TRY(ReadTlsFiles(config.tls));
  // A daemon without a certificate of the same authority gets no further than the handshake.
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = tls.ca;
  options.pem_key_cert_pairs.push_back({tls.key, tls.certificate});
  return grpc::SslServerCredentials(options);
}

}  // namespace migrate
