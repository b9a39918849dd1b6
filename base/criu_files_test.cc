#include "base/criu_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

namespace migrate {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class CriuFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "criu_files_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }

  void WriteImage(const char* name, std::uint32_t first, std::uint32_t second,
                  const std::string& message) {
    std::ofstream out(dir_ / name, std::ios::binary);
    for (const std::uint32_t word : {first, second, static_cast<std::uint32_t>(message.size())}) {
      out.write(reinterpret_cast<const char*>(&word), sizeof word);
    }
    out << message;
  }

  fs::path dir_;
};

TEST_F(CriuFiles, ReadsDumpStatistics) {
  // dump (field 1) { 1: 300, 2: 5, 3: 7, 4: 9, 5: 1000, 6: 1, 7: 200, 9: 0, 14: 3 }
  const std::string dump(
      "\x08\xac\x02\x10\x05\x18\x07\x20\x09\x28\xe8\x07\x30\x01\x38\xc8\x01\x48\x00\x70\x03", 21);
  WriteImage("stats-dump", 0x55105940, 0x57093306,
             "\x0a" + std::string(1, char(dump.size())) + dump);
  using std::chrono::microseconds;
  EXPECT_EQ(ReadCriuDumpStats(dir_).value(),
            (CriuDumpStats{microseconds(300), microseconds(5), microseconds(7), microseconds(9),
                           1000, 200, 3}));
}

TEST_F(CriuFiles, TruncatedStatisticsAreAnError) {
  WriteImage("stats-dump", 0x55105940, 0x57093306, "");
  EXPECT_EQ(ReadCriuDumpStats(dir_).error().code, ErrorCode::kDataLoss);
  fs::resize_file(dir_ / "stats-dump", 7);
  EXPECT_EQ(ReadCriuDumpStats(dir_).error().code, ErrorCode::kDataLoss);
}

TEST_F(CriuFiles, FindsStoppedProcesses) {
  // core { 1: 1, 3: tc { 1: state } }
  WriteImage("core-1.img", 0x54564319, 0x55053847, std::string("\x08\x01\x1a\x02\x08\x01", 6));
  WriteImage("core-7.img", 0x54564319, 0x55053847, std::string("\x08\x01\x1a\x02\x08\x03", 6));
  WriteImage("core-8.img", 0x54564319, 0x55053847, std::string("\x08\x01", 2));  // a thread
  EXPECT_THAT(ReadStoppedProcesses(dir_).value(), ElementsAre(7));
  ASSERT_TRUE(WriteStoppedProcesses(dir_, {9, 7}));
  EXPECT_THAT(ReadStoppedProcesses(dir_).value(), ElementsAre(7, 9));
}

TEST_F(CriuFiles, MissingPagesAreFound) {
  // head { 1: 3 }, entry { 1: 4096, 2: 0, 4: present, 5: 2 }, entry { 1: 8192, 2: 1, 4: parent }
  const std::string entries(
      "\x08\x80\x20\x10\x00\x20\x04\x28\x02\x07\x00\x00\x00\x08\x80\x40\x10\x01\x20\x01", 20);
  std::string image("\x19\x43\x56\x54\x25\x40\x08\x56\x02\x00\x00\x00\x08\x03\x09\x00\x00\x00", 18);
  image += entries;
  std::ofstream(dir_ / "pagemap-1.img", std::ios::binary) << image;
  EXPECT_EQ(CheckImagePages(dir_).error().code, ErrorCode::kDataLoss);
  std::ofstream(dir_ / "pages-3.img") << std::string(2 * 4096 - 1, 'x');
  EXPECT_EQ(CheckImagePages(dir_).error().code, ErrorCode::kDataLoss);
  std::ofstream(dir_ / "pages-3.img") << std::string(2 * 4096, 'x');
  EXPECT_TRUE(CheckImagePages(dir_));
  fs::resize_file(dir_ / "pagemap-1.img", image.size() - 1);
  EXPECT_EQ(CheckImagePages(dir_).error().code, ErrorCode::kDataLoss);
}

TEST_F(CriuFiles, LogOfAnyLength) {
  std::ofstream log(dir_ / "restore.log");
  log << "(00.1) start\n";
  for (int i = 0; i < 300000; ++i) {
    log << "(00.2) something that is written very often\n";
  }
  log << "(00.3) Error (criu/x.c:1): the cause\n";
  log.close();
  EXPECT_EQ(CondenseCriuLogFile(dir_ / "restore.log"), "the cause");
  EXPECT_EQ(CondenseCriuLogFile(dir_ / "none.log"), "");
}

TEST_F(CriuFiles, CorruptCoreIsAnError) {
  WriteImage("core-1.img", 0x54564319, 0x12345678, "");
  EXPECT_EQ(ReadStoppedProcesses(dir_).error().code, ErrorCode::kDataLoss);
}

TEST_F(CriuFiles, DirectoryOfTheProgram) {
  EXPECT_EQ(CriuDirectory("").value(), "");
  EXPECT_EQ(CriuDirectory(dir_).error().code, ErrorCode::kFailedPrecondition);
  std::ofstream(dir_ / "criu") << "#!/bin/sh\n";
  EXPECT_FALSE(CriuDirectory(dir_)) << "not executable";
  fs::permissions(dir_ / "criu", fs::perms::owner_all);
  EXPECT_EQ(CriuDirectory(dir_).value(), dir_);
  EXPECT_EQ(CriuDirectory(dir_ / "criu").value(), dir_);
}

TEST(CondenseCriuLog, FirstCauseAndItsProcess) {
  EXPECT_EQ(
      CondenseCriuLog(
          "(00.034551) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: "
          "Operation not permitted\n"
          "(00.040291) SEIZE 27186 (comm wl): success\n"
          "(00.038390) Warn  (criu/fsnotify.c:281): fsnotify: \tHandle 0x29 cannot be opened\n"
          "(00.038407) Error (criu/fsnotify.c:284): fsnotify: \tCan't dump that handle\n"
          "(00.038418) Error (criu/cr-dump.c:1545): Dump files (pid: 27186) failed with -1\n"
          "(00.038874) Error (criu/cr-dump.c:1975): Dumping FAILED.\n"),
      "fsnotify:  Can't dump that handle (process 27186, wl)");
}

TEST(CondenseCriuLog, RestoreNamesTheProcess) {
  EXPECT_EQ(CondenseCriuLog(
                "(00.1) Restoring\n"
                "(00.206411)      1: Error (criu/files-reg.c:2117): File data/x has bad size 3\n"
                "(00.206500) Error (criu/cr-restore.c:2500): Restoring FAILED.\n"),
            "File data/x has bad size 3 (process 1)");
}

TEST(CondenseCriuLog, NoErrorOrOnlyNoise) {
  EXPECT_THAT(CondenseCriuLog("(00.1) fine\n"), IsEmpty());
  EXPECT_THAT(CondenseCriuLog("(00.1) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE "
                              "for self: Operation not permitted\n"),
              IsEmpty());
  EXPECT_EQ(CondenseCriuLog("(00.1) Error (criu/cr-dump.c:1975): Dumping FAILED.\n"),
            "Dumping FAILED");
}

}  // namespace
}  // namespace migrate
