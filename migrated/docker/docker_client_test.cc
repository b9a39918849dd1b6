#include "migrated/docker/docker_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <future>
#include <numeric>
#include <stop_token>
#include <thread>

#include "migrated/docker/fake_engine.h"

namespace migrate {
namespace {

using testing::ChunkedText;
using testing::FakeEngine;
using testing::FakeRequest;
using ::testing::HasSubstr;
using testing::HttpText;

class StringSink : public ByteSink {
 public:
  Result<> Write(std::span<const std::byte> data) override {
    text.append(reinterpret_cast<const char*>(data.data()), data.size());
    ++writes;
    return {};
  }
  Result<> Finish() override { return {}; }
  std::string text;
  int writes = 0;
};

class StringSource : public ByteSource {
 public:
  explicit StringSource(std::string text, std::size_t fail_at = std::string::npos)
      : text_(std::move(text)), fail_at_(fail_at) {}
  Result<std::size_t> Read(std::span<std::byte> buffer) override {
    if (at_ >= fail_at_) {
      return MakeError(ErrorCode::kDataLoss, "stream broke off");
    }
    const std::size_t size = std::min({buffer.size(), text_.size() - at_, std::size_t{70000}});
    std::memcpy(buffer.data(), text_.data() + at_, size);
    at_ += size;
    return size;
  }

 private:
  std::string text_;
  std::size_t fail_at_;
  std::size_t at_ = 0;
};

std::string Pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) {
    text[i] = static_cast<char>((i * 2654435761U) >> 13);
  }
  return text;
}

TEST(DockerClient, NoEngineIsUnavailableAndNamesTheSocket) {
  DockerClient client("/nonexistent/docker.sock");
  const auto info = client.Info();
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(info.error().message,
              HasSubstr("docker engine not reachable at /nonexistent/docker.sock"));
}

TEST(DockerClient, SpeaksTheLowerVersionOfBoth) {
  for (const auto& [server, ours] : std::vector<std::pair<std::string, std::string>>{
           {"1.40", "/v1.40/"}, {"1.41", "/v1.41/"}, {"1.99", "/v1.48/"}}) {
    FakeEngine engine([](const FakeRequest&) { return HttpText(200, "{}"); }, server);
    DockerClient client(engine.path());
    ASSERT_TRUE(client.Info());
    EXPECT_EQ(engine.requests().back().target, ours + "info");
  }
}

TEST(DockerClient, RefusesAnOldEngine) {
  FakeEngine engine([](const FakeRequest&) { return HttpText(200, "{}"); }, "1.39");
  DockerClient client(engine.path());
  const auto info = client.Info();
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().code, ErrorCode::kVersionMismatch);
}

TEST(DockerClient, StatusBecomesCodeWithTheEnginesWords) {
  std::atomic<int> status{404};
  std::string message = "No such container: x";
  FakeEngine engine([&](const FakeRequest&) {
    return HttpText(status.load(), R"({"message":")" + message + R"("})");
  });
  DockerClient client(engine.path());
  const auto code = [&](int number, const std::string& text) {
    status = number;
    message = text;
    const auto result = client.StartContainer("x");
    if (!result) {
      EXPECT_THAT(result.error().message, HasSubstr(text));
    }
    return result ? "ok" : std::string(ErrorCodeName(result.error().code));
  };
  EXPECT_EQ(code(404, "No such container: x"), "not found");
  EXPECT_EQ(code(409, R"(The container name is already in use by container 1)"), "already exists");
  EXPECT_EQ(code(409, "You cannot remove a running container"), "aborted");
  EXPECT_EQ(code(400, "bad parameter"), "invalid argument");
  EXPECT_EQ(code(500, "driver failed"), "internal");
  EXPECT_EQ(code(503, "swarm locked"), "unavailable");
  EXPECT_EQ(code(204, ""), "ok");
}

TEST(DockerClient, NotModifiedIsSuccess) {
  FakeEngine engine(
      [](const FakeRequest&) { return std::string("HTTP/1.1 304 Not Modified\r\n\r\n"); });
  DockerClient client(engine.path());
  EXPECT_TRUE(client.StartContainer("x"));
}

TEST(DockerClient, EncodesNamesAndBodies) {
  FakeEngine engine([](const FakeRequest&) { return HttpText(200, R"({"Id":"abc"})"); });
  DockerClient client(engine.path());
  ASSERT_TRUE(client.InspectImage("host:5000/a b:1"));
  EXPECT_EQ(engine.requests().back().target, "/v1.41/images/host%3A5000%2Fa%20b%3A1/json");
  ASSERT_TRUE(client.UpdateRestartPolicy("abc", {"on-failure", 5}));
  EXPECT_EQ(engine.requests().back().body,
            R"({"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":5}})");
}

TEST(DockerClient, SlowEngineIsADeadline) {
  std::promise<void> release;
  auto released = release.get_future().share();
  FakeEngine engine([released](const FakeRequest&) {
    released.wait();
    return HttpText(204, "");
  });
  DockerClient client(engine.path());
  const auto result = client.StartContainer("x", std::chrono::milliseconds(50));
  release.set_value();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kDeadlineExceeded);
}

