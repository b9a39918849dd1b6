// How migrations look to a person: a progress line that is rewritten on a terminal, plain
// timestamped lines elsewhere, and the summary. Everything goes to the stream given; JSON is
// protobuf's own mapping of the API messages, so that there is one schema.
#pragma once

#include <google/protobuf/message.h>
#include <google/protobuf/repeated_field.h>

#include <chrono>
#include <cstdio>
#include <string>

#include "proto/control.pb.h"

namespace migrate {

enum class ProgressStyle { kBar, kPlain, kJson, kNone };

class ProgressPrinter {
 public:
  ProgressPrinter(ProgressStyle style, std::FILE* out) : style_(style), out_(out) {}
  void Update(const v1::Migration& migration);
  // Ends the line that is being rewritten.
  void Finish();

 private:
  void Bar(const v1::Migration& migration);
  void Plain(const v1::Migration& migration);

  ProgressStyle style_;
  std::FILE* out_;
  bool line_open_ = false;
  v1::Phase last_phase_ = v1::PHASE_UNSPECIFIED;
  std::chrono::steady_clock::time_point last_line_{};
};

std::string ToJson(const google::protobuf::Message& message, bool one_line = false);

// Several lines: what happened, how long, how much; or why not, and that the source runs.
std::string Summary(const v1::Migration& migration);

// One line for `list`.
std::string ListLine(const v1::Migration& migration);
std::string ListHeader();
// For below the list: each migration in doubt, and how to end it. Empty if there is none.
using Migrations = google::protobuf::RepeatedPtrField<v1::Migration>;
std::string DoubtLines(const Migrations& migrations);

using Relays = google::protobuf::RepeatedPtrField<v1::RelayInfo>;
std::string RelayTable(const Relays& relays);

std::string OutcomeName(const v1::Migration& migration);
std::string BlockerText(const v1::Blocker& blocker);

}  // namespace migrate
