#include "core/train/timeline.h"

namespace tersor {

ActionRegistry& actions() {
  static ActionRegistry registry("action", "what a timeline can do at chosen steps");
  return registry;
}

Timeline::Timeline(const std::vector<TimelineEntry>& entries) {
  for (const TimelineEntry& entry : entries) scheduled_.push_back({entry.action.type(), entry.when, entry.action.build()});
}

std::vector<ActionReport> Timeline::run(Phase phase, RunContext& context) {
  std::vector<ActionReport> reports;
  for (const Scheduled& entry : scheduled_)
    if (entry.action->phase() == phase && entry.when.due(context.progress))
      reports.push_back({entry.name, entry.action->run(context)});
  return reports;
}

}  // namespace tersor
