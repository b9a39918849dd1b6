#include "migrated/docker/events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <mutex>
#include <vector>

#include "migrated/docker/fake_engine.h"

namespace migrate {
namespace {

using ::testing::ElementsAre;
using testing::FakeEngine;
using testing::FakeRequest;
using ::testing::HasSubstr;
using testing::HttpText;

constexpr std::int64_t kLater = 4'000'000'000'000'000'000;  // than any subscription

std::string Event(std::int64_t time, const std::string& action) {
  return R"({"Type":"container","Action":")" + action +
         R"(","Actor":{"ID":"c1","Attributes":{"name":"web1","signal":"15"}},"timeNano":)" +
         std::to_string(time) + "}\n";
}

TEST(ParseDockerEvent, ReadsWhatWeUse) {
  const auto event = ParseDockerEvent(Event(7, "kill"));
  ASSERT_TRUE(event);
  EXPECT_EQ(event->type, "container");
  EXPECT_EQ(event->action, "kill");
  EXPECT_EQ(event->actor_id, "c1");
  EXPECT_EQ(event->Attribute("signal"), "15");
  EXPECT_EQ(event->Attribute("exitCode"), "");
  EXPECT_EQ(event->time_ns, 7);
  for (const char* text : {"", "x", "[]", "{}", R"({"Type":"container"})"}) {
    EXPECT_FALSE(ParseDockerEvent(text)) << text;
  }
}

// What a subscriber hears, in order.
class Heard {
 public:
  DockerEvents::Subscriber Subscriber() {
    return [this](const DockerEvent& event) {
      const std::lock_guard lock(mutex_);
      actions_.push_back(event.action);
      changed_.notify_all();
    };
  }
  std::vector<std::string> First(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(20), [&] { return actions_.size() >= count; });
    return {actions_.begin(),
            actions_.begin() + static_cast<std::ptrdiff_t>(std::min(count, actions_.size()))};
  }

  std::size_t Count() {
    const std::lock_guard lock(mutex_);
    return actions_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> actions_;
};

TEST(DockerEvents, ConnectsAgainSaysSoAndTellsNothingTwice) {
  std::atomic<int> calls = 0;
  std::promise<void> release;
  auto released = release.get_future().share();
  FakeEngine engine([&, released](const FakeRequest&) {
    // Each answer ends the stream; the second one repeats what the engine remembers.
    switch (calls++) {
      case 0:
        return HttpText(200, Event(5, "long ago") + Event(kLater, "kill") + "not json\n" +
                                 Event(kLater + 1, "die"));
      case 1:
        return HttpText(200, Event(kLater + 1, "die") + Event(kLater + 2, "destroy"));
      default:
        released.wait();
        return HttpText(200, "");
    }
  });
  DockerClient client(engine.path());
  Heard heard;
  DockerEvents events(client);
  const auto subscription = events.Subscribe(heard.Subscriber());
  EXPECT_THAT(heard.First(5), ElementsAre("kill", "die", kStreamBroken, kStreamBack, "destroy"));
  EXPECT_THAT(engine.requests().at(2).target, HasSubstr("since=4000000000.000000001"));
  release.set_value();
}

TEST(DockerEvents, AfterASubscriptionHasEndedNobodyIsCalled) {
  std::promise<void> release;
  auto released = release.get_future().share();
  std::atomic<int> calls = 0;
  FakeEngine engine([&, released](const FakeRequest&) {
    if (calls++ > 0) {
      released.wait();
    }
    return HttpText(200, Event(kLater + calls, "die"));
  });
  DockerClient client(engine.path());
  DockerEvents events(client);
  Heard first;
  Heard second;
  auto ended = events.Subscribe(first.Subscriber());
  const auto goes_on = events.Subscribe(second.Subscriber());
  EXPECT_THAT(first.First(2), ElementsAre("die", kStreamBroken));
  ended.Reset();
  release.set_value();
  EXPECT_THAT(second.First(4), ElementsAre("die", kStreamBroken, kStreamBack, "die"));
  EXPECT_EQ(first.Count(), 2U);
}

TEST(DockerEvents, EndsWhileTheEngineIsSilent) {
  std::promise<void> release;
  auto released = release.get_future().share();
  FakeEngine engine([released](const FakeRequest&) {
    released.wait();
    return HttpText(200, "");
  });
  DockerClient client(engine.path());
  {
    DockerEvents events(client);
    const auto subscription = events.Subscribe([](const DockerEvent&) {});
    EXPECT_FALSE(events.WaitUntilConnected(std::chrono::milliseconds(50)));
  }
  release.set_value();
}

TEST(DockerEvents, EndsWhileThereIsNoEngine) {
  DockerClient client("/nonexistent/docker.sock");
  DockerEvents events(client);
  const auto subscription = events.Subscribe([](const DockerEvent&) {});
  EXPECT_FALSE(events.WaitUntilConnected(std::chrono::milliseconds(50)));
}

}  // namespace
}  // namespace migrate
