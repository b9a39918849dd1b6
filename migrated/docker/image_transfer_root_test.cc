// Images between two real engines, see two_engines.h.

#include "migrated/docker/image_transfer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/subprocess.h"
#include "migrated/docker/json_util.h"
#include "migrated/docker/two_engines.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using testing::FileSink;
using testing::FileSource;
using ::testing::IsEmpty;
using testing::RealEngine;

class DockerImages : public testing::Docker {};

// base:1 with `layers` more layers, the last of which is like the first.
void BuildLayers(RealEngine& engine, const std::string& tag, int layers) {
  engine.ImportBase("base:1");
  std::string from = "base:1";
  for (int i = 1; i <= layers; ++i) {
    const std::string step = tag + "-" + std::to_string(i);
    const std::string content = "layer " + std::to_string(i) + std::string(50'000, 'x');
    const std::string file = engine.directory() + "/layer";
    std::ofstream(file) << content;
    engine.Docker({"create", "--name", "build", from, "true"});
    engine.Docker({"cp", file, "build:/file" + std::to_string(i)});
    engine.Docker({"commit", "build", step});
    engine.Docker({"rm", "build"});
    from = step;
  }
  engine.Docker({"tag", from, tag});
}

TEST_F(DockerImages, ImageMovesWithoutTheLayersThatTheTargetHas) {
  BuildLayers(*source_, "app:1", 3);
  CopyImage("base:1");
  const ImageInfo image = source_->client().InspectImage("app:1").value();
  ASSERT_EQ(image.diff_ids.size(), 4U);
  EXPECT_EQ(PresentLayers(Target().client(), image.diff_ids).value(), 1U);
  const auto statistics = Transfer("app:1");
  ASSERT_TRUE(statistics) << statistics.error().message;
  EXPECT_EQ(statistics->files_left_out, 1U);
  EXPECT_GT(statistics->bytes_left_out, 2'000'000U);
  EXPECT_LT(statistics->bytes_written, 400'000U);
  EXPECT_EQ(Target().Inspect("app:1", "{{.Id}}"), image.id);
  EXPECT_EQ(Target().Docker({"run", "--rm", "app:1", "/bin/sh", "-c",
                             "read a b < /file3; echo $a; ls /file1 /ballast"}),
            "layer\n/ballast\n/file1");
  EXPECT_EQ(PresentLayers(Target().client(), image.diff_ids).value(), 4U);
  ASSERT_TRUE(UndoCreate(Target().client(), journal_));
  EXPECT_EQ(Target().Docker({"images", "-a", "--format", "{{.Repository}}:{{.Tag}}"}), "base:1");
}

TEST_F(DockerImages, ImageMovesWholeToAnEmptyTarget) {
  BuildLayers(*source_, "app:1", 2);
  const auto statistics = Transfer("app:1");
  ASSERT_TRUE(statistics) << statistics.error().message;
  EXPECT_EQ(statistics->files_left_out, 0U);
  EXPECT_EQ(Target().Inspect("app:1", "{{.Id}}"), source_->Inspect("app:1", "{{.Id}}"));
  EXPECT_EQ(Target().Docker({"run", "--rm", "app:1", "/bin/ls", "/file2"}), "/file2");
}

TEST_F(DockerImages, ImageOfWhichTheTargetHasAllLayers) {
  BuildLayers(*source_, "app:1", 1);
  CopyImage("app:1");
  source_->Docker({"create", "--name", "build", "app:1", "true"});
  source_->Docker({"commit", "--change", "ENV NEW=1", "--change", "LABEL a=b", "build", "app:2"});
  // Nothing was written: the same layers under another configuration.
  const auto statistics = Transfer("app:2");
  ASSERT_TRUE(statistics) << statistics.error().message;
  EXPECT_EQ(statistics->files_left_out, 2U);
  EXPECT_EQ(Target().Inspect("app:2", "{{.Id}}"), source_->Inspect("app:2", "{{.Id}}"));
  journal_.clear();
  const auto again = Transfer("app:2");  // idempotent, with nothing to undo
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->files_left_out, 2U);
  EXPECT_THAT(journal_, IsEmpty());
}

// Loads, as `tag`, the image `from` with its second layer once more on top.
void RepeatSecondLayer(RealEngine& engine, const std::string& from, const std::string& tag) {
  const std::string dir = engine.directory() + "/unpacked";
  fs::create_directories(dir);
  engine.Docker({"save", "-o", dir + ".tar", from});
  auto tar = [](std::vector<std::string> argv) {
    SubprocessOptions options;
    options.argv = std::move(argv);
    EXPECT_TRUE(RunSubprocess(options)->ok());
  };
  tar({"tar", "xf", dir + ".tar", "-C", dir});
  Json manifest = Json::parse(std::ifstream(dir + "/manifest.json"));
  Json config = Json::parse(std::ifstream(dir + "/" + JsonString(manifest[0], "Config")));
  config["rootfs"]["diff_ids"].push_back(Json(config["rootfs"]["diff_ids"][1]));
  config["history"].push_back(Json(config["history"][1]));
  std::ofstream(dir + "/repeated.json") << config.dump();
  manifest[0]["Config"] = "repeated.json";
  manifest[0]["RepoTags"] = {tag};
  manifest[0]["Layers"].push_back(Json(manifest[0]["Layers"][1]));
  std::ofstream(dir + "/manifest.json") << manifest.dump();
  fs::remove(dir + "/repositories");
  tar({"tar", "cf", dir + ".tar", "-C", dir, "."});
  engine.Docker({"load", "-i", dir + ".tar"});
}

// The same content below and above what is missing: one blob in an OCI archive, a link in others.
TEST_F(DockerImages, ALayerThatOccursAgainAboveStays) {
  BuildLayers(*source_, "app:1", 2);
  RepeatSecondLayer(*source_, "app:1", "twice:1");
  CopyImage("app:1-1");
  const auto diff_ids = source_->client().InspectImage("twice:1").value().diff_ids;
  ASSERT_EQ(diff_ids.size(), 4U);
  ASSERT_EQ(diff_ids[1], diff_ids[3]);
  EXPECT_EQ(PresentLayers(Target().client(), diff_ids).value(), 2U);
  const auto statistics = Transfer("twice:1");
  ASSERT_TRUE(statistics) << statistics.error().message;
  EXPECT_EQ(statistics->files_left_out, 1U);  // of the two that the target has
  EXPECT_EQ(Target().Docker({"run", "--rm", "twice:1", "/bin/ls", "/file1", "/file2"}),
            "/file1\n/file2");
}

TEST_F(DockerImages, ATagOfAnotherImageStaysItsOwn) {
  BuildLayers(*source_, "app:1", 1);
  Target().ImportBase("app:1");
  const std::string theirs = Target().Inspect("app:1", "{{.Id}}");
  ASSERT_TRUE(Transfer("app:1"));
  EXPECT_EQ(Target().Inspect("app:1", "{{.Id}}"), theirs);
  // The container is made from the id then.
  source_->Docker({"run", "-d", "--name", "ctr", "app:1", "/bin/sleep", "1000"});
  const auto created = CreateOnTarget(Target().client(), Spec("ctr"), CreateArguments());
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_EQ(Target().Inspect("ctr", "{{.Image}}"), source_->Inspect("app:1", "{{.Id}}"));
}

TEST_F(DockerImages, ATornImageStreamLeavesNoImage) {
  BuildLayers(*source_, "app:1", 1);
  const std::string before = Inventory(Target());
  const std::string id = source_->client().InspectImage("app:1").value().id;
  const std::string path = source_->directory() + "/torn.tar";
  FileSink sink(path);
  ASSERT_TRUE(SaveImageWithout(source_->client(), id, 0, sink));
  ASSERT_TRUE(sink.Finish());
  fs::resize_file(path, fs::file_size(path) / 2);
  FileSource stream(path);
  EXPECT_FALSE(ReceiveImage(Target().client(), id, "app:1", stream, Journal()));
  ASSERT_TRUE(UndoCreate(Target().client(), journal_));
  EXPECT_EQ(Inventory(Target()), before);
}

}  // namespace
}  // namespace migrate
