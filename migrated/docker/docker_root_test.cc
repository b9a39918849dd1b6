// Against two real engines, see two_engines.h.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/ids.h"
#include "base/netns.h"
#include "base/subprocess.h"
#include "migrated/docker/container_spec.h"
#include "migrated/docker/create_on_target.h"
#include "migrated/docker/json_util.h"
#include "migrated/docker/log_files.h"
#include "migrated/docker/preflight.h"
#include "migrated/docker/real_engines.h"
#include "migrated/docker/two_engines.h"

namespace migrate {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::Contains;
using testing::Docker;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Program;
using testing::RealEngine;
using ::testing::UnorderedElementsAre;

// Paths of leaves that differ, e.g. "HostConfig.Runtime".
void Compare(const Json& a, const Json& b, const std::string& path, std::set<std::string>& out) {
  if (a.is_object() && b.is_object()) {
    std::set<std::string> keys;
    for (const auto& item : a.items()) {
      keys.insert(item.key());
    }
    for (const auto& item : b.items()) {
      keys.insert(item.key());
    }
    for (const std::string& key : keys) {
      Compare(JsonAt(a, key), JsonAt(b, key), path.empty() ? key : path + "." + key, out);
    }
  } else if (a != b && !((a.is_null() || a.empty()) && (b.is_null() || b.empty()))) {
    out.insert(path);
  }
}

Json Inspected(RealEngine& engine, const std::string& name) {
  return Json::parse(engine.client().InspectContainer(name).value().raw_json);
}

// The anonymous volumes have other names, and the engine lists mounts in any order.
Json Normalised(Json json) {
  std::map<std::string, Json> mounts;
  for (Json& mount : json["Mounts"]) {
    if (JsonString(mount, "Name").size() == 64) {
      mount["Name"] = "anonymous";
    }
    mount["Source"] = nullptr;
    mounts[JsonString(mount, "Destination")] = mount;
  }
  json["Mounts"] = mounts;
  return json;
}

void RunWithManyOptions(RealEngine& engine) {
  engine.ImportBase("base:1");
  engine.Docker({"network", "create", "--subnet", "172.30.5.0/24", "--label", "l=1", "front"});
  engine.Docker({"network", "create", "back"});
  engine.Docker({"volume", "create", "--label", "kept=yes", "named"});
  engine.Docker({"run",
                 "-d",
                 "--name",
                 "many",
                 "--env",
                 "A=b c",
                 "--env",
                 "E=",
                 "--label",
                 "x.y=z",
                 "--memory",
                 "64m",
                 "--cpus",
                 "0.5",
                 "--cpu-shares",
                 "512",
                 "--pids-limit",
                 "100",
                 "--cap-add",
                 "NET_ADMIN",
                 "--cap-drop",
                 "MKNOD",
                 "--security-opt",
                 "seccomp=unconfined",
                 "--security-opt",
                 "no-new-privileges",
                 "--security-opt",
                 "apparmor=unconfined",
                 "--user",
                 "1000:1000",
                 "--workdir",
                 "/tmp",
                 "--hostname",
                 "myhost",
                 "--domainname",
                 "example.org",
                 "--restart",
                 "on-failure:3",
                 "--log-opt",
                 "max-size=10k",
                 "--log-opt",
                 "max-file=3",
                 "-p",
                 "8080:80",
                 "-p",
                 "127.0.0.1:9000:90/udp",
                 "-p",
                 "100",
                 "--ulimit",
                 "nofile=1000:2000",
                 "--sysctl",
                 "net.core.somaxconn=300",
                 "--tmpfs",
                 "/scratch:size=1m",
                 "--read-only",
                 "--network",
                 "front",
                 "--ip",
                 "172.30.5.9",
                 "--network-alias",
                 "alias",
                 "-v",
                 "named:/data",
                 "-v",
                 "/anonymous",
                 "--mount",
                 "type=volume,dst=/anonymous2",
                 "--dns",
                 "192.0.2.53",
                 "--dns-search",
                 "example.org",
                 "--add-host",
                 "other:192.0.2.7",
                 "--shm-size",
                 "8m",
                 "--stop-signal",
                 "INT",
                 "--stop-timeout",
                 "3",
                 "--health-cmd",
                 "true",
                 "--health-interval",
                 "1h",
                 "--oom-score-adj",
                 "100",
                 "--group-add",
                 "7",
                 "--init",
                 "base:1",
                 "/bin/sh",
                 "-c",
                 "sleep 1000"});
  engine.Docker({"network", "connect", "--alias", "second", "back", "many"});
}

TEST_F(Docker, ContainerWithManyOptionsIsTheSameOnTheTarget) {
  RunWithManyOptions(*source_);
  CopyImage("base:1");
  const ContainerSpec spec = Spec("many");
  EXPECT_THAT(CheckSource(spec, {}), IsEmpty());
  auto codes = TargetCodes(spec);
  // Of different engine versions this one is true.
  codes.erase(std::remove(codes.begin(), codes.end(), "INIT_PROGRAM"), codes.end());
  EXPECT_THAT(codes, IsEmpty());
  const auto created = CreateOnTarget(Target().client(), spec, CreateArguments());
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_TRUE(fs::is_directory(created->upper_dir));
  EXPECT_TRUE(fs::is_directory(created->work_dir));
  EXPECT_TRUE(fs::is_directory(created->container_dir));
  EXPECT_EQ(created->volume_paths.size(), 3U);
  EXPECT_TRUE(fs::exists(created->volume_paths.at("/data") + "/seed"));  // the image's content

  ASSERT_TRUE(Target().client().StartContainer(created->id));
  std::set<std::string> differences;
  const Json source = Normalised(Inspected(*source_, "many"));
  const Json target = Normalised(Inspected(Target(), "many"));
  Compare(source, target, "", differences);
  std::set<std::string> unexpected;
  // Ids, times and paths; then what create_request.cc edits.
  for (const std::string& path : differences) {
    static const std::set<std::string> kMayDiffer = {
        "Id", "Created", "State.Pid", "State.StartedAt", "State.Health.Status", "ResolvConfPath",
        "HostnamePath", "HostsPath", "LogPath", "GraphDriver.Data.LowerDir",
        "GraphDriver.Data.MergedDir", "GraphDriver.Data.UpperDir", "GraphDriver.Data.WorkDir",
        "NetworkSettings.SandboxID", "NetworkSettings.SandboxKey",
        "NetworkSettings.Networks.front.EndpointID", "NetworkSettings.Networks.front.NetworkID",
        "NetworkSettings.Networks.front.Aliases", "NetworkSettings.Networks.back.EndpointID",
        "NetworkSettings.Networks.back.NetworkID", "NetworkSettings.Networks.back.Aliases",
        "HostConfig.Runtime", "HostConfig.RestartPolicy.Name",
        "HostConfig.RestartPolicy.MaximumRetryCount", "HostConfig.PortBindings.100/tcp",
        "NetworkSettings.Networks.back.IPAMConfig.IPv4Address",
        // Newer engines: the names contain the short id; a requested MAC shows in Config, too.
        "NetworkSettings.Networks.front.DNSNames", "NetworkSettings.Networks.back.DNSNames",
        "Config.MacAddress"};
    if (kMayDiffer.count(path) == 0) {
      unexpected.insert(path);
    }
  }
  const bool same_version =
      Program("MIGRATE_TEST_DOCKERD_SOURCE") == Program("MIGRATE_TEST_DOCKERD_TARGET");
  if (same_version) {
    EXPECT_THAT(unexpected, IsEmpty());
  } else {
    for (const std::string& path : unexpected) {
      std::printf("differs between the versions: %s\n", path.c_str());
    }
  }
  EXPECT_EQ(source["NetworkSettings"]["Networks"]["back"]["IPAddress"],
            target["NetworkSettings"]["Networks"]["back"]["IPAddress"]);
  EXPECT_EQ(source["NetworkSettings"]["Networks"]["front"]["MacAddress"],
            target["NetworkSettings"]["Networks"]["front"]["MacAddress"]);
  EXPECT_EQ(target["NetworkSettings"]["Ports"]["100/tcp"][0]["HostPort"],
            source["NetworkSettings"]["Ports"]["100/tcp"][0]["HostPort"]);
  EXPECT_EQ(Target().Docker({"volume", "inspect", "-f", "{{.Labels.kept}}", "named"}), "yes");
  EXPECT_EQ(Target().Docker({"network", "inspect", "-f", "{{.Labels.l}}", "front"}), "1");

  ASSERT_TRUE(Target().client().UpdateRestartPolicy(created->id, spec.final_restart_policy));
  EXPECT_EQ(Target().Inspect("many", "{{json .HostConfig.RestartPolicy}}"),
            source_->Inspect("many", "{{json .HostConfig.RestartPolicy}}"));
  // Running or not, the undo takes it all away; and again.
  ASSERT_TRUE(UndoCreate(Target().client(), journal_));
  ASSERT_TRUE(UndoCreate(Target().client(), journal_));
  EXPECT_EQ(Target().Docker({"volume", "ls", "-q"}), "");
  EXPECT_EQ(Target().Docker({"ps", "-aq"}), "");
}

// The daemon may die before any of the creations.
TEST_F(Docker, UndoLeavesNothingWhereverItStopped) {
  source_->ImportBase("base:1");
  source_->Docker({"network", "create", "--subnet", "172.30.5.0/24", "front"});
  source_->Docker({"network", "create", "back"});
  source_->Docker({"volume", "create", "there"});
  source_->Docker({"run", "-d", "--name", "ctr", "--network", "front", "-v", "named:/data", "-v",
                   "/anonymous", "-v", "there:/there", "base:1"});
  source_->Docker({"network", "connect", "back", "ctr"});
  CopyImage("base:1");
  Target().Docker({"volume", "create", "there"});  // empty: may be used
  const std::string before = Inventory(Target());
  const ContainerSpec spec = Spec("ctr");
  std::size_t full = 0;
  for (std::size_t limit = 0;; ++limit) {
    journal_.clear();
    journal_limit_ = limit;
    const auto created = CreateOnTarget(Target().client(), spec, CreateArguments());
    if (created) {
      full = limit;
      std::ofstream(created->volume_paths.at("/there") + "/copied") << "data";
    }
    ASSERT_TRUE(UndoCreate(Target().client(), journal_)) << limit;
    EXPECT_EQ(Inventory(Target()), before) << limit;
    EXPECT_TRUE(TargetCodes(spec).empty()) << limit;  // it could be tried again at once
    if (created) {
      break;
    }
    ASSERT_LT(limit, 20U) << created.error().message;
  }
  EXPECT_EQ(full, 6U);  // two networks, two volumes, the container under two names
}

TEST_F(Docker, UndoNeverTouchesAForeignContainerOfTheSameName) {
  source_->ImportBase("base:1");
  source_->Docker({"run", "-d", "--name", "ctr", "base:1"});
  CopyImage("base:1");
  const ContainerSpec spec = Spec("ctr");
  Target().Docker({"run", "-d", "--name", "ctr", "base:1"});
  const std::string id = Target().Inspect("ctr", "{{.Id}}");
  const auto created = CreateOnTarget(Target().client(), spec, CreateArguments());
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().code, ErrorCode::kAlreadyExists) << created.error().message;
  ASSERT_TRUE(UndoCreate(Target().client(), journal_));
  EXPECT_EQ(Target().Docker({"ps", "-q", "--no-trunc"}), id);
}

