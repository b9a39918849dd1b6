#include "migrated/progress.h"

#include <ctime>

namespace migrate {
namespace {

std::uint64_t MillisecondsSince(std::chrono::steady_clock::time_point start) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                        std::chrono::steady_clock::now() - start)
                                        .count());
}

}  // namespace

Progress::Progress(v1::Migration initial)
    : migration_(std::move(initial)),
      start_(std::chrono::steady_clock::now()),
      phase_start_(start_) {
  if (!migration_.has_start_time()) {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    migration_.mutable_start_time()->set_seconds(now.tv_sec);
    migration_.mutable_start_time()->set_nanos(static_cast<int>(now.tv_nsec));
  }
}

v1::PhaseProgress& Progress::Current() const {
  for (v1::PhaseProgress& progress : *migration_.mutable_phases()) {
    if (progress.phase() == migration_.phase()) {
      return progress;
    }
  }
  v1::PhaseProgress* progress = migration_.add_phases();
  progress->set_phase(migration_.phase());
  return *progress;
}

void Progress::RefreshTimes() const {
  if (migration_.outcome() != v1::OUTCOME_UNSPECIFIED &&
      migration_.outcome() != v1::OUTCOME_IN_DOUBT) {
    return;
  }
  migration_.set_total_time_ms(MillisecondsSince(start_));
  if (migration_.phase() != v1::PHASE_DONE && migration_.phase() != v1::PHASE_UNSPECIFIED) {
    v1::PhaseProgress& progress = Current();
    progress.set_elapsed_ms(MillisecondsSince(phase_start_));
    progress.set_bytes_per_second(
        progress.elapsed_ms() == 0 ? 0 : progress.done_bytes() * 1000 / progress.elapsed_ms());
  }
}

v1::Migration Progress::Snapshot() const {
  const std::lock_guard lock(mutex_);
  RefreshTimes();
  return migration_;
}

void Progress::Update(const std::function<void(v1::Migration&)>& change) {
  const std::lock_guard lock(mutex_);
  RefreshTimes();
  change(migration_);
  ++number_;
  changed_.notify_all();
}

void Progress::EnterPhase(v1::Phase phase) {
  const std::lock_guard lock(mutex_);
  if (migration_.phase() == phase) {
    return;
  }
  RefreshTimes();
  migration_.set_phase(phase);
  migration_.clear_doubt();  // it goes on
  if (migration_.outcome() == v1::OUTCOME_IN_DOUBT) {
    migration_.set_outcome(v1::OUTCOME_UNSPECIFIED);
  }
  phase_start_ = std::chrono::steady_clock::now();
  if (phase != v1::PHASE_DONE) {
    Current();
  }
  ++number_;
  changed_.notify_all();
}

void Progress::SetBytes(std::uint64_t done, std::uint64_t total) {
  Update([&](v1::Migration&) {
    v1::PhaseProgress& progress = Current();
    progress.set_done_bytes(done);
    progress.set_total_bytes(total);
  });
}

void Progress::SetDetail(const std::string& detail) {
  Update([&](v1::Migration&) { Current().set_detail(detail); });
}

Progress::Version Progress::WaitForChange(std::uint64_t seen,
                                          std::chrono::milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [&] { return number_ != seen; });
  RefreshTimes();
  return {migration_, number_};
}

}  // namespace migrate
