// Two real engines and what the tests against them share: the way of an image and of a description
// from one to the other, and a journal that can end at any point. Skips without root or Docker.
// MIGRATE_TEST_DOCKERD_SOURCE and _TARGET choose other programs than `dockerd`.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/netns.h"
#include "base/subprocess.h"
#include "migrated/docker/container_spec.h"
#include "migrated/docker/create_on_target.h"
#include "migrated/docker/image_transfer.h"
#include "migrated/docker/preflight.h"
#include "migrated/docker/real_engines.h"

namespace migrate::testing {

class FileSink : public ByteSink {
 public:
  explicit FileSink(const std::string& path) : file_(path, std::ios::binary) {}
  Result<> Write(std::span<const std::byte> data) override {
    file_.write(reinterpret_cast<const char*>(data.data()),
                static_cast<std::streamsize>(data.size()));
    return {};
  }
  Result<> Finish() override {
    file_.close();
    return {};
  }

 private:
  std::ofstream file_;
};

class FileSource : public ByteSource {
 public:
  explicit FileSource(const std::string& path) : file_(path, std::ios::binary) {}
  Result<std::size_t> Read(std::span<std::byte> buffer) override {
    file_.read(reinterpret_cast<char*>(buffer.data()), static_cast<std::streamsize>(buffer.size()));
    return static_cast<std::size_t>(file_.gcount());
  }

 private:
  std::ifstream file_;
};

inline std::string Program(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr ? value : "dockerd";
}

class Docker : public ::testing::Test {
 protected:
  void SetUp() override {
    SubprocessOptions probe;
    probe.argv = {"bash", "-c", "command -v dockerd docker runc && test $(id -u) = 0"};
    if (!RunSubprocess(probe)->ok()) {
      GTEST_SKIP() << "needs root, docker and dockerd";
    }
    source_ = std::make_unique<RealEngine>(Program("MIGRATE_TEST_DOCKERD_SOURCE"), true);
    ASSERT_TRUE(source_->client().Ping());
  }

  // The second engine; not every test needs one.
  RealEngine& Target(bool with_runtime = true) {
    if (!target_) {
      target_ = std::make_unique<RealEngine>(Program("MIGRATE_TEST_DOCKERD_TARGET"), with_runtime);
    }
    return *target_;
  }

  ContainerSpec Spec(const std::string& name) {
    // Over the wire and back: what the target sees.
    const ContainerSpec spec = BuildSpec(source_->client(), name).value();
    return SpecFromJson(SpecToJson(spec)).value();
  }

  void CopyImage(const std::string& name) {
    const std::string path = source_->directory() + "/copy.tar";
    source_->Docker({"save", "-o", path, name});
    Target().Docker({"load", "-i", path});
  }

  // With the image at the target, like a daemon does it.
  Result<SaveStatistics> Transfer(const std::string& name) {
    const ImageInfo image = source_->client().InspectImage(name).value();
    const std::size_t present = PresentLayers(Target().client(), image.diff_ids).value();
    const std::string path = source_->directory() + "/transfer.tar";
    FileSink sink(path);
    const auto statistics = TRY(SaveImageWithout(source_->client(), image.id, present, sink));
    TRY(sink.Finish());
    FileSource stream(path);
    TRY(ReceiveImage(Target().client(), image.id, name, stream, Journal()));
    return statistics;
  }

  OnCreate Journal() {
    return [this](const UndoItem& item) -> Result<> {
      if (journal_.size() >= journal_limit_) {
        return MakeError(ErrorCode::kInternal, "the daemon dies here");
      }
      journal_.push_back(item);
      return {};
    };
  }

  CreateOnTargetOptions CreateArguments() {
    CreateOnTargetOptions options;
    options.migration_id = "0123456789abcdef";
    options.on_create = Journal();
    return options;
  }

  std::vector<std::string> TargetCodes(const ContainerSpec& spec,
                                       const TargetCheckOptions& options = {}) {
    std::vector<std::string> codes;
    auto check = [&]() -> Result<> {
      for (const Blocker& blocker : TRY(CheckTarget(Target().client(), spec, options))) {
        codes.push_back(blocker.code);
      }
      return {};
    };
    EXPECT_TRUE(InNetns(Target().netns(), check));
    return codes;
  }

  std::string Inventory(RealEngine& engine) {
    return engine.Docker({"ps", "-a", "--format", "{{.Names}}"}) + "|" +
           engine.Docker({"volume", "ls", "-q"}) + "|" +
           engine.Docker({"network", "ls", "--format", "{{.Name}}"}) + "|" +
           engine.Docker({"images", "-a", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"});
  }

  std::unique_ptr<RealEngine> source_;
  std::unique_ptr<RealEngine> target_;
  std::vector<UndoItem> journal_;
  std::size_t journal_limit_ = 1000;
};

}  // namespace migrate::testing
