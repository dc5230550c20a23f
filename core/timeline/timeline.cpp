#include "core/timeline/timeline.h"

#include "core/base/pattern.h"
#include "core/memory/ledger.h"

namespace tersor {

ActionRegistry& actions() {
  static ActionRegistry registry("action", "what a timeline can do at chosen steps");
  return registry;
}

int64_t Targets::params(const ParamMatch& match) const {
  const std::vector<Param> all = model.params();
  const int64_t count = std::count_if(all.begin(), all.end(), [&](const Param& param) { return match.matches(param); });
  if (count == 0) throw user_error("timeline: {} matches no parameter; mend its 'match' or remove it", action);
  return count;
}

std::vector<std::shared_ptr<Linear>> Targets::linears(const std::vector<std::string>& patterns) const {
  const ParameterizationConfig pattern{.targets = patterns};
  std::vector<std::shared_ptr<Linear>> found;
  for (const auto& linear : model.linears())
    if (pattern.matches(linear->name())) found.push_back(linear);
  if (found.empty()) throw user_error("timeline: {} has targets [{}], which fit no weight", action, fmt::join(patterns, ", "));
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
    std::string detail = entry.action->run(context);
    if (!detail.empty()) reports.push_back({entry.name, std::move(detail)});
  }
  return reports;
}

}  // namespace tersor
