#include "core/train/run_plan.h"

#include "core/train/loaded_run.h"
#include "core/train/prepare.h"
#include "core/train/walk.h"

namespace tersor {
namespace {

void count_flops(PlannedStage& stage, const RunConfig& config, const Llama& shapes) {
  const ModelConfig& m = shapes.config();
  const auto q = static_cast<double>(m.num_attention_heads * m.head_width());
  stage.weight_flops = training_flops(static_cast<double>(shapes.num_active()), 1);
  stage.attention_flops = 6.0 * static_cast<double>(m.num_hidden_layers) * q * static_cast<double>(config.data.sequence_length + 1);
}

std::vector<LoadedRun> shapes_of_teachers(const RunConfig& config) {
  std::vector<LoadedRun> all;
  if (config.distill)
    for (const std::filesystem::path& place : config.distill->from) all.push_back(load_run(place, at::kMeta));
  return all;
}

// A teacher's forward pass takes a third of the compute of its training.
void add_teachers(PlannedStage& stage, const RunConfig& config, const std::vector<LoadedRun>& teachers) {
  for (const LoadedRun& teacher : teachers) {
    PlannedStage own;
    count_flops(own, config, *teacher.model);
    stage.weight_flops += own.weight_flops / 3;
    stage.attention_flops += own.attention_flops / 3;
  }
}

// The configuration as if it had been written for a stage.
RunConfig config_of(RunConfig config, const LiveSettings& settings) {
  const int64_t pieces = config.data.sequence_length / settings.sequence_length;  // per window
  config.train.global_batch_size = settings.global_batch_size * pieces;
  config.train.micro_batch_size = settings.micro_batch_size * pieces;
  config.data.sequence_length = settings.sequence_length;
  return config;
}

PlannedStage stage_of(const RunConfig& config, Llama& shapes, const std::vector<LoadedRun>& teachers, int64_t first_step) {
  PlannedStage stage{.first_step = first_step,
                     .blocks = shapes.config().num_hidden_layers,
                     .parameters = shapes.num_parameters(),
                     .active = shapes.num_active(),
                     .micro_batch_size = config.train.micro_batch_size,
                     .sequence_length = config.data.sequence_length,
                     .tokens_per_step = config.tokens_per_step(),
                     .memory = plan_memory(config, shapes)};
  count_flops(stage, config, shapes);
  add_teachers(stage, config, teachers);
  return stage;
}

bool keeps_bases(const std::vector<SlotSpec>& slots) {
  return std::any_of(slots.begin(), slots.end(), [](const SlotSpec& s) { return s.kind == SlotKind::kProjector; });
}

// Steps at which a rule with a Compression needs the whole gradient of a parameter at `place` in its group. The rule decides that by
// its host slots, so a first step on a small matrix brings them into the state that they have during a run.
std::vector<int64_t> whole_steps(const UpdateRule& rule, const Progress& first, double place) {
  const auto step_info = [&](int64_t step) { return StepInfo{.progress = first.shifted(step - 1), .param = "w", .place = place}; };
  Slots slots;
  Slots host;
  for (const SlotSpec& spec : rule.slots({{4, 4}, std::nullopt})) {
    slots.add(spec.name, at::zeros(spec.shape, at::kFloat));
    if (spec.kind == SlotKind::kHost) host.add(spec.name, slots[spec.name]);
  }
  std::vector<int64_t> steps;
  for (int64_t step = 1; step <= first.total_steps; ++step) {
    if (!rule.compression()->applies(step_info(step), host)) steps.push_back(step);
    if (step == 1) (void)rule.direction(at::arange(16, at::kFloat).view({4, 4}), slots, step_info(step));
  }
  return steps;
}

std::vector<WholeGradients> whole_gradients(const RunConfig& config, const Progress& first) {
  std::vector<WholeGradients> all;
  for (const GroupConfig& group : config.optimizer.groups) {
    const auto rule = group.rule.build();
    if (!keeps_bases(rule->slots({{4, 4}, std::nullopt}))) continue;
    WholeGradients need{.rule = group.rule.type(), .steps = config.total_steps()};
    if (rule->compression() != nullptr) {
      need.at_most = rule->compression()->depends_on_gradients();
      const std::vector<int64_t> steps = whole_steps(*rule, first, 0);
      need.steps = static_cast<int64_t>(steps.size());
      need.staggered = steps != whole_steps(*rule, first, 0.5);
    }
    all.push_back(need);
  }
  return all;
}

}  // namespace

Progress first_step(const RunConfig& config, int64_t active_parameters) {
  const int64_t tokens = config.tokens_per_step();
  const Progress before{.total_steps = config.total_steps(), .total_tokens = config.total_steps() * tokens};
  return before.next(tokens, training_flops(static_cast<double>(active_parameters), static_cast<double>(tokens)));
}

double passes(const RunConfig& config) {
  const double once_more = static_cast<double>(config.train.micro_batch_size) / static_cast<double>(config.train.global_batch_size);
  return config.optimizer.two_passes() ? 1 + once_more : 1;
}

RunPlan plan_run(const RunConfig& config) {
  RunPlan plan{.steps = config.total_steps(), .passes = passes(config)};
  for (const TimelineEntry& entry : config.timeline) plan.actions.push_back({entry.action.type(), {}});
  std::vector<std::vector<Param>> params;
  const std::vector<GroupMethods> methods = build_methods(config.optimizer.groups);
  const std::vector<LoadedRun> teachers = shapes_of_teachers(config);
  const auto begin_stage = [&](int64_t first_step, Llama& shapes, const LiveSettings& settings) {
    if (!plan.stages.empty() && plan.stages.back().first_step == first_step) plan.stages.pop_back();
    if (!plan.stages.empty()) plan.stages.back().steps = first_step - plan.stages.back().first_step;
    params.push_back(shapes.params());
    (void)assign_groups(params.back(), config.optimizer.groups, methods);
    plan.stages.push_back(stage_of(config_of(config, settings), shapes, teachers, first_step));
  };
  walk_run(config, {.stage = begin_stage, .due = [&](size_t action, int64_t step) { plan.actions[action].steps.push_back(step); }});
  check_groups(params, config.optimizer.groups);
  plan.stages.back().steps = plan.steps + 1 - plan.stages.back().first_step;
  plan.whole_gradients = whole_gradients(config, first_step(config, plan.stages.front().active));
  return plan;
}

double flops_per_token(RunConfig config, int64_t blocks) {
  config.model.num_hidden_layers = blocks;
  PlannedStage stage;
  count_flops(stage, config, shapes_of(config));
  return stage.weight_flops + stage.attention_flops;
}

const PlannedStage& RunPlan::largest() const {
  return *std::max_element(stages.begin(), stages.end(),
                           [](const PlannedStage& a, const PlannedStage& b) { return a.memory.peak() < b.memory.peak(); });
}

double RunPlan::flops() const {
  double total = 0;
  for (const PlannedStage& stage : stages)
    total += static_cast<double>(stage.steps * stage.tokens_per_step) * (stage.weight_flops + stage.attention_flops);
  return passes * total;
}

double RunPlan::tokens() const {
  double total = 0;
  for (const PlannedStage& stage : stages) total += static_cast<double>(stage.steps * stage.tokens_per_step);
  return total;
}

}  // namespace tersor
