// How fast the event log is written and read, and what that costs: run by hand.
//   event_log_bench DIRECTORY [MILLIONS OF EVENTS]
// Frames are appended one at a time, as the recorder gets them from its ring. CPU times are per
// event; "core" is the share of one that 400 000 events per second take.
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "proto/event_log_reader.h"
#include "proto/event_log_samples.h"
#include "recorder/event_log_writer.h"

namespace migrate {
namespace {

constexpr double kEventsPerSecond = 400'000;

double Seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void Measure(const std::filesystem::path& path, const std::vector<std::byte>& frames, int rounds,
             int level, std::chrono::milliseconds sync_interval) {
  std::filesystem::remove(path);
  std::vector<std::unique_ptr<LogSink>> sinks;
  sinks.push_back(FileLogSink::Create(path).value());
  EventLogWriter writer({.epoch = EpochOf(kSampleEpoch),
                         .compression_level = level,
                         .sync_interval = sync_interval,
                         .queue_wait = std::chrono::hours(1)},
                        std::move(sinks));
  const double start = Seconds(CLOCK_MONOTONIC);
  const double start_cpu = Seconds(CLOCK_THREAD_CPUTIME_ID);
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t at = 0; at < frames.size();) {
      std::uint32_t size;
      std::memcpy(&size, frames.data() + at, sizeof size);
      if (!writer.Append(std::span(frames).subspan(at, size))) {
        std::abort();
      }
      at += size;
    }
  }
  const double append_cpu = Seconds(CLOCK_THREAD_CPUTIME_ID) - start_cpu;
  if (const auto closed = writer.Close(); !closed) {
    std::fprintf(stderr, "%s\n", closed.error().message.c_str());
    std::exit(1);
  }
  const double wall = Seconds(CLOCK_MONOTONIC) - start;
  const EventLogWriterStats stats = writer.stats();
  const auto events = static_cast<double>(stats.events);
  const double write_cpu = static_cast<double>(stats.cpu_time.count()) * 1e-9;

  auto file = EventLogFile::Open(path).value();
  const double read_start = Seconds(CLOCK_THREAD_CPUTIME_ID);
  while (file.Next().value() == EventLogReader::Status::kEvent) {
  }
  const double read_cpu = Seconds(CLOCK_THREAD_CPUTIME_ID) - read_start;
  std::printf(
      "zstd %d, sync %6lld ms: %5.0f MB/s of frames, %4.1f M events/s; %5.1f -> %4.1f bytes/event; "
      "append %3.0f ns, write %3.0f ns (core %2.0f%%); read %3.0f ns; %llu syncs\n",
      level, static_cast<long long>(sync_interval.count()),
      static_cast<double>(stats.frame_bytes) / wall / 1e6, events / wall / 1e6,
      static_cast<double>(stats.frame_bytes) / events,
      static_cast<double>(stats.stored_bytes) / events, append_cpu / events * 1e9,
      write_cpu / events * 1e9, (append_cpu + write_cpu) / events * kEventsPerSecond * 100,
      read_cpu / events * 1e9, static_cast<unsigned long long>(stats.syncs));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace migrate

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: event_log_bench DIRECTORY [MILLIONS OF EVENTS]\n");
    return 2;
  }
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 4;
  const auto path = std::filesystem::path(argv[1]) / "event_log_bench.log";
  const auto frames = migrate::SampleFrames(1'000'000);
  for (const int level : {0, 1, 3}) {
    migrate::Measure(path, frames, rounds, level, std::chrono::milliseconds(0));
    migrate::Measure(path, frames, rounds, level, std::chrono::hours(24));
  }
}
