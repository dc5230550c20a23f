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

// What may change while a run goes on; saved with it.
struct LiveSettings {
  int64_t global_batch_size = 0;  // windows of data.sequence_length
  int64_t micro_batch_size = 0;   // the same
  int64_t sequence_length = 0;    // windows are cut into pieces of this length
  std::vector<double> mixture{1}; // weights of the sources of the data
  int64_t rewarmed_at = 0;        // step after which the learning rate rises again; 0: never yet
  int64_t rewarm_steps = 0;       // over which it does
  double rate = 1;                // factor on the schedule's rate
  void fields(FieldVisitor& v) {
    v("global_batch_size", global_batch_size, "windows in a step");
    v("micro_batch_size", micro_batch_size, "windows in one forward and backward pass");
    v("sequence_length", sequence_length, "tokens that see each other");
    v("mixture", mixture, "weights of the sources of the data");
    v("rewarmed_at", rewarmed_at, "step after which the learning rate rises again");
    v("rewarm_steps", rewarm_steps, "steps over which it does");
    v("rate", rate, "factor on the schedule's rate");
  }
};

// UserError where no step could be taken with them, of windows of `window` tokens from so many sources: an action has left them so.
void check_settings(const LiveSettings& settings, int64_t window, size_t sources, std::string_view action);

// The weights that an action of some name is meant for.
struct Targets {
  const Llama& model;
  std::string_view action;

  // How many parameters match. UserError when none does.
  [[nodiscard]] int64_t params(const ParamMatch& match) const;
  // Those whose names fit one of the patterns. UserError when there is none.
  [[nodiscard]] std::vector<std::shared_ptr<Linear>> linears(const std::vector<std::string>& patterns) const;
  // Those of them that can do what `Operation` (core/param/operations.h) stands for. UserError when none can; `remedy` says
  // which parameterization does.
  template <class Operation>
  [[nodiscard]] std::vector<std::pair<Linear*, Operation*>> able(const std::vector<std::string>& patterns, std::string_view remedy) const {
    std::vector<std::pair<Linear*, Operation*>> found;
    for (const auto& linear : linears(patterns))
      if (auto* operation = dynamic_cast<Operation*>(&linear->weight())) found.emplace_back(linear.get(), operation);
    if (found.empty()) throw user_error("timeline: {} needs {}, and none of its targets is when it is due", action, remedy);
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
  int64_t window;  // tokens of one of the data's
  const Cadence* when = nullptr;  // of the action
  std::string_view name = {};     // of the action

  // Randomness of this action at this step.
  [[nodiscard]] RandomStream random(std::string_view what) const {
    return random_stream(seed, name, what, static_cast<uint64_t>(progress.step));
  }
  // Resets the state of the parameters of a weight.
  void forget(const Linear& linear) const;
  [[nodiscard]] Targets targets() const { return {model, name}; }
  // How often the action is due from this step on, this time included, if the steps that are left are as large as this one.
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
  // Returns what was done, for the log: "zeroed 42 slots of 14 parameters". Nothing: not worth a line. An action keeps nothing from one
  // time to the next, as that would not be in checkpoints: what it needs is in the context.
  virtual std::string run(RunContext& context) const = 0;

  // Whether it reads or changes weights, rather than state, settings or what learns.
  [[nodiscard]] virtual bool touches_weights() const { return true; }
  // Whether passes that a GPU has recorded before are wrong after it: other tensors, or other parameters that learn.
  [[nodiscard]] virtual bool changes_passes() const { return true; }
  // Before a run all actions are gone through in the order they will be due in, on a model without numbers (core/train/walk.h).
  // UserError where this one would find nothing to act on.
  virtual void check(const Targets&) const {}
  // What the model's tensors will be afterwards. Returns whether they are others than before.
  virtual bool change_structure(Llama&) const { return false; }
  // What the settings will be afterwards, of a run whose windows have `window` tokens. UserError where they cannot be.
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
  // Whether something is due that touches weights, or changes the passes.
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
