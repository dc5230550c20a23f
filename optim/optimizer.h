// The driver: it gathers gradients, measures and clips them, decides whether the step happens at all, has each
// parameter's rule turn its gradient into a direction, and applies the direction with learning rate and weight decay. Rules
// know nothing of this, and nothing here is specific to a paper.
//
//   Optimizer optimizer(model.params(), config, seed);
//   optimizer.begin_step(progress, lr, num_micro_batches);
//   for (…) { optimizer.begin_micro_batch(); loss(…).backward(); }      // gradients arrive through hooks
//   if (optimizer.begin_second_pass()) …                                // run the last micro-batch again
//   StepOutcome outcome = optimizer.finish_step();
//
// With `update: during_backward` a parameter is updated as soon as its gradient for the step is complete, inside the last
// backward pass, and the gradient is freed. Earlier micro-batches are accumulated first, so the resulting weights are those
// of `after_backward`. Clipping and skipping non-finite steps need the norm of all gradients before the first weight changes:
// the last micro-batch then runs twice, the first time only to measure. Nothing is approximated.
//
// Gradients are accumulated over micro-batches either whole or as compressed by the rule's Compression (`accumulate`). The sum
// is the same up to rounding. From compressed sums of several micro-batches the squared norm is estimated, without bias: see
// StepOutcome::norm_is_estimate.
//
// Several processes share the micro-batches of a step. Their accumulated gradients, whole or compressed, are summed while the
// backward pass continues, and they agree on norms and on whether a step happens at all. When sharded, only the owner of a
// parameter has its moments; it updates the parameter and broadcasts the weight. A new basis is found by the owner and broadcast,
// so replicas are identical by construction. All processes call the same functions in the same order.
#pragma once

#include <deque>
#include <set>

#include "optim/ownership.h"
#include "optim/param_groups.h"
#include "optim/state_store.h"

namespace tersor {

enum class UpdateMode { kAfterBackward, kDuringBackward };
template <>
struct EnumNames<UpdateMode> {
  static constexpr std::array values{std::pair{UpdateMode::kAfterBackward, std::string_view("after_backward")},
                                     std::pair{UpdateMode::kDuringBackward, std::string_view("during_backward")}};
};

enum class Accumulate { kFull, kCompressed };
template <>
struct EnumNames<Accumulate> {
  static constexpr std::array values{std::pair{Accumulate::kFull, std::string_view("full")},
                                     std::pair{Accumulate::kCompressed, std::string_view("compressed")}};
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
  std::optional<Accumulate> accumulate;
  OnNonfinite on_nonfinite = OnNonfinite::kStop;
  std::vector<GroupConfig> groups{GroupConfig{}};
  void fields(FieldVisitor& v) {
    v("lr", lr, at_least(0), "peak learning rate η");
    v("weight_decay", weight_decay, at_least(0), "decoupled weight decay λ: w ← (1 − ηλ)·w before the step");
    v("clip_norm", clip_norm, positive, "largest global norm of the gradient; absent: no clipping");
    v("update", update, "when weights change; during_backward frees each gradient as soon as it is used");
    v("accumulate", accumulate, "whether projected rules add up whole gradients or projected ones; absent: compressed with "
                                "during_backward or several processes, else full");
    v("on_nonfinite", on_nonfinite, "what to do when a gradient is infinite or not a number: end the run without saving that step, or leave the step out");
    v("groups", groups, "which rule trains which parameters; the first match wins");
  }
  void check(const ConfigNode& node, Diagnostics& out) const;
  // Whether a step's last micro-batch runs twice: for per-layer updates that need the norm of all gradients beforehand.
  [[nodiscard]] bool two_passes() const {
    return update == UpdateMode::kDuringBackward && (clip_norm.has_value() || on_nonfinite == OnNonfinite::kSkip);
  }
};

struct StepOutcome {
  double grad_norm = 0;    // global 2-norm before clipping
  double clip_factor = 1;  // factor applied to the gradients
  bool finite = true;      // false: some gradient was not; no weight changed, except those reached by per-layer updates without clipping
  bool norm_is_estimate = false;  // from compressed sums, its square unbiased; see optim/README.md
};

class Optimizer {
 public:
  Optimizer(std::vector<Param> params, const OptimizerConfig& config, uint64_t seed, Processes processes = {});
  ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // `num_micro_batches` is the total over all processes, each of which runs an equal share.
  void begin_step(const Progress& progress, double lr, int64_t num_micro_batches);
  void begin_micro_batch();
  // Whether the last micro-batch must run again, now that the norm is known.
  [[nodiscard]] bool begin_second_pass();
  // For recorded passes: arriving gradients are only set aside, until `held_gradients` returns them with the indices of their parameters
  // and `receive` delivers them as if they had arrived then. Their tensors may be overwritten once the next gradients arrive.
  void hold_gradients() { holding_ = true; }
  [[nodiscard]] std::vector<std::pair<size_t, at::Tensor>> held_gradients();
  void receive(size_t param, const at::Tensor& gradient);

