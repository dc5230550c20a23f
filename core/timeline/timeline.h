// What happens at chosen steps, besides the updates: a list of actions with cadences, run in the order written.
//
//   timeline:
//     - {do: {type: reset_moments, match: {role: matrix}}, when: every 1000 until 80%}
//
// Whatever touches weights, or the state of a rule from outside, is an action; what changes only a rule's own slots
// belongs in the rule.
#pragma once

#include "core/config/cadence.h"
#include "core/model/llama.h"
#include "optim/optimizer.h"

namespace tersor {

// Settings that may change during a run; saved with it.
struct LiveSettings {
  int64_t global_batch_size = 0;  // windows of data.sequence_length
  int64_t micro_batch_size = 0;   // likewise
  int64_t sequence_length = 0;    // windows are cut into pieces of this length
  std::vector<double> mixture{1}; // weights of the data sources
  int64_t rewarmed_at = 0;        // step after which the learning rate rises again; 0: never yet
  int64_t rewarm_steps = 0;       // steps over which it rises
  double rate = 1;                // factor on the schedule's rate
  void fields(FieldVisitor& v) {
    v("global_batch_size", global_batch_size, "windows per step");
    v("micro_batch_size", micro_batch_size, "windows per forward and backward pass");
    v("sequence_length", sequence_length, "tokens that attend to each other");
    v("mixture", mixture, "weights of the data sources");
    v("rewarmed_at", rewarmed_at, "step after which the learning rate rises again");
    v("rewarm_steps", rewarm_steps, "steps over which it rises");
    v("rate", rate, "factor on the schedule's rate");
  }
};

// Throws UserError, naming `action`, if no step could be taken with these settings on windows of `window` tokens from that many sources.
void check_settings(const LiveSettings& settings, int64_t window, size_t sources, std::string_view action);

// What an action, given by name, applies to.
struct Targets {
  const Llama& model;
  std::string_view action;

  // Returns how many parameters match. Throws UserError if none does.
  [[nodiscard]] int64_t params(const ParamMatch& match) const;
  // Returns the layers whose names match one of the patterns. Throws UserError if none does.
  [[nodiscard]] std::vector<std::shared_ptr<Linear>> linears(const std::vector<std::string>& patterns) const;
  // Returns those of them whose weights support `Operation` (core/param/operations.h). Throws UserError if none does; `remedy`
  // says which parameterization would.
  template <class Operation>
  [[nodiscard]] std::vector<std::pair<Linear*, Operation*>> able(const std::vector<std::string>& patterns, std::string_view remedy) const {
    std::vector<std::pair<Linear*, Operation*>> found;
    for (const auto& linear : linears(patterns))
      if (auto* operation = dynamic_cast<Operation*>(&linear->weight())) found.emplace_back(linear.get(), operation);
    if (found.empty()) throw user_error("timeline: {} needs {}, but none of its targets has that when it is due", action, remedy);
    return found;
  }
};

// What an action may see and change.
struct RunContext {
  Llama& model;
  Optimizer& optimizer;
  const Progress& progress;
  uint64_t seed;
  double lr = 0;  // of this step
  LiveSettings& settings;
  int64_t window;  // tokens per window of the data
  const Cadence* when = nullptr;  // of the action
  std::string_view name = {};     // of the action

  // Randomness of this action at this step.
  [[nodiscard]] RandomStream random(std::string_view what) const {
    return random_stream(seed, name, what, static_cast<uint64_t>(progress.step));
  }
  // Resets the optimizer state of a weight's parameters.
  void forget(const Linear& linear) const;
  [[nodiscard]] Targets targets() const { return {model, name}; }
  // How often the action is due from this step on, this time included, if the remaining steps are as large as this one.
  [[nodiscard]] int64_t times_left() const;
};

// What becomes of the moments of parameters that an action changes.
enum class Moments { kReset, kKeep };
template <>
struct EnumNames<Moments> {
  static constexpr std::array values{std::pair{Moments::kReset, std::string_view("reset")},
                                     std::pair{Moments::kKeep, std::string_view("keep")}};
};

// Where in a step an action runs.
enum class Phase { kBeforeUpdate, kAfterUpdate };

class Action {
 public:
  virtual ~Action() = default;
  [[nodiscard]] virtual Phase phase() const { return Phase::kAfterUpdate; }
  // Returns what was done, for the log: "froze 14 of 21 parameters"; "" if it is not worth a line. An action keeps no state from one
  // time to the next, because checkpoints would not hold it: what it needs is in the context.
  virtual std::string run(RunContext& context) const = 0;

  // Whether it reads or changes weights, rather than optimizer state, settings or what is frozen.
  [[nodiscard]] virtual bool touches_weights() const { return true; }
  // Whether it invalidates passes recorded on a GPU, by changing which tensors there are or which parameters are trained.
  [[nodiscard]] virtual bool changes_passes() const { return true; }
  // Before a run, all actions are walked through in the order in which they will be due, on a model of meta tensors
  // (core/train/walk.h). Throws UserError if this one would find nothing to act on.
  virtual void check(const Targets&) const {}
  // Changes the shapes of the model's tensors as `run` would. Returns whether the model has other tensors than before.
  virtual bool change_structure(Llama&) const { return false; }
  // Changes the settings as `run` would, in a run with windows of `window` tokens. Throws UserError if they would be invalid.
  virtual void change_settings(LiveSettings&, int64_t /*window*/) const {}
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
  [[nodiscard]] bool due(Phase phase, const Progress& progress) const;
  // Whether an action is due that touches weights, or one that changes the passes.
  [[nodiscard]] bool touches_weights(Phase phase, const Progress& progress) const;
  [[nodiscard]] bool changes_passes(Phase phase, const Progress& progress) const;
  // Runs what is due in this phase.
  std::vector<ActionReport> run(Phase phase, RunContext context);

 private:
  struct Scheduled {
    std::string name;
    Cadence when;
    std::unique_ptr<Action> action;
    [[nodiscard]] bool due(Phase phase, const Progress& progress) const { return action->phase() == phase && when.due(progress); }
  };
  std::vector<Scheduled> scheduled_;
};

}  // namespace tersor
