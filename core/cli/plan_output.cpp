#include "core/cli/plan_output.h"

#include "core/base/quantity.h"
#include "core/cli/config_words.h"

namespace tersor {
namespace {

void line(const std::string& what, const std::string& amount, const std::string& more = "") {
  fmt::print("  {:<40} {:>12}{}{}\n", what, amount, more.empty() ? "" : "  ", more);
}
void bytes_line(const std::string& what, int64_t bytes, const std::string& more = "") {
  line(what, format_bytes(bytes), more);
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

// All segments when the total is largest, then some of them at their own largest.
void print_step(const StepMemory& step) {
  fmt::print("\n{:<40} {:>14}{:>14}\n", "the fullest moment of a step", "the first", "others");
  const auto row = [](std::string_view name, int64_t first, int64_t usual) {
    fmt::print("  {:<38} {:>14}{:>14}\n", name, format_bytes(first), format_bytes(usual));
  };
  for (size_t i = 0; i < kSegmentNames.size(); ++i)
    if (step.first.most[i] > 0 || step.usual.most[i] > 0) row(kSegmentNames[i], step.first.whole.bytes[i], step.usual.whole.bytes[i]);
  row("all", step.first.whole.total, step.usual.whole.total);
  const auto most = [&](Segment s) { return std::max(step.first.most_of(s), step.usual.most_of(s)); };
  fmt::print("\neach at its own fullest\n");
  bytes_line("gradients, the first step", step.first.most_of(Segment::kGradients));
  bytes_line("gradients, other steps", step.usual.most_of(Segment::kGradients));
  bytes_line("activations and logits", most(Segment::kActivations));
  bytes_line("what comes and goes", most(Segment::kTemporary), "of backward passes and updates");
}

void print_memory(const RunConfig& config, const RunPlan& plan, const PlannedStage& stage) {
  const MemoryPlan& m = stage.memory;
  if (plan.stages.size() > 1)
    fmt::print("\nmemory of steps {} to {}, where it is largest\n", stage.first_step, stage.first_step + stage.steps - 1);
  print_exact(m);
  print_step(m.step);
  for (const WholeGradients& w : plan.whole_gradients)
    line(fmt::format("{} needs gradients whole at", w.rule), fmt::format("{}", w.steps),
         fmt::format("of {} steps{}{}", plan.steps, w.at_most ? ", at most" : "", w.staggered ? ", each parameter at its own" : ""));
  fmt::print("\nin all\n");
  bytes_line("peak", m.peak(), "besides the program itself");
  bytes_line("a checkpoint", m.checkpoint_bytes(),
             fmt::format("{} on disk while one of {} is replaced",
                         format_bytes((config.checkpoint.keep + 1) * m.checkpoint_bytes()), config.checkpoint.keep));
}

void print_savings(const PlanOutput& o) {
  if (o.savings.empty()) return;
  fmt::print("\nwhat would make it smaller, each by itself\n");
  const int64_t peak = o.plan.largest().memory.peak();
  for (const Saving& saving : o.savings)
    fmt::print("  {:<40} {:>12}  {}\n", quoted(saving.overrides), "−" + format_bytes(peak - saving.peak), price_of(saving));
}

void print_measured(const PlanOutput& o) {
  if (!o.measured) return;
  const MemoryPeak& planned = o.plan.stages.front().memory.step.largest();
  const MemoryPeak& measured = o.measured->largest();
  fmt::print("\nmeasured in two steps, each segment at its own fullest\n  {:<38} {:>14}{:>14}{:>10}\n", "", "plan", "measured", "plan off");
  const auto row = [](std::string_view name, int64_t plan, int64_t real) {
    const double off = real > 0 ? 100.0 * (static_cast<double>(plan) / static_cast<double>(real) - 1) : 0;
    fmt::print("  {:<38} {:>14}{:>14}{:>8.1f} %\n", name, format_bytes(plan), format_bytes(real), off);
  };
  for (size_t i = 0; i < kSegmentNames.size(); ++i)
    if (planned.most[i] > 0 || measured.most[i] > 0) row(kSegmentNames[i], planned.most[i], measured.most[i]);
  row("all together", planned.whole.total, measured.whole.total);
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
    line(a.name, fmt::format("{} times", a.steps.size()), a.steps.empty() ? "never due" : "at step " + steps);
  }
}

void print_growth(const RunConfig& config, const RunPlan& plan, bool asked) {
  if (!grows(plan) && !asked) return;
  fmt::print("\ngrowth\n");
  int64_t tokens = 0;
  for (size_t i = 1; i < plan.stages.size(); ++i) {
    const PlannedStage& from = plan.stages[i - 1];
    const PlannedStage& to = plan.stages[i];
    tokens += from.steps * from.tokens_per_step;
    if (to.blocks == from.blocks) continue;
    fmt::print("  after step {} ({} tokens): {} → {} blocks, {} → {} parameters\n", to.first_step - 1,
               format_count(static_cast<double>(tokens)), from.blocks, to.blocks,
               format_count(static_cast<double>(from.parameters)), format_count(static_cast<double>(to.parameters)));
  }
  const int64_t blocks = plan.stages.back().blocks;
  if (grows(plan))
    fmt::print("  {:.1f} % less compute than {} blocks from the start on as many tokens\n", 100 * saved_by_growth(plan), blocks);
  const GrowthAdvice advice = advise_growth(config, plan);
  if (advice.factor == 0) {
    fmt::print("  G_stack's guideline: × 4 (2 to 4 are near the best), but {} blocks have no such divisor\n", blocks);
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

// Seconds of a step: computation, plus communication as if nothing overlapped.
void print_processes(const PlanOutput& o) {
  if (o.processes.empty()) return;
  fmt::print("\n{:<20}{:>13}{:>10}{:>12}{:>16}{:>12}{}\n", "processes", "micro-batches", "balance", "peak", "sent by each", "messages",
             o.bandwidth > 0 ? fmt::format("{:>12}{}", "sending", o.flops > 0 ? fmt::format("{:>12}", "a step") : "") : "");
  for (const ProcessesPlan& p : o.processes) {
    std::string times;
    if (o.bandwidth > 0) {
      const double sending = p.communication_seconds(o.bandwidth, o.latency);
      times = fmt::format("{:>10.3g} s", sending);
      if (o.flops > 0) times += fmt::format("{:>10.3g} s", p.flops / o.flops + sending);
    }
    fmt::print("  {:<18}{:>13}{:>10.2f}{:>12}{:>16}{:>12}{}\n", fmt::format("{}, shard={}", p.processes, enum_name(p.shard)), p.micro_batches, p.balance,
               format_bytes(p.peak), format_bytes(p.sent), p.rounds, times);
  }
  fmt::print("  peak: of the process with the most; balance: what it owns over the mean; sent: in an ordinary step; a step: without overlap\n");
}

}  // namespace

std::string price_of(const Saving& saving) {
  std::vector<std::string> parts;
  if (saving.more_compute > 0) parts.push_back(fmt::format("{:.0f} % more compute", 100 * saving.more_compute));
  if (!saving.remark.empty()) parts.push_back(saving.remark);
  if (!saving.lossy && saving.more_compute == 0 && saving.remark.empty()) parts.emplace_back("at no cost");
  return fmt::format("{}", fmt::join(parts, "; "));
}

void print_plan(const PlanOutput& o) {
  const PlannedStage& largest = o.plan.largest();
  const int64_t micro_batches = largest.tokens_per_step / (largest.micro_batch_size * largest.sequence_length);
  fmt::print("{}: {} parameters in {} blocks, {} in products, {}\n", o.config.run.name, format_count(static_cast<double>(largest.parameters)),
             largest.blocks, format_count(static_cast<double>(largest.active)), enum_name(o.config.run.dtype));
  fmt::print("{} steps of {} tokens in {} micro-batch{} of {} × {}, {} tokens in all\n", o.plan.steps, largest.tokens_per_step, micro_batches,
             micro_batches == 1 ? "" : "es", largest.micro_batch_size, largest.sequence_length, format_count(o.plan.tokens()));
  print_memory(o.config, o.plan, largest);
  print_measured(o);
  print_savings(o);
  print_compute(o.plan, o.flops);
  print_processes(o);
  print_timeline(o.plan);
  print_growth(o.config, o.plan, o.growth);
}

}  // namespace tersor