  // Call once all backward passes of the step are done.
  StepOutcome finish_step();
  // Discards the gradients of a step that will not be finished. Call only before the last micro-batch begins.
  void abandon_step();

  // For plans, whose processes exist only on paper and broadcast nothing: after a step, catches up on what others decided in it, such as
  // that bases were found.
  void catch_up_on_paper();

  // Whether rules may use their fused steps; tests compare these with the plain ones.
  void set_fused(bool fused) { fused_ = fused; }

  // Switches to another set of parameters, between steps: after growth, or after weights have changed how they are stored. A
  // parameter takes its state from where `inherited` says, else from the old parameter of the same name and sizes, else it
  // starts at zero.
  void replace_params(std::vector<Param> params, const std::map<std::string, Inheritance>& inherited = {});

  // Frozen parameters receive no gradient and do not change; their state is kept.
  void set_frozen(const std::string& param, bool frozen);
  [[nodiscard]] const std::set<std::string>& frozen() const { return frozen_; }

  [[nodiscard]] const std::vector<Param>& params() const { return params_; }
  // Resets the state of one parameter, whichever process owns it. The count covers only what this process owns.
  ResetCount reset(const std::string& param, const Reset& what = {}, const RandomStream& random = RandomStream(0));
  // Whether this process updates the parameter or some of its rows or, where all processes update it, is the one that saves it.
  [[nodiscard]] bool owns(const std::string& param) const { return own_rows(param).has_value(); }
  // The rows it owns; {0, 0}, all of them, if the parameter is not cut.
  [[nodiscard]] std::optional<Rows> own_rows(const std::string& param) const;
  // How many numbers each process updates.
  [[nodiscard]] std::vector<int64_t> loads() const;
  [[nodiscard]] bool alone() const { return processes_.comm->alone(); }
  [[nodiscard]] Communicator& comm() const { return *processes_.comm; }
  [[nodiscard]] StateStore& state() { return state_; }
  [[nodiscard]] const StateStore& state() const { return state_; }

 private:
  // A parameter, or the rows of it that one process updates.
  struct Member {
    Param param;
    Piece piece;
    size_t group = 0;
    double place = 0;        // position of its parameter in the group, in [0, 1)
    double weight_decay = 0;
    double lr_scale = 1;
    at::Tensor gradient;     // accumulated, in fp32 if there are several micro-batches; whole or compressed
    bool compressed = false; // in this step
    bool finds_basis = false; // in this step, for other processes too
    at::Tensor square_norm;  // 0-dim, of the step's gradient
    bool came = false;       // the step's gradient, to whichever process
  };
  struct Arriving {
    size_t index;
    at::Tensor gradient;
    bool last = false;      // from the step's last micro-batch
    bool measured = false;  // only measured: it will come again
  };
  // The unit of communication between processes: one large gradient, or several small ones concatenated.
  struct Parcel {
    std::vector<Arriving> parts;
    at::Tensor content;
    Pending pending;
  };
  class GradientHook;

  // optimizer.cpp: parameters and their state
  void attach(bool everything);
  void detach();
  [[nodiscard]] bool held_by_all(size_t group, SlotKind kind) const;
  void declare(const Param& param, size_t group, bool all_slots, StateStore& state) const;
  [[nodiscard]] bool may_be_cut(const Param& param, size_t group) const;
  void collect(const std::string& param, const StateStore& own, StateStore& whole) const;
  void complete_state();
  void shed_state();

