// What happens at the Docker Engine to containers and networks, as it happens: one thread that
// reads its event stream, connects again when the engine goes away, and calls subscribers.
//
// While the stream is broken events are lost. Subscribers hear of it: an event of type kStream
// with the action kStreamBroken or kStreamBack. After the latter the engine repeats what it still
// remembers, and who has to be sure looks for himself.
//
// Thread-safe. Subscribers are called on the thread, one after the other; they must not block, and
// must not drop a Subscription, on pain of a deadlock.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "migrated/docker/docker_client.h"

namespace migrate {

struct DockerEvent {
  std::string type;      // "container", "network", or kStream
  std::string action;    // "die", "connect", ...; of a command in it: "exec_start: sh -c ..."
  std::string actor_id;  // of the container or network
  StringMap attributes;  // "name", "signal", "exitCode"; "container" of a network event
  std::int64_t time_ns = 0;

  std::string Attribute(const std::string& name) const;  // empty if there is none
};

inline constexpr char kStream[] = "stream";
inline constexpr char kStreamBroken[] = "broken";
inline constexpr char kStreamBack[] = "back";

class DockerEvents {
 public:
  using Subscriber = std::function<void(const DockerEvent&)>;

  // Ends when it is destroyed; no call is under way afterwards. Must not outlive the DockerEvents.
  class Subscription {
   public:
    Subscription() = default;
    Subscription(Subscription&& other) noexcept { *this = std::move(other); }
    Subscription& operator=(Subscription&& other) noexcept;
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;
    ~Subscription() { Reset(); }
    void Reset();

   private:
    friend class DockerEvents;
    Subscription(DockerEvents* owner, int number) : owner_(owner), number_(number) {}
    DockerEvents* owner_ = nullptr;
    int number_ = 0;
  };

  // The first subscription starts the thread. `client` must outlive this.
  explicit DockerEvents(DockerClient& client);
  ~DockerEvents();
  DockerEvents(const DockerEvents&) = delete;
  DockerEvents& operator=(const DockerEvents&) = delete;

  [[nodiscard]] Subscription Subscribe(Subscriber subscriber);

  // True as soon as the stream is there: what happens from then on will be heard of.
  bool WaitUntilConnected(std::chrono::milliseconds timeout);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A line of the stream; kInternal for text that is none.
Result<DockerEvent> ParseDockerEvent(std::string_view json);

}  // namespace migrate
