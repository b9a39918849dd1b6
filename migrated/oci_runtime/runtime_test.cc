// The program migrate-runtime with a shell script in the place of runc, which writes down how it
// was called.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file_util.h"
#include "base/subprocess.h"
#include "migrated/oci_runtime/standing_plan.h"
#include "migrated/oci_runtime/ticket.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const std::string kId(64, 'd');

constexpr const char* kRunc = R"sh(#!/bin/sh
cd "${0%/*}"
echo "$@" >> calls
case "$*" in *' restore '*)
  echo "$PATH" > path; cat "$CRIU_CONFIG_FILE" > config; cp bundle/config.json seen.json
  [ ! -e restore.sh ] || . ./restore.sh
esac
case "$*" in *' state '*) cat state.json 2> /dev/null || echo '{"pid": 1}'; esac
)sh";

class RuntimeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "runtime_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    dir_ = name;
    fs::create_directories(dir_ / "bundle");
    fs::create_directories(dir_ / "image");
    fs::create_directories(dir_ / "criu");
    Write("runc", kRunc);
    Write("criu/criu", "#!/bin/sh\n");
    Write("image/inventory.img", "");
    fs::permissions(dir_ / "runc", fs::perms::owner_all);
    fs::permissions(dir_ / "criu/criu", fs::perms::owner_all);
    Write("bundle/config.json", kClassic);
  }
  void TearDown() override { fs::remove_all(dir_); }

  void Write(const fs::path& name, std::string_view text) { std::ofstream(dir_ / name) << text; }
  std::string Read(const fs::path& name) { return ReadSmallFile(dir_ / name).value_or(""); }

  void WriteExampleTicket() {
    RestoreTicket ticket;
    ticket.migration_id = "0123456789abcdef";
    ticket.image_dir = dir_ / "image";
    ticket.work_dir = dir_ / "work";
    ticket.criu_path = dir_ / "criu";
    ticket.criu_config_extra = {"extra-line"};
    ticket.timeout = timeout_;
    ASSERT_TRUE(WriteTicket(dir_, kId, ticket));
  }

  SubprocessOutcome Run(std::vector<std::string> arguments) {
    std::vector<std::string> argv{MIGRATE_RUNTIME_PATH, "--state-dir",  dir_,  "--runc",
                                  dir_ / "runc",        "--root",       "/r",  "--log",
                                  dir_ / "log.json",    "--log-format", "json"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    // Descriptors 1 and 2 become the container's, as the shim's pipes do, and outlive the command.
    std::vector<std::string> shell{"/bin/sh", "-c", "exec \"$@\" > out 2> err", "sh"};
    shell.insert(shell.end(), argv.begin(), argv.end());
    auto outcome = RunSubprocess({.argv = shell, .working_directory = dir_}).value();
    outcome.stderr_text = Read("err");
    return outcome;
  }
  SubprocessOutcome Create() {
    return Run({"create", "--bundle", dir_ / "bundle", "--pid-file", dir_ / "pid",
                "--no-new-keyring", kId});
  }

  static constexpr const char* kClassic =
      R"({"hooks":{"prestart":[{"path":"/d","args":["libnetwork-setkey"]}]},)"
      R"("linux":{"namespaces":[{"type":"network"}]}})";
  static constexpr const char* kSplit = R"({"linux":{"namespaces":[{"type":"network"}]}})";
  fs::path dir_;
  std::chrono::milliseconds timeout_{0};
};

TEST_F(RuntimeTest, WithoutATicketEverythingGoesToRunc) {
  EXPECT_TRUE(Create().ok());
  EXPECT_TRUE(Run({"start", kId}).ok());
  const std::string calls = Read("calls");
  EXPECT_THAT(calls, StartsWith("--root /r --log " + (dir_ / "log.json").string() +
                                " --log-format json create --bundle "));
  EXPECT_THAT(calls, HasSubstr(" --no-new-keyring " + kId + "\n"));
  EXPECT_THAT(calls, HasSubstr("json start " + kId + "\n"));
  EXPECT_THAT(calls, Not(HasSubstr("state-dir")));
}

