// The driver: it gathers gradients, measures and clips them, decides whether the step happens at all, has each
// parameter's rule turn its gradient into a direction, and applies that with learning rate and weight decay. Rules know
// nothing of this; nothing here knows a paper.
//
//   Optimizer optimizer(model.params(), config, seed);
//   optimizer.begin_step(progress, lr, num_micro_batches);
//   for (…) { optimizer.begin_micro_batch(); loss(…).backward(); }      // gradients arrive through hooks
//   StepOutcome outcome = optimizer.finish_step();
//
// With `update: during_backward` a parameter is updated the moment its gradient of the step is whole, inside the last
// backward pass, and the gradient is freed; earlier micro-batches are added up first, so the weights that result are
// the same as after `after_backward`.
#pragma once

#include "optim/param_groups.h"
#include "optim/state_store.h"

namespace tersor {

enum class UpdateMode { kAfterBackward, kDuringBackward };
template <>
struct EnumNames<UpdateMode> {
  static constexpr std::array values{std::pair{UpdateMode::kAfterBackward, std::string_view("after_backward")},
                                     std::pair{UpdateMode::kDuringBackward, std::string_view("during_backward")}};
};

enum class OnNonfinite { kStop, kSkip };
template <>
struct EnumNames<OnNonfinite> {
  static constexpr std::array values{std::pair{OnNonfinite::kStop, std::string_view("stop")},
                                     std::pair{OnNonfinite::kSkip, std::string_view("skip")}};
};

struct OptimizerConfig {
  double lr = 0.001;
  double weight_decay = 0;
  std::optional<double> clip_norm;
  UpdateMode update = UpdateMode::kAfterBackward;
  OnNonfinite on_nonfinite = OnNonfinite::kStop;
  std::vector<GroupConfig> groups{GroupConfig{}};
  void fields(FieldVisitor& v) {
    v("lr", lr, at_least(0), "peak learning rate η");
    v("weight_decay", weight_decay, at_least(0), "decoupled weight decay λ: w ← (1 − ηλ)·w before the step");
    v("clip_norm", clip_norm, positive, "largest global norm of the gradient; absent: no clipping");
    v("update", update, "when weights change; during_backward frees each gradient as soon as it is used");
    v("on_nonfinite", on_nonfinite, "what to do when a gradient is infinite or not a number; weights never change then");
    v("groups", groups, "which rule trains which parameters; the first match wins");
  }
  void check(const ConfigNode& node, Diagnostics& out) const;
};

struct StepOutcome {
  double grad_norm = 0;    // global 2-norm before clipping
  double clip_factor = 1;  // what the gradients were multiplied by
  bool finite = true;      // false: some gradient was not, and no weight changed
};

class Optimizer {
 public:
  Optimizer(std::vector<Param> params, const OptimizerConfig& config, uint64_t seed);
  ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  void begin_step(const Progress& progress, double lr, int64_t num_micro_batches);
  void begin_micro_batch();
  // Called once all backward passes of the step are done.
  StepOutcome finish_step();
  // Forgets the gradients of a step that will not be finished. Only before the last micro-batch begins.
  void abandon_step();

  [[nodiscard]] const std::vector<Param>& params() const { return params_; }
  [[nodiscard]] StateStore& state() { return state_; }
  [[nodiscard]] const StateStore& state() const { return state_; }

 private:
  struct Member {
    size_t group = 0;
    double weight_decay = 0;
    double lr_scale = 1;
    at::Tensor gradient;     // accumulated, in fp32 when there are several micro-batches
    at::Tensor square_norm;  // 0-dim, of the whole gradient
  };
  class GradientHook;

  void receive_gradient(size_t index);
  void update(size_t index, double clip_factor);
  [[nodiscard]] double global_norm() const;

  std::vector<Param> params_;
  OptimizerConfig config_;
  uint64_t seed_;
  std::vector<std::unique_ptr<UpdateRule>> rules_;     // one a group
  std::vector<std::unique_ptr<StateFormat>> formats_;  // one a group
  std::vector<Member> members_;
  StateStore state_;

  Progress progress_;
  double lr_ = 0;
  int64_t num_micro_batches_ = 0;
  int64_t micro_batch_ = 0;  // the one under way, from 1
  bool refused_ = false;     // during_backward met a gradient that is not finite
};

}  // namespace tersor
