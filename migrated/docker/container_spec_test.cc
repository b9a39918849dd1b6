#include "base/subnet.h"
#include "migrated/docker/container_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file_util.h"
#include "migrated/docker/fake_engine.h"
#include "migrated/docker/json_util.h"
#include "migrated/docker/log_files.h"
#include "migrated/docker/preflight.h"

namespace migrate {
namespace {

using ::testing::ElementsAre;
using testing::FakeEngine;
using testing::FakeRequest;
using testing::HttpText;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

std::string TestData(const std::string& name) {
  return ReadSmallFile(std::string(MIGRATE_DOCKER_TESTDATA) + "/" + name).value();
}

// An engine that has one container; everything else is as plain as can be.
class Engine {
 public:
  explicit Engine(std::string container, std::string api = "1.41")
      : container_(std::move(container)),
        fake_([this](const FakeRequest& request) { return Answer(request); }, std::move(api)),
        client_(fake_.path()) {}

  DockerClient& client() { return client_; }
  std::string other_users = "[]";

 private:
  std::string Answer(const FakeRequest& request) const {
    const std::string path = request.target.substr(request.target.find('/', 1));
    if (path.starts_with("/containers/json")) {
      return HttpText(200, other_users);
    }
    if (path.starts_with("/containers/")) {
      return HttpText(200, container_);
    }
    if (path.starts_with("/info")) {
      return HttpText(200, R"({"ServerVersion":"20.10.24","DockerRootDir":"/var/lib/docker",
        "Driver":"overlay2","CgroupDriver":"cgroupfs","Architecture":"x86_64","OSType":"linux",
        "LoggingDriver":"json-file","Runtimes":{"runc":{}},"SecurityOptions":["name=seccomp"]})");
    }
    if (path.starts_with("/images/")) {
      return HttpText(200, R"({"Id":"sha256:e7","Size":7,"RootFS":{"Layers":["sha256:1"]}})");
    }
    if (path.starts_with("/volumes/")) {
      return HttpText(200, R"({"Name":"v","Driver":"local","Labels":{"a":"b"},"Options":null})");
    }
    if (path.starts_with("/networks/")) {
      return HttpText(200, R"({"Id":"n","Name":"un","Driver":"bridge","Scope":"local",
        "EnableIPv6":false,"Internal":true,"Containers":{"x":{}},
        "IPAM":{"Driver":"default","Config":[{"Subnet":"172.30.5.0/24"}]},"Options":{"o":"p"}})");
    }
    return HttpText(404, R"({"message":"no"})");
  }

  std::string container_;
  FakeEngine fake_;
  DockerClient client_;
};

ContainerSpec SpecOf(const std::string& file, const std::string& api = "1.41") {
  Engine engine(TestData(file), api);
  return BuildSpec(engine.client(), "t1").value();
}

// The description of a 20.10 container with one top-level edit of its inspect.
ContainerSpec SpecWith(const std::function<void(Json&)>& edit) {
  Json json = Json::parse(TestData("container_20_10.json"));
  edit(json);
  Engine engine(DumpJson(json));
  return BuildSpec(engine.client(), "t1").value();
}

std::vector<std::string> Codes(const std::vector<Blocker>& blockers) {
  std::vector<std::string> codes;
  for (const Blocker& blocker : blockers) {
    codes.push_back(blocker.code);
    EXPECT_FALSE(blocker.detail.empty());
    EXPECT_FALSE(blocker.subject.empty()) << blocker.code;
  }
  return codes;
}

std::vector<std::string> CodesWith(const std::function<void(Json&)>& edit,
                                   const SourceCheckOptions& options = {}) {
  return Codes(CheckSource(SpecWith(edit), options));
}

Json RequestBody(const ContainerSpec& spec, VersionNumber api) {
  CreateOptions options;
  options.image = "layered:2";
  options.api_version = api;
  return Json::parse(MakeCreateRequest(spec, options).value().body);
}

TEST(ParseContainer, Docker20) {
  const auto info = ParseContainer(TestData("container_20_10.json"));
  ASSERT_TRUE(info);
  EXPECT_EQ(info->name, "t1");
  EXPECT_EQ(info->id.size(), 64U);
  EXPECT_TRUE(info->running);
  EXPECT_GT(info->pid, 0);
  EXPECT_EQ(info->runtime, "runc");
  EXPECT_EQ(info->restart_policy, (RestartPolicy{"unless-stopped", 0}));
  EXPECT_EQ(info->log_driver, "json-file");
  EXPECT_TRUE(info->upper_dir.ends_with("/diff"));
  EXPECT_EQ(info->mounts.size(), 3U);
  ASSERT_EQ(info->endpoints.size(), 2U);
  EXPECT_EQ(info->endpoints[1].ipv4, "172.30.5.9");
  EXPECT_EQ(info->ports.size(), 4U);
  EXPECT_THAT(info->exec_ids, IsEmpty());
}

