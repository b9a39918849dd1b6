#include "migrated/docker/events.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "base/stop_wait.h"
#include "migrated/docker/http_unix.h"
#include "migrated/docker/json_util.h"

namespace migrate {
namespace {

constexpr auto kReconnectDelay = std::chrono::milliseconds(250);
// Events may be days apart; an engine that dies closes the socket.
constexpr auto kIdleTimeout = std::chrono::hours(24 * 365);
constexpr std::size_t kMaxLineBytes = 1024 * 1024;
constexpr std::size_t kEventsRemembered = 512;  // the engine itself keeps no more than half of that

// In the engine's time, which is this host's.
std::int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string Target(VersionNumber version, std::int64_t since_ns) {
  const std::string target = "/v" + std::to_string(version.major) + "." +
                             std::to_string(version.minor) +
                             "/events?filters=" + UrlEncode(R"({"type":["container","network"]})");
  // Always: the engine answers before it listens, and would miss what happens in between.
  std::string fraction = std::to_string(since_ns % 1'000'000'000);
  fraction.insert(0, 9 - fraction.size(), '0');
  return target + "&since=" + std::to_string(since_ns / 1'000'000'000) + "." + fraction;
}

}  // namespace

std::string DockerEvent::Attribute(const std::string& name) const {
  const auto found = attributes.find(name);
  return found == attributes.end() ? std::string() : found->second;
}

Result<DockerEvent> ParseDockerEvent(std::string_view text) {
  const Json json = TRY(ParseJsonObject(std::string(text), "event"));
  const Json& actor = JsonAt(json, "Actor");
  DockerEvent event;
  event.type = JsonString(json, "Type");
  event.action = JsonString(json, "Action");
  event.actor_id = JsonString(actor, "ID");
  event.time_ns = JsonInt(json, "timeNano");
  const Json& attributes = JsonAt(actor, "Attributes");
  if (attributes.is_object()) {
    for (const auto& [key, value] : attributes.items()) {
      if (value.is_string()) {
        event.attributes[key] = value.get<std::string>();
      }
    }
  }
  if (event.type.empty() || event.action.empty()) {
    return MakeError(ErrorCode::kInternal, "docker: an event without type or action");
  }
  return event;
}

struct DockerEvents::Impl {
  explicit Impl(DockerClient& docker) : client(docker) {}

  void Run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      static_cast<void>(Stream(stop));
      SetConnected(false);
      WaitForStop(stop, kReconnectDelay);
    }
  }

  // One connection, to its end.
  Result<> Stream(const std::stop_token& stop) {
    HttpRequest request{.method = "GET",
                        .target = Target(TRY(client.ApiVersion()), last_time_ns),
                        .timeout = kIdleTimeout};
    const auto connection = TRY(HttpConnection::Open(client.socket_path(), limits::kDockerTimeout));
    const std::stop_callback on_stop(stop, [&connection] { connection->Cancel(); });
    const int status = TRY(connection->BeginDownload(request));
    if (status != 200) {
      return MakeError(ErrorCode::kUnavailable, "docker: events: " + std::to_string(status));
    }
    SetConnected(true);
    std::string pending;
    std::array<std::byte, 16 * 1024> buffer{};
    for (;;) {
      const std::size_t size = TRY(connection->ReadBody(buffer));
      if (size == 0) {
        return {};
      }
      pending.append(reinterpret_cast<const char*>(buffer.data()), size);
      std::size_t begin = 0;
      for (std::size_t end = 0; (end = pending.find('\n', begin)) != std::string::npos;
           begin = end + 1) {
        Line(std::string_view(pending).substr(begin, end - begin));
      }
      pending.erase(0, begin);
      if (pending.size() > kMaxLineBytes) {
        return MakeError(ErrorCode::kResourceExhausted, "docker: an event without end");
      }
    }
  }

  void Line(std::string_view text) {
    const auto event = ParseDockerEvent(text);
    if (!event) {
      return;
    }
    last_time_ns = event->time_ns;
    // A new connection begins with what the engine remembers. Not told apart by the time: clocks
    // are set back.
    std::string key = std::to_string(event->time_ns) + event->action + event->actor_id;
    if (std::find(told.begin(), told.end(), key) != told.end()) {
      return;
    }
    told.push_back(std::move(key));
    if (told.size() > kEventsRemembered) {
      told.pop_front();
    }
    Tell(*event);
  }

  void SetConnected(bool now) {
    {
      const std::lock_guard lock(mutex);
      if (connected == now) {
        return;
      }
      connected = now;
      changed.notify_all();
    }
    if (now && !was_connected) {
      was_connected = true;
      return;  // nothing was missed
    }
    DockerEvent event;
    event.type = kStream;
    event.action = now ? kStreamBack : kStreamBroken;
    Tell(event);
  }

  void Tell(const DockerEvent& event) {
    const std::lock_guard lock(mutex);
    for (const auto& [number, entry] : subscribers) {
      // What the engine repeats may be older than the subscription.
      if (event.type == kStream || event.time_ns >= entry.since_ns) {
        entry.subscriber(event);
      }
    }
  }

  DockerClient& client;
  std::int64_t last_time_ns = 0;  // of the thread, as are the next two
  std::deque<std::string> told;
  bool was_connected = false;
  std::mutex mutex;  // guards what follows; held while subscribers are called
  std::condition_variable changed;
  struct Entry {
    Subscriber subscriber;
    std::int64_t since_ns;
  };
  std::map<int, Entry> subscribers;
  int next_number = 1;
  bool connected = false;
  std::optional<std::jthread> thread;
};

DockerEvents::DockerEvents(DockerClient& client) : impl_(std::make_unique<Impl>(client)) {}

DockerEvents::~DockerEvents() {
  if (impl_->thread) {
    impl_->thread->request_stop();
    impl_->thread->join();
  }
}

DockerEvents::Subscription DockerEvents::Subscribe(Subscriber subscriber) {
  const std::lock_guard lock(impl_->mutex);
  const int number = impl_->next_number++;
  impl_->subscribers[number] = {std::move(subscriber), Now()};
  if (!impl_->thread) {
    impl_->last_time_ns = Now();
    impl_->thread.emplace([impl = impl_.get()](const std::stop_token& stop) { impl->Run(stop); });
  }
  return {this, number};
}

bool DockerEvents::WaitUntilConnected(std::chrono::milliseconds timeout) {
  std::unique_lock lock(impl_->mutex);
  return impl_->changed.wait_for(lock, timeout, [this] { return impl_->connected; });
}

DockerEvents::Subscription& DockerEvents::Subscription::operator=(Subscription&& other) noexcept {
  if (this != &other) {
    Reset();
    owner_ = std::exchange(other.owner_, nullptr);
    number_ = other.number_;
  }
  return *this;
}

void DockerEvents::Subscription::Reset() {
  if (DockerEvents* owner = std::exchange(owner_, nullptr)) {
    const std::lock_guard lock(owner->impl_->mutex);
    owner->impl_->subscribers.erase(number_);
  }
}

}  // namespace migrate