TEST_F(Docker, AnAddressThatTheNetworkRefusesIsFoundBeforeTheStart) {
  source_->ImportBase("base:1");
  source_->Docker({"network", "create", "auto"});
  source_->Docker({"run", "-d", "--name", "ctr", "--network", "auto", "base:1"});
  CopyImage("base:1");
  Target().Docker({"network", "create", "auto"});  // the same subnet, but not asked for
  const auto created = CreateOnTarget(Target().client(), Spec("ctr"), CreateArguments());
  ASSERT_FALSE(created);
  EXPECT_THAT(created.error().message, HasSubstr("user configured subnets"));
  ASSERT_TRUE(UndoCreate(Target().client(), journal_));
  EXPECT_EQ(Target().Docker({"network", "ls", "-qf", "name=auto"}).size(), 12U);
}

TEST_F(Docker, AnExistingNetworkWithTheSubnetIsUsed) {
  source_->ImportBase("base:1");
  source_->Docker({"network", "create", "--subnet", "172.30.5.0/24", "front"});
  source_->Docker(
      {"run", "-d", "--name", "ctr", "--network", "front", "--network-alias", "al", "base:1"});
  CopyImage("base:1");
  Target().Docker({"network", "create", "--subnet", "172.30.5.0/24", "front"});
  const auto created = CreateOnTarget(Target().client(), Spec("ctr"), CreateArguments());
  ASSERT_TRUE(created) << created.error().message;
  ASSERT_TRUE(Target().client().StartContainer(created->id));
  const ContainerInfo info = Target().client().InspectContainer("ctr").value();
  ASSERT_EQ(info.endpoints.size(), 1U);
  EXPECT_EQ(info.endpoints[0].ipv4, Spec("ctr").networks[0].ipv4);
  EXPECT_THAT(info.endpoints[0].aliases, Contains("al"));
  EXPECT_EQ(info.network_mode, "front");
}

