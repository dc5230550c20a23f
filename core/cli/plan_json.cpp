#include "core/cli/plan_output.h"

namespace tersor {
namespace {

Json peak_json(const MemoryPeak& peak) {
  Json segments = Json::object();
  for (size_t i = 0; i < kSegmentNames.size(); ++i)
    segments[std::string(kSegmentNames[i])] = {{"at_peak_bytes", peak.whole.bytes[i]}, {"most_bytes", peak.most[i]}};
  return {{"peak_bytes", peak.whole.total}, {"segments", segments}};
}

Json step_json(const StepMemory& step) { return {{"first", peak_json(step.first)}, {"usual", peak_json(step.usual)}}; }

Json memory_json(const MemoryPlan& m) {
  Json weights = Json::array();
  for (const WeightBytes& w : m.weights)
    weights.push_back({{"role", w.role}, {"part", w.part}, {"tensors", w.tensors}, {"numbers", w.numbers}, {"bytes", w.bytes}});
  Json state = Json::array();
  for (const StateBytes& s : m.state)
    state.push_back(
        {{"rule", s.rule}, {"slot", s.slot}, {"format", s.format}, {"host", s.host}, {"tensors", s.tensors}, {"bytes", s.bytes}});
  return {{"weights", weights},
          {"weights_bytes", m.weight_bytes()},
          {"optimizer", state},
          {"optimizer_bytes", m.state_bytes()},
          {"step", step_json(m.step)},
          {"peak_bytes", m.peak()},
          {"checkpoint_bytes", m.checkpoint_bytes()}};
}

Json stages_json(const RunPlan& plan) {
  Json stages = Json::array();
  for (const PlannedStage& s : plan.stages)
    stages.push_back({{"first_step", s.first_step},
                      {"steps", s.steps},
                      {"tokens_per_step", s.tokens_per_step},
                      {"blocks", s.blocks},
                      {"parameters", s.parameters},
                      {"active_parameters", s.active},
                      {"flops_per_token", {{"weights", s.weight_flops}, {"attention", s.attention_flops}}},
                      {"memory", memory_json(s.memory)}});
  return stages;
}

Json growth_json(const PlanOutput& o) {
  const GrowthAdvice advice = advise_growth(o.config, o.plan);
  Json json = {{"guideline",
                {{"factor", advice.factor},
                 {"from_blocks", advice.from},
                 {"tokens", advice.tokens},
                 {"bounded", advice.bounded},
                 {"saved", advice.saved}}}};
  if (grows(o.plan)) json["saved"] = saved_by_growth(o.plan);
  return json;
}

}  // namespace

Json plan_json(const PlanOutput& o) {
  Json whole = Json::array();
  for (const WholeGradients& w : o.plan.whole_gradients)
    whole.push_back({{"rule", w.rule}, {"steps", w.steps}, {"at_most", w.at_most}, {"staggered", w.staggered}});
  Json actions = Json::array();
  for (const PlannedAction& a : o.plan.actions) actions.push_back({{"action", a.name}, {"times", a.steps.size()}, {"steps", a.steps}});
  Json processes = Json::array();
  for (const ProcessesPlan& p : o.processes) {
    processes.push_back({{"processes", p.processes}, {"shard", enum_name(p.shard)}, {"micro_batches", p.micro_batches}, {"balance", p.balance},
                         {"peak_bytes", p.peak}, {"sent_bytes", p.sent}, {"messages", p.rounds}, {"flops", p.flops}});
    if (o.bandwidth > 0) processes.back()["communication_seconds"] = p.communication_seconds(o.bandwidth, o.latency);
  }
  Json savings = Json::array();
  for (const Saving& s : o.savings)
    savings.push_back({{"overrides", s.overrides}, {"peak_bytes", s.peak}, {"more_compute", s.more_compute}, {"lossy", s.lossy}, {"remark", s.remark}});
  Json json = {{"steps", o.plan.steps},
               {"tokens", o.plan.tokens()},
               {"passes", o.plan.passes},
               {"flops", o.plan.flops()},
               {"peak_bytes", o.plan.largest().memory.peak()},
               {"stages", stages_json(o.plan)},
               {"whole_gradients", whole},
               {"savings", savings},
               {"processes", processes},
               {"timeline", actions}};
  if (o.measured) json["measured"] = step_json(*o.measured);
  if (o.flops > 0) json["seconds"] = o.plan.flops() / o.flops;
  if (grows(o.plan) || o.growth) json["growth"] = growth_json(o);
  return json;
}

}  // namespace tersor
