#include "core/timeline/timeline.h"

#include <cmath>

#include "core/base/blame.h"
#include "core/base/pattern.h"
#include "core/memory/ledger.h"

namespace tersor {

ActionRegistry& actions() {
  static ActionRegistry registry("action", "what a timeline can do at chosen steps");
  return registry;
}

void check_settings(const LiveSettings& s, int64_t window, size_t sources, std::string_view action) {
  const auto complain = [&](const std::string& what) { throw user_error("timeline: {} {}", action, what); };
  if (s.micro_batch_size < 1 || s.global_batch_size < 1 || s.global_batch_size % s.micro_batch_size != 0)
    complain(fmt::format("makes {} windows a step, which is not a multiple of the micro-batch of {}", s.global_batch_size, s.micro_batch_size));
  if (s.sequence_length < 1 || window % s.sequence_length != 0)
    complain(fmt::format("makes sequence_length {}, which does not divide data.sequence_length {}", s.sequence_length, window));
  if (s.mixture.size() != sources) complain(fmt::format("has {} weights, but data has {} sources", s.mixture.size(), sources));
  const bool drawn = std::any_of(s.mixture.begin(), s.mixture.end(), [](double weight) { return weight > 0; });
  if (!drawn || std::any_of(s.mixture.begin(), s.mixture.end(), [](double weight) { return !(weight >= 0) || std::isinf(weight); }))
    complain(fmt::format("makes the weights of the sources [{}]; they must be finite and at least 0, and one of them greater", fmt::join(s.mixture, ", ")));
  if (!(s.rate >= 0) || std::isinf(s.rate) || s.rewarm_steps < 0) complain(fmt::format("makes the learning rate {} of the schedule's, over {} steps", s.rate, s.rewarm_steps));
}

int64_t Targets::params(const ParamMatch& match) const {
  const std::vector<Param> all = model.params();
  const int64_t count = std::count_if(all.begin(), all.end(), [&](const Param& param) { return match.matches(param); });
  if (count == 0) throw user_error("timeline: {} matches no parameter; fix its 'match' or remove it", action);
  return count;
}

std::vector<std::shared_ptr<Linear>> Targets::linears(const std::vector<std::string>& patterns) const {
  const ParameterizationConfig pattern{.targets = patterns};
  std::vector<std::shared_ptr<Linear>> found;
  for (const auto& linear : model.linears())
    if (pattern.matches(linear->name())) found.push_back(linear);
  if (found.empty()) throw user_error("timeline: {} has targets [{}], which match no weight", action, fmt::join(patterns, ", "));
  return found;
}

void RunContext::forget(const Linear& linear) const {
  for (const Param& param : linear.weight().params()) optimizer.reset(param.name);
}

int64_t RunContext::times_left() const {
  int64_t times = 0;
  for (int64_t step = progress.step; step <= progress.total_steps; ++step) times += when->due(progress.shifted(step - progress.step)) ? 1 : 0;
  return times;
}

namespace {

// Checks that the optimizer updates the model's parameters.
void check_parameters(const RunContext& context) {
  const std::vector<Param> all = context.model.params();
  const std::vector<Param>& known = context.optimizer.params();
  const auto same = [](const Param& a, const Param& b) { return a.name == b.name && a.value.is_same(b.value); };
  const auto [own, other] = std::mismatch(all.begin(), all.end(), known.begin(), known.end(), same);
  if (own == all.end() && other == known.end()) return;
  throw std::runtime_error(fmt::format("action '{}', step {}: '{}' is no longer what the optimizer updates; an action that gives the model other parameters must call "
                                       "optimizer.replace_params(model.params())", context.name, context.progress.step, own != all.end() ? own->name : other->name));
}

}  // namespace

Timeline::Timeline(const std::vector<TimelineEntry>& entries) {
  for (const TimelineEntry& entry : entries) scheduled_.push_back({entry.action.type(), entry.when, entry.action.build()});
}

bool Timeline::due(Phase phase, const Progress& progress) const {
  return std::any_of(scheduled_.begin(), scheduled_.end(), [&](const Scheduled& entry) { return entry.due(phase, progress); });
}

bool Timeline::touches_weights(Phase phase, const Progress& progress) const {
  return std::any_of(scheduled_.begin(), scheduled_.end(),
                     [&](const Scheduled& entry) { return entry.due(phase, progress) && entry.action->touches_weights(); });
}

bool Timeline::changes_passes(Phase phase, const Progress& progress) const {
  return std::any_of(scheduled_.begin(), scheduled_.end(),
                     [&](const Scheduled& entry) { return entry.due(phase, progress) && entry.action->changes_passes(); });
}

std::vector<ActionReport> Timeline::run(Phase phase, RunContext context) {
  const MemoryScope scope(Segment::kWeights);
  std::vector<ActionReport> reports;
  for (Scheduled& entry : scheduled_) {
    if (!entry.due(phase, context.progress)) continue;
    context.when = &entry.when;
    context.name = entry.name;
    const size_t sources = context.settings.mixture.size();
    std::string detail = blaming([&] { return fmt::format("action '{}', step {}", entry.name, context.progress.step); }, [&] { return entry.action->run(context); });
    check_settings(context.settings, context.window, sources, entry.name);
    if (entry.action->touches_weights()) check_parameters(context);
    if (!detail.empty()) reports.push_back({entry.name, std::move(detail)});
  }
  return reports;
}

}  // namespace tersor