OwnedFd Listen(FdRef netns, int port, int type) {
  OwnedFd fd;
  auto listen = [&]() -> Result<> {
    fd = OwnedFd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      return ErrnoError("bind");
    }
    if (type == SOCK_STREAM && ::listen(fd.get(), 1) != 0) {
      return ErrnoError("listen");
    }
    return {};
  };
  EXPECT_TRUE(InNetns(netns, listen));
  return fd;
}

TEST_F(Docker, TheTargetListsEverythingThatIsTaken) {
  RealEngine& target = Target(/*with_runtime=*/false);
  source_->ImportBase("base:1");
  source_->Docker({"network", "create", "--subnet", "172.30.5.0/24", "front"});
  source_->Docker({"network", "create", "--subnet", "172.31.6.0/24", "other"});
  source_->Docker({"run",       "-d",
                   "--name",    "ctr",
                   "--network", "front",
                   "--ip",      "172.30.5.9",
                   "-p",        "8080:80",
                   "-p",        "8081:81",
                   "-p",        "8082:82/udp",
                   "-v",        "used:/used",
                   "-v",        "full:/full",
                   "-v",        "fine:/fine",
                   "-v",        source_->directory() + ":/mnt",
                   "base:1"});
  source_->Docker({"network", "connect", "other", "ctr"});
  CopyImage("base:1");
  ContainerSpec spec = Spec("ctr");
  target.Docker({"network", "create", "--subnet", "172.30.5.0/24", "front"});
  target.Docker({"network", "create", "--subnet", "172.31.0.0/16", "wide"});
  target.Docker({"volume", "create", "fine"});
  target.Docker({"run", "-d", "--name", "ctr", "--network", "front", "--ip", "172.30.5.9", "-p",
                 "8080:80", "-v", "used:/x", "base:1"});
  target.Docker({"run", "--rm", "-v", "full:/x", "base:1", "/bin/sh", "-c", "echo > /x/file"});
  const OwnedFd tcp = Listen(target.netns(), 8081, SOCK_STREAM);
  const OwnedFd udp = Listen(target.netns(), 8082, SOCK_DGRAM);
  for (MountSpec& mount : spec.mounts) {
    if (mount.kind == MountKind::kBind) {
      mount.source_path = "/nonexistent";
    }
  }
  spec.engine.cgroup_version = "7";
  TargetCheckOptions options;
  options.required_bytes = std::int64_t{1} << 60;
  auto codes = TargetCodes(spec, options);
  EXPECT_THAT(codes, UnorderedElementsAre("CGROUP_VERSION", "RUNTIME_MISSING", "NO_SPACE",
                                          "NAME_TAKEN", "PORT_TAKEN", "PORT_TAKEN", "PORT_TAKEN",
                                          "ADDRESS_TAKEN", "SUBNET_CONFLICT", "VOLUME_TAKEN",
                                          "VOLUME_TAKEN", "BIND_MISSING"));
  // Left by an earlier move of the same container: may hold data, may not be in use.
  options.ours_from_earlier_move = {"full", "used"};
  codes = TargetCodes(spec, options);
  EXPECT_EQ(std::count(codes.begin(), codes.end(), "VOLUME_TAKEN"), 1);
}