TEST(ParseContainer, Docker28) {
  const auto info = ParseContainer(TestData("container_28.json"));
  ASSERT_TRUE(info);
  EXPECT_EQ(info->name, "web");
  EXPECT_EQ(info->exec_ids.size(), 1U);
  EXPECT_EQ(info->restart_policy, (RestartPolicy{"on-failure", 5}));
  EXPECT_EQ(info->endpoints[0].aliases, std::vector<std::string>{"db-client"});
  EXPECT_EQ(info->endpoints[1].mac, "9a:11:22:33:44:01");
}

TEST(ParseContainer, SurvivesEveryTruncation) {
  const std::string text = TestData("container_20_10.json");
  for (std::size_t size = 0; size + 3 < text.size(); size += 7) {
    EXPECT_FALSE(ParseContainer(text.substr(0, size)));
  }
}

TEST(ParseContainer, WrongTypesAreEmptyValues) {
  const auto info = ParseContainer(
      R"({"Id":"x","Name":7,"State":[],"Mounts":{"a":1},"HostConfig":null,"Config":"s",
          "NetworkSettings":{"Networks":[1],"Ports":{"80/tcp":{"a":3}}}})");
  ASSERT_TRUE(info);
  EXPECT_EQ(info->name, "");
  EXPECT_THAT(info->ports, IsEmpty());
}

TEST(Spec, SurvivesItsDocument) {
  for (const char* file : {"container_20_10.json", "container_28.json"}) {
    const ContainerSpec spec = SpecOf(file);
    const std::string text = SpecToJson(spec);
    const auto again = SpecFromJson(text);
    ASSERT_TRUE(again);
    EXPECT_EQ(SpecToJson(*again), text);
    CreateOptions options;
    EXPECT_EQ(MakeCreateRequest(*again, options)->body, MakeCreateRequest(spec, options)->body);
    EXPECT_EQ(CheckSource(*again, {}), CheckSource(spec, {}));
  }
}