  // gradients.cpp: from autograd to the step's sum and its norm
  void receive_gradient(size_t param);
  void receive_whole(size_t param, at::Tensor whole);
  void receive_gradient_of(size_t index, const at::Tensor& whole);
  [[nodiscard]] at::Tensor compress(size_t index, at::Tensor gradient) const;
  [[nodiscard]] at::Tensor measure(size_t index, const at::Tensor& whole, const at::Tensor& sum) const;
  [[nodiscard]] bool measured_at_the_end(const Member& member) const;
  void send(Arriving gradient);
  void send_parcel(std::vector<Arriving> parts);
  void receive_parcel();
  void arrived(const Arriving& gradient, const at::Tensor& whole = {});
  void let_all_arrive();
  void measure_all();

  // update.cpp: from the sum to the weight
  void update(size_t index, double clip_factor);
  void update_here(size_t index, double clip_factor);
  [[noreturn]] void blame_rule(const Member& member) const;  // for the exception being handled
  [[nodiscard]] bool update_fused(size_t index, double clip_factor);
  [[nodiscard]] Direction direction(size_t index, Slots& slots, double clip_factor) const;
  void update_by_rows(size_t index, double clip_factor);
  void apply(const Param& param, const Member& member, const Direction& direction, const RandomStream& rounding, int64_t first) const;
  [[nodiscard]] static int64_t first_number(const Member& member);
  void hand_out(size_t index);

  [[nodiscard]] StepInfo step_info(size_t index) const;
  [[nodiscard]] const UpdateRule& rule(const Member& member) const { return *methods_[member.group].rule; }
  // Whether the norm of a member's gradient can only be estimated, from the sum of several compressed ones.
  [[nodiscard]] bool estimates_norm(const Member& member) const { return member.compressed && num_micro_batches_ > 1; }
  [[nodiscard]] bool owned(const Member& member) const { return member.piece.owner == processes_.comm->rank(); }
  [[nodiscard]] SlotFormats formats(size_t group) const;
  [[nodiscard]] bool sharded() const { return !alone() && processes_.shard != Shard::kNone; }
  // Whether each micro-batch's gradient is sent to its owner separately.
  [[nodiscard]] bool shards_gradients() const { return processes_.shard == Shard::kGradients || processes_.shard == Shard::kWeights; }
  // Whether one process updates the member for all.
  [[nodiscard]] bool one_updates(const Member& member) const { return sharded() || member.finds_basis; }
  [[nodiscard]] bool updates(const Member& member) const { return owned(member) || !one_updates(member); }

  std::vector<Param> params_;
  OptimizerConfig config_;
  uint64_t seed_;
  Processes processes_;
  std::vector<GroupMethods> methods_;  // one per group
  std::vector<Member> members_;       // in the order of the parameters
  std::vector<size_t> first_member_;  // of each parameter, then the number of members
  StateStore state_;
  std::set<std::string> frozen_;

  Progress progress_;
  double lr_ = 0;
  int64_t num_micro_batches_ = 0;  // of all processes
  int64_t own_micro_batches_ = 0;
  int64_t micro_batch_ = 0;  // this process's current one, counted from 1
  bool fused_ = true;
  bool measuring_ = false;   // in the first of the two passes
  bool refused_ = false;     // during_backward met a non-finite gradient
  StepOutcome outcome_;      // of the current step, once it has been measured
  bool holding_ = false;
  std::vector<std::pair<size_t, at::Tensor>> held_;  // gradients set aside
  std::vector<size_t> updated_;         // members updated in this step so far
  std::vector<size_t> updated_before_;  // and in the previous step
  std::string ahead_;                   // parameter whose state was brought ahead of an update that may not have come
  std::deque<Parcel> arriving_;
  std::vector<Arriving> small_;  // not yet sent
  int64_t small_numbers_ = 0;
  std::vector<Pending> handed_out_;
};

}  // namespace tersor