TEST_F(RuntimeTest, ATicketTurnsOneCreateIntoARestore) {
  WriteExampleTicket();
  const auto created = Create();
  ASSERT_TRUE(created.ok()) << created.stderr_text;
  const std::string calls = Read("calls");
  EXPECT_THAT(calls, HasSubstr("json restore --detach --image-path " + (dir_ / "image").string()));
  EXPECT_THAT(calls, HasSubstr("--tcp-established --ext-unix-sk --file-locks --pid-file " +
                               (dir_ / "pid").string() + " " + kId + "\n"));
  EXPECT_THAT(calls, Not(HasSubstr("--no-new-keyring")));
  EXPECT_THAT(Read("path"), StartsWith((dir_ / "criu").string() + ":"));
  EXPECT_EQ(Read("config"), "network-lock skip\nleave-stopped\nextra-line\n");
  const auto seen = nlohmann::json::parse(Read("seen.json"));
  EXPECT_EQ(seen["hooks"]["prestart"][0]["args"][2], "lock-network");
  EXPECT_EQ(seen["hooks"]["prestart"][1]["args"][0], "libnetwork-setkey");
  EXPECT_EQ(Read("bundle/config.json"), kClassic);
  EXPECT_TRUE(ReadRestoreResult(dir_, kId)->ok);

  EXPECT_TRUE(Run({"start", kId}).ok());
  EXPECT_EQ(Read("calls"), calls) << "there is nothing to start";
  EXPECT_TRUE(Run({"start", kId}).ok());
  EXPECT_THAT(Read("calls"), HasSubstr("json start " + kId)) << "but only once";
  EXPECT_TRUE(Create().ok());
  EXPECT_THAT(Read("calls"), HasSubstr("json create --bundle")) << "the ticket is used up";
}

TEST_F(RuntimeTest, RelaysThatDoNotWorkDoNotKeepAContainerFromStarting) {
  ASSERT_TRUE(WriteStandingPlan(dir_, kId, "no plan"));
  ASSERT_TRUE(Create().ok());
  const auto started = Run({"start", kId});
  EXPECT_TRUE(started.ok());
  EXPECT_THAT(started.stderr_text, HasSubstr("the relays of the container do not work"));
  EXPECT_THAT(Read("calls"), HasSubstr("json state " + kId + "\n"));
  EXPECT_THAT(Read("calls"), HasSubstr("json start " + kId + "\n"));

  ASSERT_TRUE(WriteStandingPlan(dir_, kId, ""));
  EXPECT_EQ(ReadStandingPlan(dir_, kId), std::nullopt);
  EXPECT_EQ(Run({"start", kId}).stderr_text, "");
}

TEST_F(RuntimeTest, AStaleUsedTicketDoesNotSwallowAStart) {
  WriteExampleTicket();
  ASSERT_TRUE(Create().ok());  // and its start never comes
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Run({"start", kId}).ok());
  EXPECT_THAT(Read("calls"), HasSubstr("json start " + kId));
}

// The daemon died in the middle of Docker's start, and a new one has undone the migration: what was
// restored must not be left, stopped, where neither Docker nor anybody else knows of it.
TEST_F(RuntimeTest, ARestoreWhoseTicketWasTakenBackEndsAtTheStart) {
  WriteExampleTicket();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(RemoveTicket(dir_, kId));
  Write("state.json", R"({"pid": 2147483647, "status": "running"})");
  const auto started = Run({"start", kId});
  EXPECT_EQ(started.exit_code, 1);
  EXPECT_THAT(started.stderr_text, HasSubstr("the migration was given up"));
  EXPECT_THAT(Read("log.json"), HasSubstr("the migration was given up"));
  EXPECT_THAT(Read("calls"), HasSubstr("json kill " + kId + " KILL\n"));
  EXPECT_THAT(Read("calls"), Not(HasSubstr("json start")));
}