TEST(DockerClient, BrokenConnectionIsUnavailable) {
  FakeEngine engine([](const FakeRequest&) {
    return std::string("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\":");
  });
  DockerClient client(engine.path());
  const auto result = client.Info();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kUnavailable);
}

TEST(DockerClient, NonsenseIsAnErrorNotACrash) {
  FakeEngine engine([](const FakeRequest&) { return HttpText(200, "<html>[1,"); });
  DockerClient client(engine.path());
  EXPECT_FALSE(client.Info());
  EXPECT_FALSE(client.InspectContainer("x"));
  EXPECT_FALSE(client.ListContainers(true));
  EXPECT_FALSE(client.ListNetworks());
  EXPECT_FALSE(client.ListVolumes());
  EXPECT_FALSE(client.ListImages());
}

TEST(DockerClient, ManyThreadsMayCallAtOnce) {
  FakeEngine engine([](const FakeRequest& request) {
    return HttpText(200, R"({"Id":")" + request.target + R"("})");
  });
  DockerClient client(engine.path());
  std::vector<std::jthread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        good += client.InspectContainer("x").has_value() ? 1 : 0;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(good, 80);
}

TEST(DockerClient, SavesAStreamInPieces) {
  const std::string archive = Pattern(5'000'000);
  FakeEngine engine([&](const FakeRequest&) { return ChunkedText(200, archive, 100'000); });
  DockerClient client(engine.path());
  StringSink sink;
  ASSERT_TRUE(client.SaveImage("sha256:1", sink));
  EXPECT_EQ(sink.text, archive);
  EXPECT_GT(sink.writes, 4);
}

TEST(DockerClient, SaveThatBreaksOffIsAnError) {
  const std::string archive = Pattern(500'000);
  FakeEngine engine([&](const FakeRequest&) {
    const std::string whole = ChunkedText(200, archive, 100'000);
    return whole.substr(0, whole.size() - 5);  // without the last chunk
  });
  DockerClient client(engine.path());
  StringSink sink;
  EXPECT_FALSE(client.SaveImage("sha256:1", sink));
}

TEST(DockerClient, SaveOfNoImageIsNotFound) {
  FakeEngine engine([](const FakeRequest&) { return HttpText(404, R"({"message":"no image"})"); });
  DockerClient client(engine.path());
  StringSink sink;
  const auto result = client.SaveImage("sha256:1", sink);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kNotFound);
}

TEST(DockerClient, LoadsAStream) {
  FakeEngine engine(
      [](const FakeRequest&) { return ChunkedText(200, "{\"stream\":\"Loaded image\\n\"}\n", 7); });
  DockerClient client(engine.path());
  const std::string archive = Pattern(3'000'000);
  StringSource source(archive);
  ASSERT_TRUE(client.LoadImage(source));
  EXPECT_EQ(engine.requests().back().body, archive);
}

TEST(DockerClient, LoadErrorComesOutOfTheProgressStream) {
  FakeEngine engine([](const FakeRequest&) {
    return ChunkedText(200,
                       "{\"status\":\"Loading\"}\n{\"errorDetail\":{\"message\":\"invalid "
                       "diffID\"},\"error\":\"invalid diffID\"}\n",
                       11);
  });
  DockerClient client(engine.path());
  StringSource source("archive");
  const auto result = client.LoadImage(source);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("invalid diffID"));
}

TEST(DockerClient, ABrokenSourceNeverEndsTheUploadProperly) {
  FakeEngine engine([](const FakeRequest&) { return HttpText(200, "{}"); });
  DockerClient client(engine.path());
  StringSource source(Pattern(500'000), 200'000);
  const auto result = client.LoadImage(source);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kDataLoss);
  for (int i = 0; i < 200 && engine.requests().size() < 2; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_THAT(engine.requests().back().body, ::testing::EndsWith("<cut>"));
}

TEST(DockerClient, WatchReportsEventsUntilStopped) {
  std::promise<void> release;
  auto released = release.get_future().share();
  const std::string event =
      R"({"Type":"container","Action":"die","Actor":{"ID":"c1","Attributes":{"name":"n"}},"timeNano":5})"
      "\n";
  FakeEngine engine([&](const FakeRequest&) {
    return HttpText(200, event + event);  // then the stream ends
  });
  DockerClient client(engine.path());
  std::stop_source stop;
  std::vector<ContainerEvent> events;
  const auto result = client.WatchContainers(
      "c1", stop.get_token(), [&](const ContainerEvent& item) { events.push_back(item); });
  EXPECT_FALSE(result) << "an engine that went away must not look like a stop";
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].action, "die");
  EXPECT_EQ(events[0].container_id, "c1");
  release.set_value();
}

TEST(DockerClient, WatchStops) {
  std::promise<void> release;
  auto released = release.get_future().share();
  FakeEngine engine([released](const FakeRequest&) {
    released.wait();
    return HttpText(200, "");
  });
  DockerClient client(engine.path());
  std::stop_source stop;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    stop.request_stop();
  });
  EXPECT_TRUE(client.WatchContainers("", stop.get_token(), [](const ContainerEvent&) {}));
  release.set_value();
}

}  // namespace
}  // namespace migrate