TEST_F(Docker, BindMountsAreMadeForTheCopyAndUnmade) {
  source_->ImportBase("base:1");
  const std::string there = source_->directory() + "/bind/deep/dir";
  fs::create_directories(there);
  source_->Docker({"run", "-d", "--name", "ctr", "-v", there + ":/mnt:ro", "base:1"});
  CopyImage("base:1");
  ContainerSpec spec = Spec("ctr");
  fs::remove_all(source_->directory() + "/bind");  // one machine: the target must lack it
  CreateOnTargetOptions options = CreateArguments();
  options.bind_mounts = BindMountPolicy::kCopy;
  const auto created = CreateOnTarget(Target().client(), spec, options);
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_EQ(created->bind_paths.at("/mnt"), there);
  std::ofstream(there + "/copied") << "x";
  ASSERT_TRUE(UndoCreate(Target().client(), journal_));
  EXPECT_FALSE(fs::exists(source_->directory() + "/bind"));
}

class DockerLogs : public Docker, public ::testing::WithParamInterface<const char*> {};

// History and the lines after it, in order, through `docker logs`, from rotated files too.
TEST_P(DockerLogs, HistoryIsThereBeforeTheFirstStartAndGoesOn) {
  source_->ImportBase("base:1");
  source_->Docker({"run", "-d", "--name", "ctr", "--log-driver", GetParam(), "--log-opt",
                   "max-size=5k", "--log-opt", "max-file=4", "base:1", "/bin/sh", "-c",
                   "i=0; while [ $i -lt 150 ]; do i=$((i+1)); echo source line $i; done; "
                   "sleep 1000"});
  for (int i = 0; i < 100; ++i) {
    if (source_->Docker({"logs", "--tail", "1", "ctr"}) == "source line 150") {
      break;
    }
    std::this_thread::sleep_for(50ms);
  }
  CopyImage("base:1");
  ContainerSpec spec = Spec("ctr");
  Json config = Json::parse(spec.config_json);
  config["Cmd"] = {"/bin/sh", "-c",
                   "i=0; while [ $i -lt 10 ]; do i=$((i+1)); echo target line $i; done; "
                   "sleep 1000"};
  spec.config_json = DumpJson(config);
  const auto created = CreateOnTarget(Target().client(), spec, CreateArguments());
  ASSERT_TRUE(created) << created.error().message;

  const ContainerInfo info = source_->client().InspectContainer("ctr").value();
  const auto files = LogFiles(info, source_->client().Info()->root_dir);
  ASSERT_TRUE(files);
  EXPECT_GE(files->size(), 2U);  // it has rotated
  const std::string history = source_->Docker({"logs", "-t", "ctr"});
  for (const LogFile& file : *files) {
    const std::string to =
        LogPathAt(created->container_dir, created->id, file.portable_name).value();
    fs::create_directories(fs::path(to).parent_path());
    fs::copy_file(file.path, to, fs::copy_options::overwrite_existing);
  }
  ASSERT_TRUE(Target().client().StartContainer(created->id));
  std::string shown;
  for (int i = 0; i < 100 && shown.find("target line 10") == std::string::npos; ++i) {
    std::this_thread::sleep_for(50ms);
    shown = Target().Docker({"logs", "-t", "ctr"});
  }
  EXPECT_TRUE(shown.starts_with(history)) << shown;  // with the times of the source
  EXPECT_THAT(shown, HasSubstr("target line 10"));
  EXPECT_EQ(Target().Docker({"logs", "--tail", "11", "ctr"}).substr(0, 15), "source line 150");
}