TEST_F(RuntimeTest, FailureNamesTheCauseEverywhere) {
  WriteExampleTicket();
  Write("restore.sh",
        "echo '(00.2)      1: Error (criu/files.c:1): File x is gone' > work/restore.log\n"
        "echo '{\"level\":\"error\",\"msg\":\"criu failed: type NOTIFY\"}' >> log.json; exit 1\n");
  const auto created = Create();
  EXPECT_EQ(created.exit_code, 1);
  const std::string cause = "CRIU cannot restore the container: File x is gone (process 1)";
  EXPECT_THAT(created.stderr_text, HasSubstr(cause));
  EXPECT_EQ(RestoreFailure(dir_, kId), cause);
  std::istringstream log(Read("log.json"));
  std::string last;
  for (std::string line; std::getline(log, line);) {
    last = line;
  }
  EXPECT_EQ(nlohmann::json::parse(last)["level"], "error");
  EXPECT_EQ(nlohmann::json::parse(last)["msg"], "migrate-runtime: " + cause);
  EXPECT_EQ(Read("bundle/config.json"), kClassic);
  EXPECT_TRUE(Run({"delete", "--force", kId}).ok());
  EXPECT_EQ(RestoreFailure(dir_, kId), cause) << "the daemon still wants to know";
}

TEST_F(RuntimeTest, AFailedHookIsTheCause) {
  WriteExampleTicket();
  Write("restore.sh",
        "echo '(00.2) Error (criu/cr-service.c:1): RPC: no answer' > work/restore.log\n"
        "echo '{\"level\":\"error\",\"msg\":\"error running hook #0: no route\"}' >> log.json\n"
        "exit 1\n");
  EXPECT_FALSE(Create().ok());
  EXPECT_THAT(RestoreFailure(dir_, kId), HasSubstr("error running hook #0: no route"));
}

