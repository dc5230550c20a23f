// What happens at chosen steps, besides the updates: a list of actions with cadences, run in the order written.
//
//   timeline:
//     - {do: {type: reset_moments, match: {role: matrix}}, when: every 1000 until 80%}
//
// Whatever touches weights or the state of a rule from outside is an action; what changes only a rule's own slots
// belongs into the rule.
#pragma once

#include "core/config/cadence.h"
#include "core/model/llama.h"
#include "optim/optimizer.h"

namespace tersor {

// What an action may see and change.
struct RunContext {
  Llama& model;
  Optimizer& optimizer;
  const Progress& progress;
  uint64_t seed;
};

// Where in a step an action runs.
enum class Phase { kBeforeUpdate, kAfterUpdate };

class Action {
 public:
  virtual ~Action() = default;
  [[nodiscard]] virtual Phase phase() const { return Phase::kAfterUpdate; }
  // Returns what was done, for the log: "zeroed 42 slots of 14 parameters".
  virtual std::string run(RunContext& context) = 0;
};

using ActionRegistry = Registry<Action>;
[[nodiscard]] ActionRegistry& actions();

struct TimelineEntry {
  Choice<actions> action;
  Cadence when;
  void fields(FieldVisitor& v) {
    v("do", action, required, "the action");
    v("when", when, required, "at which steps");
  }
};

struct ActionReport {
  std::string name;
  std::string detail;
};

class Timeline {
 public:
  explicit Timeline(const std::vector<TimelineEntry>& entries);
  // Runs what is due in this phase.
  std::vector<ActionReport> run(Phase phase, RunContext& context);

 private:
  struct Scheduled {
    std::string name;
    Cadence when;
    std::unique_ptr<Action> action;
  };
  std::vector<Scheduled> scheduled_;
};

}  // namespace tersor
