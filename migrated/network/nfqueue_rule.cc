#include "migrated/network/nfqueue_rule.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_NFQUEUE.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/check.h"
#include "migrated/network/nfnetlink.h"
#include "migrated/network/nft.h"

namespace migrate::internal {
namespace {

constexpr char kTarget[] = "NFQUEUE";
constexpr std::uint32_t kTargetRevision = 3;
constexpr std::uint32_t kCompatTypeTarget = 1;  // NFTA_COMPAT_TYPE: 0 is a match
constexpr std::size_t kRequestBytes = 4096;
constexpr std::size_t kRuleBytes = 512;  // more than a rule of ours takes

struct RuleDeleter {
  void operator()(nftnl_rule* rule) const { nftnl_rule_free(rule); }
};

// Made and removed in one transaction: no trace whether it succeeds or not.
Result<bool> HasNativeStatement() {
  const std::string table = "ip migrate_queue_probe";
  auto added = RunNft("add table " + table + "\nadd chain " + table + " enqueue\nadd rule " +
                      table + " enqueue " + QueueRuleText(0) + "\ndelete table " + table + "\n");
  if (!added && added.error().code != ErrorCode::kNotFound) {
    return Error(std::move(added).error());
  }
  return added.has_value();
}

Result<bool> HasTarget() {
  auto socket = TRY(OpenNfnetlink());
  alignas(nlmsghdr) std::array<char, kRequestBytes> buffer{};
  auto* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = (NFNL_SUBSYS_NFT_COMPAT << 8) | NFNL_MSG_COMPAT_GET;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  auto* family = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
  family->nfgen_family = NFPROTO_IPV4;
  family->version = NFNETLINK_V0;
  mnl_attr_put_strz(header, NFTA_COMPAT_NAME, kTarget);
  mnl_attr_put_u32(header, NFTA_COMPAT_REV, htonl(kTargetRevision));
  mnl_attr_put_u32(header, NFTA_COMPAT_TYPE, htonl(kCompatTypeTarget));
  int refused = TRY(RequestNfnetlink(socket, header, header->nlmsg_len, 1));
  if (refused == EPERM) {
    return ErrnoError("ask for the netfilter target NFQUEUE", refused);
  }
  return refused == 0;
}

std::unique_ptr<nftnl_rule, RuleDeleter> TargetRule(const ChainName& chain, std::uint16_t number) {
  std::unique_ptr<nftnl_rule, RuleDeleter> rule(nftnl_rule_alloc());
  auto* target = nftnl_expr_alloc("target");
  CHECK(rule && target != nullptr);
  nftnl_rule_set_u32(rule.get(), NFTNL_RULE_FAMILY,
                     chain.family == "ip" ? NFPROTO_IPV4 : NFPROTO_IPV6);
  nftnl_rule_set_str(rule.get(), NFTNL_RULE_TABLE, chain.table.c_str());
  nftnl_rule_set_str(rule.get(), NFTNL_RULE_CHAIN, chain.chain.c_str());
  xt_NFQ_info_v3 info{};
  info.queuenum = number;
  info.queues_total = 1;
  info.flags = NFQ_FLAG_BYPASS;
  // The expression takes the memory and releases it.
  auto* data = std::calloc(1, XT_ALIGN(sizeof info));
  CHECK(data != nullptr);
  std::memcpy(data, &info, sizeof info);
  nftnl_expr_set_str(target, NFTNL_EXPR_TG_NAME, kTarget);
  nftnl_expr_set_u32(target, NFTNL_EXPR_TG_REV, kTargetRevision);
  nftnl_expr_set(target, NFTNL_EXPR_TG_INFO, data, XT_ALIGN(sizeof info));
  nftnl_rule_add_expr(rule.get(), target);
  return rule;
}

Result<QueueStatement> Probe() {
  if (TRY(HasNativeStatement())) {
    return QueueStatement::kNative;
  }
  if (TRY(HasTarget())) {
    return QueueStatement::kTarget;
  }
  return MakeError(ErrorCode::kFailedPrecondition,
                   "this kernel has neither NFT_QUEUE nor NFT_COMPAT with "
                   "NETFILTER_XT_TARGET_NFQUEUE, so packets cannot be held",
                   "HOLD_UNSUPPORTED");
}

}  // namespace

Result<QueueStatement> FindQueueStatement() {
  // A refused transaction makes the kernel wait for all its CPUs (RCU): some ten milliseconds that
  // belong before the freeze.
  static std::atomic<int> known = -1;
  if (known < 0) {
    known = static_cast<int>(TRY(Probe()));
  }
  return static_cast<QueueStatement>(known.load());
}

std::string QueueRuleText(std::uint16_t number) {
  return "queue num " + std::to_string(number) + " bypass";
}

Result<> AppendQueueTarget(const std::vector<ChainName>& chains, std::uint16_t number) {
  auto socket = TRY(OpenNfnetlink());
  std::vector<char> buffer((chains.size() + 1) * kRuleBytes);
  std::size_t used = 0;
  std::uint32_t sequence = 0;
  auto take = [&](const nlmsghdr* header) { used += MNL_ALIGN(header->nlmsg_len); };
  take(nftnl_batch_begin(buffer.data(), sequence++));
  for (const auto& chain : chains) {
    auto* header = nftnl_nlmsg_build_hdr(buffer.data() + used, NFT_MSG_NEWRULE,
                                         chain.family == "ip" ? NFPROTO_IPV4 : NFPROTO_IPV6,
                                         NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, sequence++);
    auto rule = TargetRule(chain, number);
    nftnl_rule_nlmsg_build_payload(header, rule.get());
    take(header);
    CHECK(used + kRuleBytes / 2 <= buffer.size());
  }
  take(nftnl_batch_end(buffer.data() + used, sequence));
  int refused = TRY(RequestNfnetlink(socket, buffer.data(), used, static_cast<int>(chains.size())));
  if (refused != 0) {
    return ErrnoError("add a rule with the target NFQUEUE", refused);
  }
  return {};
}

}  // namespace migrate::internal