TEST(Spec, RefusesOtherDocuments) {
  std::string text = SpecToJson(SpecOf("container_20_10.json"));
  EXPECT_EQ(SpecFromJson("{}").error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(SpecFromJson(text.substr(1)).error().code, ErrorCode::kInvalidArgument);
  text.replace(text.find("\"SpecVersion\":1"), 15, "\"SpecVersion\":9");
  EXPECT_EQ(SpecFromJson(text).error().code, ErrorCode::kVersionMismatch);
}

TEST(Spec, TellsMountsApart) {
  const ContainerSpec spec = SpecOf("container_20_10.json");
  std::map<std::string, MountKind> kinds;
  for (const MountSpec& mount : spec.mounts) {
    kinds[mount.destination] = mount.kind;
  }
  EXPECT_EQ(kinds["/data"], MountKind::kNamedVolume);
  EXPECT_EQ(kinds["/anon"], MountKind::kAnonymousVolume);
  EXPECT_EQ(kinds["/anon2"], MountKind::kAnonymousVolume);
  EXPECT_EQ(kinds["/run"], MountKind::kTmpfs);
  EXPECT_EQ(kinds.size(), 4U);
  EXPECT_EQ(spec.image_bytes, 7);
}

TEST(CreateRequest, KeepsWhatItDoesNotKnow) {
  const ContainerSpec spec = SpecOf("container_28.json");
  const Json body = RequestBody(spec, {1, 44});
  EXPECT_EQ(body["HostConfig"]["Annotations"]["example.org/kept"], "yes");
  EXPECT_EQ(body["HostConfig"]["Memory"], 67108864);
  EXPECT_EQ(body["Hostname"], "web");
}

TEST(CreateRequest, EditsWhatMustDiffer) {
  const Json body = RequestBody(SpecOf("container_20_10.json"), {1, 41});
  EXPECT_EQ(body["Image"], "layered:2");
  EXPECT_EQ(body["Hostname"], "164f31779349");  // of the source: explicit from now on
  const Json& host = body["HostConfig"];
  EXPECT_EQ(host["Runtime"], "migrate");
  EXPECT_EQ(host["RestartPolicy"]["Name"], "no");
  EXPECT_FALSE(host.contains("ContainerIDFile"));
  EXPECT_EQ(SpecOf("container_20_10.json").final_restart_policy.name, "unless-stopped");
  // The engine chose this one; clients know it.
  EXPECT_EQ(DumpJson(host["PortBindings"]), R"({"53/udp":[{"HostIp":"","HostPort":"32769"}],)"
                                            R"("80/tcp":[{"HostIp":"","HostPort":"8080"}]})");
}

TEST(CreateRequest, OldEngineTakesOneNetworkAtCreate) {
  const ContainerSpec spec = SpecOf("container_20_10.json");
  CreateOptions options;
  options.api_version = {1, 41};
  const auto request = MakeCreateRequest(spec, options).value();
  const Json endpoints = Json::parse(request.body)["NetworkingConfig"]["EndpointsConfig"];
  EXPECT_EQ(DumpJson(endpoints),
            R"({"un":{"IPAMConfig":{"IPv4Address":"172.30.5.9"},"Aliases":["al"]}})");
  ASSERT_EQ(request.connects.size(), 1U);
  EXPECT_EQ(request.connects[0].network, "autonet");
  // Its address was given by the engine: now it is asked for. No alias: it was the short id.
  EXPECT_EQ(request.connects[0].endpoint_json, R"({"IPAMConfig":{"IPv4Address":"172.18.0.2"}})");
}

TEST(CreateRequest, NewEngineTakesAllNetworksWithTheirMacs) {
  const ContainerSpec spec = SpecOf("container_28.json");
  CreateOptions options;
  options.api_version = {1, 44};
  const auto request = MakeCreateRequest(spec, options).value();
  EXPECT_THAT(request.connects, IsEmpty());
  const Json body = Json::parse(request.body);
  const Json& endpoints = body["NetworkingConfig"]["EndpointsConfig"];
  EXPECT_EQ(body["HostConfig"]["NetworkMode"], "front");
  EXPECT_EQ(endpoints["front"]["MacAddress"], "9a:11:22:33:44:01");
  EXPECT_EQ(endpoints["front"]["GwPriority"], 1);
  EXPECT_EQ(endpoints["back"]["IPAMConfig"]["IPv4Address"], "10.2.0.7");
  EXPECT_FALSE(body.contains("MacAddress"));
  // An older engine has the MAC of the first network only.
  EXPECT_EQ(RequestBody(spec, {1, 41})["MacAddress"], "9a:11:22:33:44:01");
}

TEST(CreateRequest, AllPublishedPortsBecomeExplicit) {
  const Json host = RequestBody(SpecOf("container_28.json"), {1, 44})["HostConfig"];
  EXPECT_EQ(host["PublishAllPorts"], false);
  EXPECT_EQ(DumpJson(host["PortBindings"]), R"({"53/udp":[{"HostIp":"","HostPort":"32769"}],)"
                                            R"("80/tcp":[{"HostIp":"","HostPort":"32768"}]})");
}

TEST(CreateRequest, NoEntrypointDoesNotBecomeTheImages) {
  const Json body = RequestBody(SpecOf("container_28.json"), {1, 44});
  EXPECT_EQ(DumpJson(body["Entrypoint"]), R"([""])");
  EXPECT_EQ(DumpJson(body["Cmd"]), R"(["/bin/server"])");
  EXPECT_EQ(DumpJson(RequestBody(SpecOf("container_20_10.json"), {1, 41})["Entrypoint"]),
            R"(["/bin/sh"])");
}

TEST(CreateRequest, DefaultBridgeHasNoAddress) {
  const ContainerSpec spec = SpecWith([](Json& json) {
    Json endpoint = json["NetworkSettings"]["Networks"]["un"];
    json["NetworkSettings"]["Networks"] = {{"bridge", endpoint}};
    json["HostConfig"]["NetworkMode"] = "default";
    json["NetworkSettings"]["Networks"]["bridge"]["IPAMConfig"] = nullptr;
    json["NetworkSettings"]["Networks"]["bridge"]["Aliases"] = nullptr;
  });
  EXPECT_EQ(spec.networks[0].ipv4, "172.30.5.9");  // known, but not asked for
  for (const VersionNumber api : {VersionNumber{1, 41}, VersionNumber{1, 48}}) {
    const Json body = RequestBody(spec, api);
    EXPECT_THAT(body["NetworkingConfig"]["EndpointsConfig"], IsEmpty());
    EXPECT_EQ(body["HostConfig"]["NetworkMode"], "default");
    EXPECT_FALSE(body.contains("MacAddress"));
  }
}

TEST(CreateRequest, VolumesFromAnotherContainerBecomeItsOwn) {
  const ContainerSpec spec = SpecWith([](Json& json) {
    json["HostConfig"]["VolumesFrom"] = {"other:ro"};
    json["HostConfig"]["Binds"] = nullptr;
    json["Mounts"][0]["RW"] = false;
  });
  const Json host = RequestBody(spec, {1, 41})["HostConfig"];
  EXPECT_TRUE(host["VolumesFrom"].is_null());
  EXPECT_EQ(host["Binds"][0], "named:/data:ro");
  EXPECT_EQ(host["Binds"].size(), 3U);
}

TEST(CheckSource, PlainContainerMayGo) {
  EXPECT_THAT(Codes(CheckSource(SpecOf("container_20_10.json"), {})), IsEmpty());
  EXPECT_THAT(Codes(CheckSource(SpecOf("container_28.json"), {})), IsEmpty());
}

TEST(CheckSource, NamesEveryReason) {
  using Edit = std::function<void(Json&)>;
  const std::vector<std::pair<std::string, Edit>> cases = {
      {"CONTAINER_NOT_RUNNING", [](Json& j) { j["State"]["Status"] = "exited"; }},
      {"CONTAINER_NOT_RUNNING", [](Json& j) { j["State"]["Restarting"] = true; }},
      {"CONTAINER_NOT_RUNNING", [](Json& j) { j["State"]["Dead"] = true; }},
      {"CONTAINER_PAUSED", [](Json& j) { j["State"]["Paused"] = true; }},
      {"NETWORK_HOST", [](Json& j) { j["HostConfig"]["NetworkMode"] = "host"; }},
      {"NETWORK_CONTAINER", [](Json& j) { j["HostConfig"]["NetworkMode"] = "container:x"; }},
      {"PID_NAMESPACE", [](Json& j) { j["HostConfig"]["PidMode"] = "host"; }},
      {"PID_NAMESPACE", [](Json& j) { j["HostConfig"]["PidMode"] = "container:x"; }},
      {"IPC_NAMESPACE", [](Json& j) { j["HostConfig"]["IpcMode"] = "container:x"; }},
      {"UTS_NAMESPACE", [](Json& j) { j["HostConfig"]["UTSMode"] = "host"; }},
      {"DEVICES", [](Json& j) { j["HostConfig"]["Privileged"] = true; }},
      {"DEVICES",
       [](Json& j) {
         j["HostConfig"]["Devices"] = {{{"PathOnHost", "/dev/kvm"}}};
       }},
      {"DEVICES",
       [](Json& j) {
         j["HostConfig"]["DeviceRequests"] = {{{"Count", -1}}};
       }},
      {"RUNTIME", [](Json& j) { j["HostConfig"]["Runtime"] = "runsc"; }},
      {"STORAGE_DRIVER", [](Json& j) { j["Driver"] = "btrfs"; }},
      {"LINKS", [](Json& j) { j["HostConfig"]["Links"] = {"/a:/b"}; }},
      {"LINKS", [](Json& j) { j["NetworkSettings"]["Networks"]["un"]["Links"] = {"a:b"}; }},
      {"MOUNT_TYPE", [](Json& j) { j["Mounts"][0]["Type"] = "cluster"; }},
      {"VOLUME_DRIVER", [](Json& j) { j["Mounts"][0]["Driver"] = "rexray"; }},
      {"SWARM",
       [](Json& j) {
         j["Config"]["Labels"] = {{"com.docker.swarm.task", ""}};
       }},
  };
  for (const auto& [code, edit] : cases) {
    EXPECT_THAT(CodesWith(edit), ElementsAre(code));
  }
}

TEST(CheckSource, ListsAllAtOnce) {
  EXPECT_THAT(CodesWith([](Json& j) {
                j["State"]["Paused"] = true;
                j["HostConfig"]["PidMode"] = "host";
                j["HostConfig"]["Privileged"] = true;
              }),
              UnorderedElementsAre("CONTAINER_PAUSED", "PID_NAMESPACE", "DEVICES"));
}

TEST(CheckSource, OurOwnRuntimeMayMoveOn) {
  EXPECT_THAT(CodesWith([](Json& j) { j["HostConfig"]["Runtime"] = "migrate"; }), IsEmpty());
}

TEST(CheckSource, BindMountsFollowThePolicy) {
  const auto bind = [](Json& j) {
    j["Mounts"] = {{{"Type", "bind"}, {"Source", "/dev/null"}, {"Destination", "/x"}}};
  };
  SourceCheckOptions options;
  EXPECT_THAT(CodesWith(bind, options), IsEmpty());
  options.bind_mounts = BindMountPolicy::kRefuse;
  EXPECT_THAT(CodesWith(bind, options), ElementsAre("BIND_MOUNT"));
  options.bind_mounts = BindMountPolicy::kCopy;
  EXPECT_THAT(CodesWith(bind, options), ElementsAre("BIND_MOUNT"));  // a device cannot be copied
}

TEST(CheckSource, SharedVolumeIsNamedWithItsOtherUser) {
  Engine engine(TestData("container_20_10.json"));
  engine.other_users = R"([{"Id":"other","Names":["/backup"],"State":"running"}])";
  const auto blockers = CheckSource(BuildSpec(engine.client(), "t1").value(), {});
  ASSERT_EQ(blockers.size(), 3U);  // each of the three volumes
  EXPECT_EQ(blockers[0].code, "VOLUME_SHARED");
  EXPECT_THAT(blockers[0].detail, ::testing::HasSubstr("backup"));
}

TEST(CheckSource, VolumeThatIsAMountIsRefused) {
  ContainerSpec spec = SpecOf("container_20_10.json");
  spec.mounts[0].options = {{"size", "1g"}};
  EXPECT_THAT(Codes(CheckSource(spec, {})), IsEmpty());
  spec.mounts[0].options = {{"type", "nfs"}, {"device", ":/x"}};
  EXPECT_THAT(Codes(CheckSource(spec, {})), ElementsAre("VOLUME_DRIVER"));
}

TEST(CheckSource, NotesWhatWillNotBeAsBefore) {
  const ContainerSpec spec = SpecWith([](Json& j) {
    j["HostConfig"]["AutoRemove"] = true;
    j["HostConfig"]["LogConfig"]["Type"] = "syslog";
  });
  EXPECT_THAT(
      Codes(NotesOnSource(spec)),
      UnorderedElementsAre("AUTO_REMOVE", "LOG_HISTORY", "TMPFS", "PORT_FIXED", "PORT_FIXED"));
}

TEST(Subnets, OverlapAndContain) {
  EXPECT_TRUE(SubnetsOverlap("10.0.0.0/8", "10.77.0.1/24"));
  EXPECT_TRUE(SubnetsOverlap("10.77.0.0/24", "10.0.0.0/8"));
  EXPECT_FALSE(SubnetsOverlap("10.77.0.0/24", "10.77.1.0/24"));
  EXPECT_TRUE(SubnetsOverlap("0.0.0.0/0", "192.0.2.1"));
  EXPECT_FALSE(SubnetsOverlap("10.0.0.0/8", "fd00::/8"));
  EXPECT_TRUE(SubnetsOverlap("fd00::/8", "fd12:3::/64"));
  EXPECT_TRUE(SubnetContains("172.30.5.0/25", "172.30.5.127"));
  EXPECT_FALSE(SubnetContains("172.30.5.0/25", "172.30.5.128"));
  EXPECT_FALSE(SubnetsOverlap("nonsense", "10.0.0.0/8"));
}

TEST(LogFiles, NamesCarryTheNewId) {
  const std::string dir = "/r/containers/new";
  EXPECT_EQ(LogPathAt(dir, "new", "ID-json.log").value(), dir + "/new-json.log");
  EXPECT_EQ(LogPathAt(dir, "new", "ID-json.log.2.gz").value(), dir + "/new-json.log.2.gz");
  EXPECT_EQ(LogPathAt(dir, "new", "local-logs/container.log.1").value(),
            dir + "/local-logs/container.log.1");
  for (const char* bad : {"", "../x", "ID-json.log/../../x", "ID-json.log.x", "config.v2.json",
                          "local-logs/container.log/..", "ID-json.log."}) {
    EXPECT_FALSE(LogPathAt(dir, "new", bad)) << bad;
  }
}

}  // namespace
}  // namespace migrate