TEST_F(RuntimeTest, AHangingRestoreIsKilledWithItsChildren) {
  timeout_ = std::chrono::milliseconds(300);
  WriteExampleTicket();
  Write("restore.sh", "setsid sleep 1000 & echo $! > child; wait\n");
  EXPECT_FALSE(Create().ok());
  EXPECT_THAT(RestoreFailure(dir_, kId), HasSubstr("did not end within 300 ms"));
  const pid_t child = std::stoi(Read("child"));
  for (int i = 0; i < 100 && kill(child, 0) == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const std::string status = ReadSmallFile("/proc/" + std::to_string(child) + "/stat").value_or("");
  EXPECT_TRUE(status.empty() || status.find(") Z ") != std::string::npos) << status;
}

TEST_F(RuntimeTest, MissingImageAndMissingCriu) {
  fs::remove(dir_ / "image/inventory.img");
  WriteExampleTicket();
  EXPECT_THAT(Create().stderr_text, HasSubstr("no CRIU image in"));
  EXPECT_THAT(RestoreFailure(dir_, kId), HasSubstr("no CRIU image in"));
  Write("image/inventory.img", "");
  fs::remove(dir_ / "criu/criu");
  WriteExampleTicket();
  EXPECT_THAT(Create().stderr_text, HasSubstr("no CRIU at"));
  EXPECT_EQ(Read("calls"), "");
}

TEST_F(RuntimeTest, MissingRunc) {
  fs::remove(dir_ / "runc");
  EXPECT_THAT(Create().stderr_text, HasSubstr("No such file"));
  EXPECT_THAT(Read("log.json"), HasSubstr("No such file"));
}

// What runc does for the hooks: runs the last one with the state on stdin.
constexpr const char* kRunHook =
    "echo '{\"pid\":4242}' | " MIGRATE_RUNTIME_PATH
    " hook wait-start pending/$(ls pending) || { echo hook failed >> calls; exit 1; }\n"
    "echo restored >> calls\n";

TEST_F(RuntimeTest, SplitRestoreWaitsForTheStart) {
  Write("bundle/config.json", kSplit);
  WriteExampleTicket();
  Write("restore.sh", kRunHook);
  const auto created = Create();
  ASSERT_TRUE(created.ok()) << created.stderr_text;
  EXPECT_EQ(Read("pid"), "4242");
  const auto seen = nlohmann::json::parse(Read("seen.json"));
  EXPECT_EQ(seen["hooks"]["prestart"][0]["args"][2], "lock-network");
  EXPECT_EQ(seen["hooks"]["prestart"][1]["args"][2], "wait-start");
  EXPECT_THAT(Read("calls"), Not(HasSubstr("restored")));
  EXPECT_FALSE(ReadRestoreResult(dir_, kId));
  EXPECT_TRUE(Run({"start", kId}).ok());
  EXPECT_THAT(Read("calls"), HasSubstr("restored"));
  EXPECT_TRUE(ReadRestoreResult(dir_, kId)->ok);
  EXPECT_EQ(Read("bundle/config.json"), kSplit);
  EXPECT_FALSE(fs::exists(dir_ / "pending" / kId));
}

TEST_F(RuntimeTest, SplitRestoreFailsBeforeTheHook) {
  Write("bundle/config.json", kSplit);
  WriteExampleTicket();
  Write("restore.sh", "echo '(00.2) Error (criu/x.c:1): no way' > work/restore.log; exit 1\n");
  const auto created = Create();
  EXPECT_FALSE(created.ok());
  EXPECT_THAT(created.stderr_text, HasSubstr("no way"));
  EXPECT_FALSE(fs::exists(dir_ / "pending" / kId));
}

TEST_F(RuntimeTest, SplitRestoreFailsAfterTheStart) {
  Write("bundle/config.json", kSplit);
  WriteExampleTicket();
  Write("restore.sh",
        std::string(kRunHook) +
            "echo '(00.2) Error (criu/x.c:1): too late' > work/restore.log; exit 1\n");
  ASSERT_TRUE(Create().ok());
  const auto started = Run({"start", kId});
  EXPECT_EQ(started.exit_code, 1);
  EXPECT_THAT(Read("log.json"), HasSubstr("too late"));
}

TEST_F(RuntimeTest, DeleteGivesAPendingRestoreUp) {
  Write("bundle/config.json", kSplit);
  WriteExampleTicket();
  Write("restore.sh", kRunHook);
  ASSERT_TRUE(Create().ok());
  EXPECT_TRUE(Run({"delete", "--force", kId}).ok());
  EXPECT_THAT(Read("calls"), HasSubstr("hook failed"));
  EXPECT_THAT(Read("calls"), HasSubstr("delete --force"));
  EXPECT_FALSE(fs::exists(dir_ / "pending" / kId));
  EXPECT_THAT(RestoreFailure(dir_, kId), HasSubstr("CRIU cannot restore"));
}

TEST_F(RuntimeTest, RegisterAndUnregister) {
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), MIGRATE_RUNTIME_PATH);
    return RunSubprocess({.argv = arguments}).value();
  };
  const std::string file = dir_ / "daemon.json";
  EXPECT_TRUE(run({"register", "--daemon-json", file, "--state-dir", "/s"}).ok());
  const auto entry = nlohmann::json::parse(Read("daemon.json"))["runtimes"]["migrate"];
  EXPECT_EQ(entry["path"], fs::canonical(MIGRATE_RUNTIME_PATH).string());
  EXPECT_EQ(entry["runtimeArgs"][0], "--state-dir=/s");
  EXPECT_TRUE(run({"unregister", "--daemon-json", file}).ok());
  EXPECT_EQ(Read("daemon.json"), "{}\n");
  EXPECT_EQ(run({"register", "--nonsense"}).exit_code, 2);
  Write("daemon.json", "{");
  EXPECT_EQ(run({"register", "--daemon-json", file}).exit_code, 1);
}

}  // namespace
}  // namespace migrate
