// plan: what a run will need and do, before anything is allocated.
#include "core/base/quantity.h"
#include "core/cli/commands.h"
#include "core/cli/config_words.h"
#include "core/growth/growth.h"
#include "core/train/run_plan.h"

namespace tersor {
namespace {

struct PlanArguments {
  std::vector<std::string> words;
  double flops = 0;
  std::string budget;
  bool growth = false;
  bool json = false;
};

// When to grow to a depth, by G_stack's guideline, and what it saves.
struct GrowthAdvice {
  int64_t factor = 0;    // 0: the depth has no divisor that is near the best
  int64_t from = 0;      // blocks
  double tokens = 0;     // of the small model
  bool bounded = false;  // by a tenth of the run, because the guideline says more
  double saved = 0;      // share of the compute of the deep model on as many tokens
};

GrowthAdvice advise(const RunConfig& config, const RunPlan& plan) {
  const PlannedStage& last = plan.stages.back();
  GrowthAdvice advice{.tokens = stacking_tokens(static_cast<double>(last.parameters), plan.tokens())};
  advice.bounded = advice.tokens >= plan.tokens() / 10;
  for (const int64_t factor : {4, 3, 2})
    if (advice.factor == 0 && last.blocks % factor == 0) advice.factor = factor;
  if (advice.factor == 0) return advice;
  advice.from = last.blocks / advice.factor;
  const double share = flops_per_token(config, advice.from) / (last.weight_flops + last.attention_flops);
  advice.saved = advice.tokens / plan.tokens() * (1 - share);
  return advice;
}

bool grows(const RunPlan& plan) {
  return plan.stages.back().blocks > plan.stages.front().blocks;
}

// Of the compute of the last stage's model on as many tokens.
double saved_by_growth(const RunPlan& plan) {
  const PlannedStage& last = plan.stages.back();
  return 1 - plan.flops() / (plan.passes * plan.tokens() * (last.weight_flops + last.attention_flops));
}

std::optional<int64_t> read_budget(const std::string& text) {
  if (text.empty()) return std::nullopt;
  Diagnostics out;
  Bytes budget;
  detail::OptionType<Bytes>::read({.kind = ConfigNode::Kind::kScalar, .scalar = text, .path = "--budget"}, budget, out);
  out.throw_if_any();
  if (budget.value <= 0) throw user_error("--budget: must be an amount of memory such as 24GiB, not '{}'", text);
  return budget.value;
}

// --- for machines ---

Json memory_json(const MemoryPlan& m) {
  Json weights = Json::array();
  for (const WeightBytes& w : m.weights)
    weights.push_back({{"role", w.role}, {"part", w.part}, {"tensors", w.tensors}, {"numbers", w.numbers}, {"bytes", w.bytes}});
  Json state = Json::array();
  for (const StateBytes& s : m.state)
    state.push_back(
        {{"rule", s.rule}, {"slot", s.slot}, {"format", s.format}, {"host", s.host}, {"tensors", s.tensors}, {"bytes", s.bytes}});
  const ActivationBytes& a = m.activations;
  return {{"weights", weights},
          {"weights_bytes", m.weight_bytes()},
          {"optimizer", state},
          {"optimizer_bytes", m.state_bytes()},
          {"gradients", {{"most_bytes", m.gradients.most}, {"usual_bytes", m.gradients.usual}, {"largest_bytes", m.gradients.largest}}},
          {"activations_estimate",
           {{"norms_bytes", a.norms},
            {"attention_bytes", a.attention},
            {"mlp_bytes", a.mlp},
            {"factors_bytes", a.factors},
            {"loss_bytes", a.loss},
            {"backward_bytes", a.backward}}},
          {"update_estimate_bytes", m.update},
          {"peak_estimate_bytes", m.peak()},
          {"checkpoint_bytes", m.checkpoint_bytes()}};
}

Json plan_json(const RunConfig& config, const RunPlan& plan, const PlanArguments& arguments) {
  Json stages = Json::array();
  for (const PlannedStage& s : plan.stages)
    stages.push_back({{"first_step", s.first_step},
                      {"steps", s.steps},
                      {"blocks", s.blocks},
                      {"parameters", s.parameters},
                      {"active_parameters", s.active},
                      {"flops_per_token", {{"weights", s.weight_flops}, {"attention", s.attention_flops}}},
                      {"memory", memory_json(s.memory)}});
  Json whole = Json::array();
  for (const WholeGradients& w : plan.whole_gradients)
    whole.push_back({{"rule", w.rule}, {"steps", w.steps}, {"at_most", w.at_most}, {"staggered", w.staggered}});
  Json actions = Json::array();
  for (const PlannedAction& a : plan.actions) actions.push_back({{"action", a.name}, {"times", a.steps.size()}, {"steps", a.steps}});
  Json json = {{"steps", plan.steps},
               {"tokens_per_step", plan.tokens_per_step},
               {"tokens", plan.steps * plan.tokens_per_step},
               {"passes", plan.passes},
               {"flops", plan.flops()},
               {"peak_estimate_bytes", plan.largest().memory.peak()},
               {"stages", stages},
               {"whole_gradients", whole},
               {"timeline", actions}};
  if (arguments.flops > 0) json["seconds"] = plan.flops() / arguments.flops;
  if (grows(plan) || arguments.growth) {
    const GrowthAdvice advice = advise(config, plan);
    json["growth"] = {{"guideline",
                       {{"factor", advice.factor},
                        {"from_blocks", advice.from},
                        {"tokens", advice.tokens},
                        {"bounded", advice.bounded},
                        {"saved", advice.saved}}}};
    if (grows(plan)) json["growth"]["saved"] = saved_by_growth(plan);
  }
  if (const auto budget = read_budget(arguments.budget)) {
    json["budget_bytes"] = *budget;
    json["fits"] = plan.largest().memory.peak() <= *budget;
  }
  return json;
}

// --- for people ---

void line(const std::string& what, const std::string& amount, const std::string& more = "") {
  fmt::print("  {:<40} {:>12}{}{}\n", what, amount, more.empty() ? "" : "  ", more);
}
void bytes_line(const std::string& what, int64_t bytes, const std::string& more = "") {
  line(what, format_bytes(static_cast<double>(bytes)), more);
}

void print_exact(const MemoryPlan& m) {
  fmt::print("\n{:<42} {:>12}  {:>8}  {:>8}\n", "weights", "bytes", "tensors", "numbers");
  for (const WeightBytes& w : m.weights)
    bytes_line(fmt::format("{:<10} {}", w.role, w.part), w.bytes,
               fmt::format("{:>8}  {:>8}", w.tensors, format_count(static_cast<double>(w.numbers))));
  bytes_line("all", m.weight_bytes());
  fmt::print("\n{:<42} {:>12}  {:>8}\n", "optimizer state", "bytes", "tensors");
  for (const StateBytes& s : m.state)
    bytes_line(fmt::format("{:<10} {:<18} {}", s.rule, s.slot, s.format), s.bytes,
               fmt::format("{:>8}{}", s.tensors, s.host ? "  in host memory" : ""));
  bytes_line("all", m.state_bytes());
}

void print_memory(const RunConfig& config, const RunPlan& plan, const PlannedStage& stage) {
  const MemoryPlan& m = stage.memory;
  if (plan.stages.size() > 1)
    fmt::print("\nmemory of steps {} to {}, where it is largest\n", stage.first_step, stage.first_step + stage.steps - 1);
  print_exact(m);
  const bool during = config.optimizer.update == UpdateMode::kDuringBackward;
  fmt::print("\ngradients, update: {}\n", during ? "during_backward" : "after_backward");
  const bool less = m.gradients.usual < m.gradients.most;
  if (m.gradients.most > 0)
    bytes_line(less ? "held at once, whole" : "held at once", m.gradients.most, less ? "at the first step and those below" : "");
  if (less) bytes_line("held at once, projected", m.gradients.usual, "at other steps");
  bytes_line("the largest", m.gradients.largest);
  for (const WholeGradients& w : plan.whole_gradients)
    line(fmt::format("{} needs them whole at", w.rule), fmt::format("{}", w.steps),
         fmt::format("of {} steps{}{}", plan.steps, w.at_most ? ", at most" : "", w.staggered ? ", each parameter at its own" : ""));
  const ActivationBytes& a = m.activations;
  fmt::print("\nactivations of a micro-batch of {} × {} tokens, estimated\n", config.train.micro_batch_size, config.data.sequence_length);
  bytes_line("norms", a.norms);
  bytes_line("attention", a.attention);
  bytes_line("mlp", a.mlp);
  if (a.factors > 0) bytes_line("between factors", a.factors);
  bytes_line("loss", a.loss,
             fmt::format("logits of {} tokens at a time",
                         std::min(config.train.loss_chunk, config.train.micro_batch_size * config.data.sequence_length)));
  bytes_line("backward pass of a block", a.backward);
  fmt::print("\nin all\n");
  bytes_line("workspace of an update, estimated", m.update);
  bytes_line("peak, estimated", m.peak(), "besides the program itself");
  bytes_line("a checkpoint", m.checkpoint_bytes(),
             fmt::format("{} on disk while one of {} is replaced",
                         format_bytes(static_cast<double>((config.checkpoint.keep + 1) * m.checkpoint_bytes())), config.checkpoint.keep));
}

void print_compute(const RunPlan& plan, double rate) {
  fmt::print("\ncompute\n");
  for (const PlannedStage& s : plan.stages) {
    const std::string where = plan.stages.size() > 1 ? fmt::format("steps {} to {}", s.first_step, s.first_step + s.steps - 1) : "";
    line("weights, FLOPs a token", fmt::format("{:.3g}", s.weight_flops), where);
    line("attention, FLOPs a token", fmt::format("{:.3g}", s.attention_flops), where);
  }
  if (plan.passes > 1)
    line("passes over each token", fmt::format("{:.4f}", plan.passes),
         "clipping and skipping need the norm first: the last micro-batch runs twice");
  line("the run, FLOPs", fmt::format("{:.3g}", plan.flops()), fmt::format("{} tokens", format_count(plan.tokens())));
  if (rate > 0) line("time", format_duration(plan.flops() / rate), fmt::format("at {:.3g} FLOPs a second", rate));
}

void print_timeline(const RunPlan& plan) {
  if (plan.actions.empty()) return;
  fmt::print("\ntimeline\n");
  for (const PlannedAction& a : plan.actions) {
    const size_t shown = std::min<size_t>(a.steps.size(), 4);
    std::string steps = fmt::format("{}", fmt::join(a.steps.begin(), a.steps.begin() + static_cast<std::ptrdiff_t>(shown), ", "));
    if (a.steps.size() > shown) steps += fmt::format(", …, {}", a.steps.back());
    line(a.name, fmt::format("{} times", a.steps.size()), a.steps.empty() ? "never due" : "after step " + steps);
  }
}

void print_growth(const RunConfig& config, const RunPlan& plan, bool asked) {
  if (!grows(plan) && !asked) return;
  fmt::print("\ngrowth\n");
  for (size_t i = 1; i < plan.stages.size(); ++i) {
    const PlannedStage& from = plan.stages[i - 1];
    const PlannedStage& to = plan.stages[i];
    if (to.blocks == from.blocks) continue;
    fmt::print("  after step {} ({} tokens): {} → {} blocks, {} → {} parameters\n", to.first_step - 1,
               format_count(static_cast<double>((to.first_step - 1) * plan.tokens_per_step)), from.blocks, to.blocks,
               format_count(static_cast<double>(from.parameters)), format_count(static_cast<double>(to.parameters)));
  }
  const int64_t blocks = plan.stages.back().blocks;
  if (grows(plan))
    fmt::print("  {:.1f} % less compute than {} blocks from the start on as many tokens\n", 100 * saved_by_growth(plan), blocks);
  const GrowthAdvice advice = advise(config, plan);
  if (advice.factor == 0) {
    fmt::print("  G_stack's guideline: × 4 (2 to 4 are near the best), and {} blocks have no such divisor\n", blocks);
    return;
  }
  fmt::print(
      "  G_stack's guideline for {} blocks: × {} (2 to 4 are near the best) from {} blocks after {} tokens{}, {:.1f} % less compute\n",
      blocks, advice.factor, advice.from, format_count(advice.tokens), advice.bounded ? " (a tenth of the run; the fit says more)" : "",
      100 * advice.saved);
  fmt::print("  the paper's 7B reached the loss of 300B tokens from scratch after 194B; this is no forecast for other runs\n");
  if (!grows(plan))
    fmt::print(
        "  model.num_hidden_layers={} 'timeline=[{{do: {{type: grow, growth: {{type: stack, factor: {}}}}}, when: at {:.0f} tokens}}]'\n",
        advice.from, advice.factor, advice.tokens);
}

void print_plan(const RunConfig& config, const RunPlan& plan, const PlanArguments& arguments) {
  const PlannedStage& largest = plan.largest();
  const int64_t micro_batches = config.train.global_batch_size / config.train.micro_batch_size;
  fmt::print("{}: {} parameters in {} blocks, {} in products, {}\n", config.run.name, format_count(static_cast<double>(largest.parameters)),
             largest.blocks, format_count(static_cast<double>(largest.active)), config.run.dtype == Dtype::kBf16 ? "bf16" : "fp32");
  fmt::print("{} steps of {} tokens in {} micro-batch{}, {} tokens in all\n", plan.steps, plan.tokens_per_step, micro_batches,
             micro_batches == 1 ? "" : "es", format_count(plan.tokens()));
  print_memory(config, plan, largest);
  print_compute(plan, arguments.flops);
  print_timeline(plan);
  print_growth(config, plan, arguments.growth);
}

int plan(const PlanArguments& arguments) {
  const auto budget = read_budget(arguments.budget);
  const auto [files, overrides] = sort_words(arguments.words, {"--flops", "--budget", "--growth", "--json", "--help"});
  const RunConfig config = read_run_config(files, overrides);
  const RunPlan planned = plan_run(config);
  if (arguments.json)
    fmt::print("{}\n", plan_json(config, planned, arguments).dump(2));
  else
    print_plan(config, planned, arguments);
  const int64_t peak = planned.largest().memory.peak();
  if (!budget || peak <= *budget) return kExitDone;
  std::fflush(stdout);  // the verdict comes last
  fmt::print(stderr, "it does not fit: the estimated peak of {} is {} above the budget of {}\n", format_bytes(static_cast<double>(peak)),
             format_bytes(static_cast<double>(peak - *budget)), format_bytes(static_cast<double>(*budget)));
  return kExitRejected;
}

}  // namespace

void add_plan_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<PlanArguments>();
  CLI::App* command = app.add_subcommand("plan", "memory, compute and schedule of a run, before anything is allocated");
  command->add_option("--flops", arguments->flops, "floating-point operations a second that are reached, to tell the time")
      ->check(CLI::PositiveNumber);
  command->add_option("--budget", arguments->budget, "memory that there is, for instance 24GiB; exit code 2 where the run does not fit");
  command->add_flag("--growth", arguments->growth, "when the model could be grown from a shallower one, by the guideline of G_stack");
  command->add_flag("--json", arguments->json, "exact numbers for machines");
  command->allow_extras();
  command->footer("tersor plan configs/model/llama_7b.yaml configs/data/synthetic.yaml configs/method/galore.yaml --flops 50e12");
  command->callback([command, arguments, &exit_code] {
    arguments->words = command->remaining();
    exit_code = plan(*arguments);
  });
}

}  // namespace tersor
