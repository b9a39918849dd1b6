// `migrate resolve`: the word of the operator on a migration whose other host is gone for good.
// Everything here is pure; the word is taken by SourceMigration::Resolve (source_doubt.cc) and
// TargetMigration::Resolve (target_resolve.cc), which journal it before they act on it.
//
// The one danger is two copies, and only the operator can know that the other one is gone. Hence:
// only a migration in doubt; never while the other daemon answers with something from which the
// end follows; and otherwise only with an assertion.
#pragma once

#include <optional>

#include "base/result.h"
#include "proto/control.pb.h"
#include "proto/peer.pb.h"

namespace migrate {

// In doubt is not an end.
bool HasEnded(const v1::Migration& migration);

Error NotInDoubt(const v1::Migration& migration);

// `peer`: what the other daemon says; none: it does not answer.
Result<> MayResolve(const v1::Migration& migration, v1::ResolveMigrationRequest::Verdict verdict,
                    const std::optional<v1::GetStandingReply>& peer, bool peer_is_gone);

}  // namespace migrate
