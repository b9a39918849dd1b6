// What somebody else does to a container in the middle of its migration: stops, kills, removes,
// renames, pauses or changes it; or it ends by itself. Heard from Docker's events, and from /proc
// where Docker is away.
//
// Judge...() are pure: what an event means. ContainerWatch and ReplicaWatch remember the first
// thing that ends the migration and call back once, on the thread of the events: the callback must
// not block. Thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/result.h"
#include "migrated/docker/events.h"
#include "migrated/node.h"
#include "proto/phase_table.h"

namespace migrate {

struct Interference {
  std::string reason;  // "CONTAINER_STOPPED", ...
  std::string text;    // "container web1 was stopped by somebody (docker stop)"
};

struct WatchedContainer {
  std::string id;
  std::string name;
  int stop_signal = 15;
  // From the freeze on every signal counts: one that comes after the checkpoint would be lost.
  bool frozen = false;
};

// The source's container before the commit point.
std::optional<Interference> JudgeEvent(const DockerEvent& event, const WatchedContainer& container);

// "SIGTERM", "TERM" or "15"; 15 for what is unknown or missing.
int SignalNumber(std::string_view text);

class ContainerWatch {
 public:
  // Before the container is looked at: what happens from then on is heard of.
  ContainerWatch(Node& node, std::string container_id, std::string name,
                 std::function<void()> on_interference);
  ~ContainerWatch();
  ContainerWatch(const ContainerWatch&) = delete;
  ContainerWatch& operator=(const ContainerWatch&) = delete;

  // The migration goes on to this step.
  void Enter(const StepRow& row);
  // The same for what has no steps: a recording.
  void Enter(std::string phase, bool frozen);

  // What is known now.
  std::optional<Error> Happened();
  // After a step has failed or was stopped: if the container has ended, waits a moment for Docker
  // to tell why.
  std::optional<Error> Explain();
  // Looks closely and does not wait, unless the container has ended.
  Result<> CheckBeforeCommit();
  bool IsPaused();  // by Docker
  bool HasEnded() const { return InitIsGone(); }

  // After the fence: a `docker restart` that began before it must not bring the source back.
  Result<> KeepDown();

 private:
  void OnEvent(const DockerEvent& event);
  void Set(Interference interference);
  void Poll(const std::stop_token& stop);
  bool InitIsGone() const;
  std::optional<Error> ErrorLocked() const;

  Node& node_;
  const std::function<void()> on_interference_;
  int init_pid_ = 0;  // these two are set before the thread starts
  std::string init_start_time_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  WatchedContainer container_;
  std::string phase_;
  bool committed_ = false;
  bool paused_ = false;  // before the watch began, e.g. between two daemons
  bool removed_ = false;
  bool stream_broken_ = false;
  int kills_after_commit_ = 0;
  bool started_after_commit_ = false;
  std::optional<Interference> interference_;
  std::string where_;  // " during the presync", with interference_
  DockerEvents::Subscription subscription_;
  std::jthread poll_;
};

// A restart policy, a `docker restart` or a dockerd that has just started may bring a container
// back that has moved away. Switches the policy off and ends it; waits for a Docker that is away.
Result<> KeepContainerDown(Node& node, const std::string& container_id);

// The replica at the target, from its creation to the target's word that it is restored.
std::optional<Interference> JudgeReplicaEvent(const DockerEvent& event,
                                              const std::string& replica_id,
                                              const std::string& name, bool restoring);

class ReplicaWatch {
 public:
  ReplicaWatch(DockerEvents& events, std::string replica_id, std::string name,
               std::function<void(const Error&)> on_interference);

  void Restoring() { restoring_ = true; }  // from now on it is we who start it
  void Done() { done_ = true; }            // what happens later is no business of ours

 private:
  std::atomic<bool> restoring_ = false;
  std::atomic<bool> done_ = false;
  DockerEvents::Subscription subscription_;
};

}  // namespace migrate