INSTANTIATE_TEST_SUITE_P(Drivers, DockerLogs, ::testing::Values("json-file", "local"),
                         [](const auto& driver) {
                           return std::string(driver.param) == "local" ? "Local" : "JsonFile";
                         });

TEST_F(Docker, TheRestOfTheClient) {
  source_->ImportBase("base:1");
  DockerClient& client = source_->client();
  const EngineInfo info = client.Info().value();
  EXPECT_EQ(info.storage_driver, "overlay2");
  EXPECT_EQ(info.root_dir, source_->directory() + "/data");
  EXPECT_THAT(info.runtimes, Contains("migrate"));
  EXPECT_THAT(info.log_drivers, Contains("local"));
  source_->Docker({"run", "-d", "--name", "ctr", "base:1", "/bin/sh", "-c", "exec sleep 1000"});
  const std::string id = source_->Inspect("ctr", "{{.Id}}");

  std::vector<std::string> actions;
  std::mutex mutex;
  std::jthread watcher([&](std::stop_token stop) {
    EXPECT_TRUE(client.WatchContainers(id, stop, [&](const ContainerEvent& event) {
      const std::lock_guard lock(mutex);
      actions.push_back(event.action);
    }));
  });
  std::this_thread::sleep_for(500ms);

  source_->Docker({"exec", "-d", "ctr", "/bin/sleep", "1000"});
  const auto execs = client.ListExecs("ctr");
  ASSERT_TRUE(execs);
  ASSERT_EQ(execs->size(), 1U);
  EXPECT_TRUE(execs->front().running);
  EXPECT_GT(execs->front().pid, 0);

  EXPECT_TRUE(client.RenameContainer(id, "renamed"));
  EXPECT_EQ(client.InspectContainer("ctr").error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(client.UpdateRestartPolicy(id, {"no", 0}));
  EXPECT_TRUE(client.StartContainer(id));  // it runs: 304
  EXPECT_EQ(client.RemoveContainer(id, false, false).error().code, ErrorCode::kAborted);
  EXPECT_TRUE(client.KillContainer(id, "KILL"));
  EXPECT_EQ(client.WaitContainer(id, 10s).value(), 137);
  EXPECT_EQ(client.KillContainer(id, "KILL").error().code, ErrorCode::kAborted);
  EXPECT_EQ(client.ListContainers(false)->size(), 0U);
  EXPECT_EQ(client.ListContainers(true)->front().name, "renamed");
  EXPECT_TRUE(client.RemoveContainer(id, false, true));
  for (int i = 0; i < 100; ++i) {
    std::this_thread::sleep_for(20ms);
    const std::lock_guard lock(mutex);
    if (!actions.empty() && actions.back() == "destroy") {
      break;
    }
  }
  watcher.request_stop();
  watcher.join();
  EXPECT_THAT(actions, Contains("rename"));
  EXPECT_THAT(actions, Contains("die"));
  EXPECT_THAT(actions, Contains("destroy"));
}

// What stopping a restore half-way must never do: start the program from the beginning.
TEST_F(Docker, TheReplicaIsNeverStartedByARestartPolicy) {
  source_->ImportBase("base:1");
  source_->Docker({"run", "-d", "--name", "ctr", "--restart", "always", "base:1"});
  CopyImage("base:1");
  const auto created = CreateOnTarget(Target().client(), Spec("ctr"), CreateArguments());
  ASSERT_TRUE(created) << created.error().message;
  ASSERT_TRUE(Target().client().StartContainer(created->id));
  ASSERT_TRUE(Target().client().KillContainer(created->id, "KILL"));
  EXPECT_EQ(Target().client().WaitContainer(created->id, 10s).value(), 137);
  std::this_thread::sleep_for(500ms);
  EXPECT_FALSE(Target().client().InspectContainer(created->id)->running);
  EXPECT_EQ(Target().client().InspectContainer(created->id)->restart_policy.name, "no");
}

}  // namespace
}  // namespace migrate
