#include "core/train/run_plan.h"

#include "core/train/prepare.h"

namespace tersor {
namespace {

PlannedStage stage_of(const RunConfig& config, const Llama& shapes, int64_t first_step) {
  const ModelConfig& m = shapes.config();
  const auto q = static_cast<double>(m.num_attention_heads * m.head_width());
  return {.first_step = first_step,
          .blocks = m.num_hidden_layers,
          .parameters = shapes.num_parameters(),
          .active = shapes.num_active(),
          .weight_flops = 6.0 * static_cast<double>(shapes.num_active()),
          .attention_flops = 6.0 * static_cast<double>(m.num_hidden_layers) * q * static_cast<double>(config.data.sequence_length + 1),
          .memory = plan_memory(config, shapes)};
}

// Walks through the run as the trainer does, with the actions' changes of structure and nothing else.
class Walk {
 public:
  explicit Walk(const RunConfig& config) : config_(config), shapes_(shapes_of(config)) {
    for (const TimelineEntry& entry : config.timeline) {
      actions_.push_back(entry.action.build());
      plan_.actions.push_back({entry.action.type(), {}});
    }
    plan_.steps = config.total_steps();
    plan_.tokens_per_step = config.tokens_per_step();
    begin_stage(1);
    for (int64_t step = 1; step <= plan_.steps; ++step) {
      advance(step);
      run(Phase::kBeforeUpdate, step);
      run(Phase::kAfterUpdate, step + 1);
    }
    plan_.stages.back().steps = plan_.steps + 1 - plan_.stages.back().first_step;
    check_groups(params_, config.optimizer.groups);
  }
  [[nodiscard]] RunPlan& plan() { return plan_; }

 private:
  void begin_stage(int64_t first_step) {
    if (!plan_.stages.empty()) plan_.stages.back().steps = first_step - plan_.stages.back().first_step;
    if (!plan_.stages.empty() && plan_.stages.back().steps == 0) plan_.stages.pop_back();
    plan_.stages.push_back(stage_of(config_, shapes_, first_step));
    params_.push_back(shapes_.params());
  }
  void advance(int64_t step) {
    const int64_t before = (step - 1) * plan_.tokens_per_step;
    const double flops = 6.0 * static_cast<double>(plan_.stages.back().active) * static_cast<double>(plan_.tokens_per_step);
    now_ = {step, before + plan_.tokens_per_step, before, plan_.steps, plan_.steps * plan_.tokens_per_step, now_.flops + flops, now_.flops};
  }
  void run(Phase phase, int64_t holds_from) {
    bool changed = false;
    for (size_t i = 0; i < actions_.size(); ++i) {
      if (actions_[i]->phase() != phase || !config_.timeline[i].when.due(now_)) continue;
      plan_.actions[i].steps.push_back(now_.step);
      const size_t kinds = shapes_.structure().parameterizations.size();
      const int64_t blocks = shapes_.config().num_hidden_layers;
      actions_[i]->change_structure(shapes_);
      changed = changed || shapes_.structure().parameterizations.size() != kinds || shapes_.config().num_hidden_layers != blocks;
    }
    if (changed && holds_from <= plan_.steps) begin_stage(holds_from);
  }

  const RunConfig& config_;
  Llama shapes_;
  std::vector<std::unique_ptr<Action>> actions_;
  std::vector<std::vector<Param>> params_;  // of every stage
  Progress now_;
  RunPlan plan_;
};

bool keeps_bases(const std::vector<SlotSpec>& slots) {
  return std::any_of(slots.begin(), slots.end(), [](const SlotSpec& s) { return s.kind == SlotKind::kProjector; });
}

// Steps at which a rule with a Compression needs a gradient whole, for a parameter at `place` of its group. What decides is
// in the rule's host slots, which a first step of a small matrix brings into the state that they have during a run.
std::vector<int64_t> whole_steps(const UpdateRule& rule, const RunConfig& config, double place) {
  const auto step_info = [&](int64_t step) {
    const int64_t tokens = config.tokens_per_step();
    return StepInfo{.progress = {step, step * tokens, (step - 1) * tokens, config.total_steps(), config.total_steps() * tokens},
                    .param = "w",
                    .place = place};
  };
  Slots slots;
  Slots host;
  for (const SlotSpec& spec : rule.slots({{4, 4}, std::nullopt})) {
    slots.add(spec.name, at::zeros(spec.shape, at::kFloat));
    if (spec.kind == SlotKind::kHost) host.add(spec.name, slots[spec.name]);
  }
  std::vector<int64_t> steps;
  for (int64_t step = 1; step <= config.total_steps(); ++step) {
    if (!rule.compression()->applies(step_info(step), host)) steps.push_back(step);
    if (step == 1) (void)rule.direction(at::arange(16, at::kFloat).view({4, 4}), slots, step_info(step));
  }
  return steps;
}

std::vector<WholeGradients> whole_gradients(const RunConfig& config) {
  std::vector<WholeGradients> all;
  for (const GroupConfig& group : config.optimizer.groups) {
    const auto rule = group.rule.build();
    if (!keeps_bases(rule->slots({{4, 4}, std::nullopt}))) continue;
    WholeGradients need{.rule = group.rule.type(), .steps = config.total_steps()};
    if (rule->compression() != nullptr) {
      const Json options = group.rule.to_json();
      need.at_most = options.contains("lazy") && !options["lazy"].is_null();
      const std::vector<int64_t> steps = whole_steps(*rule, config, 0);
      need.steps = static_cast<int64_t>(steps.size());
      need.staggered = steps != whole_steps(*rule, config, 0.5);
    }
    all.push_back(need);
  }
  return all;
}

}  // namespace

RunPlan plan_run(const RunConfig& config) {
  const Timeline timeline(config.timeline);
  timeline.check({.global_batch_size = config.train.global_batch_size, .sequence_length = config.data.sequence_length});
  RunPlan plan = std::move(Walk(config).plan());
  plan.whole_gradients = whole_gradients(config);
  const OptimizerConfig& o = config.optimizer;
  if (o.update == UpdateMode::kDuringBackward && (o.clip_norm || o.on_nonfinite == OnNonfinite::kSkip))
    plan.passes += static_cast<double>(config.train.micro_batch_size) / static_cast<double>(config.train.global_batch_size);
  return plan;
}

double flops_per_token(RunConfig config, int64_t blocks) {
  config.model.num_hidden_layers = blocks;
  const PlannedStage stage = stage_of(config, shapes_of(config), 1);
  return stage.weight_flops + stage.attention_flops;
}

const PlannedStage& RunPlan::largest() const {
  return *std::max_element(stages.begin(), stages.end(),
                           [](const PlannedStage& a, const PlannedStage& b) { return a.memory.peak() < b.memory.peak(); });
}

double RunPlan::flops() const {
  double total = 0;
  for (const PlannedStage& stage : stages)
    total += static_cast<double>(stage.steps * tokens_per_step) * (stage.weight_flops + stage.attention_flops);
  return passes * total;
}

}  // namespace tersor
