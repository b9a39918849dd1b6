#include "migrated/oci_runtime/ticket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/file_util.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const std::string kId(64, 'c');

RestoreTicket Example() {
  RestoreTicket ticket;
  ticket.migration_id = "0123456789abcdef";
  ticket.image_dir = "/m/image";
  ticket.work_dir = "/m/criu";
  ticket.criu_path = "/opt/criu";
  ticket.leave_stopped = false;
  ticket.shell_job = true;
  ticket.timeout = std::chrono::seconds(5);
  ticket.criu_config_extra = {"ghost-limit 1M", "irmap-scan-path \"/a b\""};
  return ticket;
}

class TicketTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "ticket_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }
  fs::path dir_;
};

TEST_F(TicketTest, JsonRoundTrip) {
  EXPECT_EQ(TicketFromJson(TicketToJson(Example())).value(), Example());
}

TEST_F(TicketTest, EveryTruncationIsRefused) {
  const std::string text = TicketToJson(Example());
  for (std::size_t size = 0; size + 2 < text.size(); ++size) {
    EXPECT_FALSE(TicketFromJson(text.substr(0, size))) << size;
  }
}

TEST_F(TicketTest, RefusesBadValues) {
  auto ticket = Example();
  ticket.image_dir = "relative";
  EXPECT_EQ(WriteTicket(dir_, kId, ticket).error().code, ErrorCode::kInvalidArgument);
  ticket = Example();
  ticket.criu_config_extra = {"a\nb"};
  EXPECT_EQ(WriteTicket(dir_, kId, ticket).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(WriteTicket(dir_, "../../etc/x", Example()).error().code, ErrorCode::kInvalidArgument);
}

TEST_F(TicketTest, IsUsedOnce) {
  ASSERT_TRUE(WriteTicket(dir_, kId, Example()));
  EXPECT_EQ(fs::status(dir_ / "tickets").permissions(), fs::perms::owner_all);
  EXPECT_EQ(TakeTicket(dir_, kId).value(), Example());
  EXPECT_TRUE(fs::exists(UsedTicketPath(dir_, kId)));
  EXPECT_EQ(TakeTicket(dir_, kId).value(), std::nullopt);
  EXPECT_TRUE(RemoveTicket(dir_, kId));
  EXPECT_FALSE(fs::exists(UsedTicketPath(dir_, kId)));
  EXPECT_TRUE(RemoveTicket(dir_, kId)) << "idempotent";
}

TEST_F(TicketTest, CorruptTicketIsNoTicketless) {
  fs::create_directories(dir_ / "tickets");
  std::ofstream(dir_ / "tickets" / (kId + ".json")) << "{}";
  EXPECT_EQ(TakeTicket(dir_, kId).error().code, ErrorCode::kInvalidArgument);
}

TEST_F(TicketTest, IdsOfOtherEnginesAreNotOurBusiness) {
  EXPECT_EQ(TakeTicket(dir_, "a/b").value(), std::nullopt);
}

TEST_F(TicketTest, ResultTellsWhy) {
  EXPECT_EQ(ReadRestoreResult(dir_, kId).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(RestoreFailure(dir_, kId), "");
  ASSERT_TRUE(WriteTicket(dir_, kId, Example()));
  ASSERT_TRUE(WriteRestoreResult(dir_, kId, {false, "no \xff such file", 1.5}));
  EXPECT_THAT(RestoreFailure(dir_, kId), HasSubstr("such file"));
  ASSERT_TRUE(WriteTicket(dir_, kId, Example()));
  EXPECT_EQ(RestoreFailure(dir_, kId), "") << "a new ticket starts afresh";
  ASSERT_TRUE(WriteRestoreResult(dir_, kId, {true, "", 250}));
  EXPECT_TRUE(ReadRestoreResult(dir_, kId)->ok);
  EXPECT_EQ(ReadRestoreResult(dir_, kId)->restore_ms, 250);
}

}  // namespace
}  // namespace migrate
