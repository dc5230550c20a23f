#include "optim/optimizer.h"

#include <torch/csrc/autograd/variable.h>

#include <cmath>

#include "core/memory/ledger.h"
#include "kernels/add_scaled.h"
#include "kernels/square_norm.h"
#include "kernels/stochastic_round.h"

namespace tersor {

namespace {

// A tensor without numbers is of a plan, whose steps are ordinary ones: any finite number does.
double number(const at::Tensor& x) { return x.is_meta() ? 1 : x.item<double>(); }

// In fp32, times the factor; an fp32 gradient is changed itself.
at::Tensor clipped(const at::Tensor& gradient, double factor) {
  const at::Tensor exact = gradient.to(at::kFloat);
  if (factor == 1) return exact;
  return exact.mul_(factor);
}

}  // namespace

// Takes a parameter's gradient out of autograd's hands as soon as it is complete for one backward pass.
class Optimizer::GradientHook final : public torch::autograd::PostAccumulateGradHook {
 public:
  GradientHook(Optimizer& optimizer, size_t index) : optimizer_(optimizer), index_(index) {}
  void operator()(const torch::autograd::Variable&) override { optimizer_.receive_gradient(index_); }

 private:
  Optimizer& optimizer_;
  size_t index_;
};

void OptimizerConfig::check(const ConfigNode& node, Diagnostics& out) const {
  const auto place = [&](std::string_view key) -> const ConfigNode& {
    const ConfigNode* found = node.find(key);
    return found != nullptr ? *found : node;
  };
  if (groups.empty()) out.add(place("groups"), "needs at least one group; 'match: any' takes every parameter");
}

Optimizer::Optimizer(std::vector<Param> params, const OptimizerConfig& config, uint64_t seed)
    : params_(std::move(params)), config_(config), seed_(seed), methods_(build_methods(config.groups)) {
  attach();
}

Optimizer::~Optimizer() { detach(); }

// Gives every parameter its group, its slots and its hook.
void Optimizer::attach() {
  const MemoryScope scope(Segment::kOptimizer);
  const std::vector<size_t> assigned = assign_groups(params_, config_.groups, methods_);
  for (size_t i = 0; i < params_.size(); ++i) {
    const Param& param = params_[i];
    const size_t index = assigned[i];
    const GroupConfig& group = config_.groups[index];
    const auto before = std::count(assigned.begin(), assigned.begin() + static_cast<std::ptrdiff_t>(i), index);
    const auto all = std::count(assigned.begin(), assigned.end(), index);
    members_.push_back({.group = index,
                        .place = static_cast<double>(before) / static_cast<double>(all),
                        .weight_decay = group.weight_decay.value_or(config_.weight_decay),
                        .lr_scale = group.lr_scale});
    const ParamShape shape{param.value.sizes().vec(), param.slice_axis};
    const SlotFormats formats{methods_[index].state.get(), methods_[index].projector.get(), group.state.type(), group.projector.type()};
    state_.declare(param.name, shape, rule(members_[i]).slots(shape), formats, param.value.options());
    torch::autograd::impl::set_post_acc_grad_hooks(param.value, std::make_unique<GradientHook>(*this, i));
  }
}

void Optimizer::detach() {
  for (const Param& param : params_) torch::autograd::impl::set_post_acc_grad_hooks(param.value, nullptr);
}

void Optimizer::replace_params(std::vector<Param> params, const std::map<std::string, Inheritance>& inherited) {
  detach();
  const StateStore old = std::exchange(state_, {});
  const std::vector<Param> before = std::exchange(params_, std::move(params));
  members_.clear();
  attach();
  for (const Param& param : params_) {
    const auto named = inherited.find(param.name);
    const auto same = std::find_if(before.begin(), before.end(), [&](const Param& p) { return p.name == param.name; });
    if (named != inherited.end())
      state_.inherit(param.name, old, named->second);
    else if (same != before.end() && same->value.sizes() == param.value.sizes())
      state_.inherit(param.name, old, {.from = param.name});
    const Param& own = param;
    if (frozen_.contains(own.name)) own.value.set_requires_grad(false);
  }
  std::erase_if(frozen_, [&](const std::string& name) { return !state_.contains(name); });
}

void Optimizer::set_frozen(const std::string& param, bool frozen) {
  const auto found = std::find_if(params_.begin(), params_.end(), [&](const Param& p) { return p.name == param; });
  TERSOR_CHECK(found != params_.end(), "no parameter '{}'", param);
  found->value.set_requires_grad(!frozen);
  if (frozen)
    frozen_.insert(param);
  else
    frozen_.erase(param);
}

void Optimizer::begin_step(const Progress& progress, double lr, int64_t num_micro_batches) {
  progress_ = progress;
  lr_ = lr;
  num_micro_batches_ = num_micro_batches;
  micro_batch_ = 0;
  refused_ = false;
  outcome_ = {};
  two_passes_ = config_.update == UpdateMode::kDuringBackward && (config_.clip_norm || config_.on_nonfinite == OnNonfinite::kSkip);
  measuring_ = two_passes_;
  abandon_step();
  const Accumulate standard = config_.update == UpdateMode::kDuringBackward ? Accumulate::kCompressed : Accumulate::kFull;
  if (config_.accumulate.value_or(standard) == Accumulate::kFull) return;
  for (size_t i = 0; i < members_.size(); ++i) {
    const Compression* compression = rule(members_[i]).compression();
    members_[i].compressed = compression != nullptr && compression->applies(step_info(i), state_.open(params_[i].name, SlotKind::kHost));
  }
}

void Optimizer::begin_micro_batch() { ++micro_batch_; }

void Optimizer::abandon_step() {
  for (Member& member : members_) {
    member.gradient.reset();
    member.square_norm.reset();
    member.compressed = false;
  }
}

StepInfo Optimizer::step_info(size_t index) const {
  return {.progress = progress_, .seed = seed_, .param = params_[index].name, .place = members_[index].place,
          .num_micro_batches = num_micro_batches_};
}

at::Tensor Optimizer::compress(size_t index, at::Tensor gradient) const {
  if (!members_[index].compressed) return gradient;
  const Slots projectors = state_.open(params_[index].name, SlotKind::kProjector);
  return rule(members_[index]).compression()->compress(gradient.to(at::kFloat), projectors, step_info(index));
}

// The squared norm of the step's gradient: from itself, or, where only compressed ones were added up, from their sum.
at::Tensor Optimizer::measure(const Member& member, const at::Tensor& whole, const at::Tensor& sum) const {
  if (estimates_norm(member)) return rule(member).compression()->square_norm(sum, whole.sizes());
  return kernels::square_norm(member.compressed ? whole : sum);
}

void Optimizer::receive_gradient(size_t index) {
  const at::NoGradGuard no_grad;
  Member& member = members_[index];
  at::Tensor& slot = params_[index].value.mutable_grad();
  at::Tensor whole = std::move(slot);
  slot = at::Tensor();
  if (const at::Tensor& mask = params_[index].mask; mask.defined())  // selected, not multiplied: what is masked may be anything
    whole = at::where(mask, whole, at::zeros({}, whole.options()));
  at::Tensor gradient = compress(index, whole);
  // bf16 gradients of many micro-batches would lose their sum to rounding.
  if (num_micro_batches_ > 1 && gradient.scalar_type() == at::kBFloat16) gradient = gradient.to(at::kFloat);
  const bool last = micro_batch_ == num_micro_batches_;
  if (last && measuring_) {  // the sum is only looked at: the gradient comes again
    member.square_norm = measure(member, whole, member.gradient.defined() ? member.gradient + gradient : gradient);
    return;
  }
  if (member.gradient.defined())
    member.gradient.add_(gradient);
  else
    member.gradient = std::move(gradient);
  book(member.gradient, Segment::kGradients);
  if (!last) return;
  if (!two_passes_) member.square_norm = measure(member, whole, member.gradient);
  if (config_.update != UpdateMode::kDuringBackward || refused_) return;
  if (!two_passes_) refused_ = !std::isfinite(number(member.square_norm));
  if (!refused_) update(index, outcome_.clip_factor);
}

// One synchronization a step: the norm of all gradients.
void Optimizer::measure_all() {
  std::vector<at::Tensor> squares;
  for (const Member& member : members_) {
    if (!member.square_norm.defined()) continue;
    squares.push_back(member.square_norm);
    outcome_.norm_is_estimate = outcome_.norm_is_estimate || estimates_norm(member);
  }
  if (!squares.empty()) outcome_.grad_norm = number(at::stack(squares).sum().sqrt());
  outcome_.finite = std::isfinite(outcome_.grad_norm);
  if (outcome_.finite && config_.clip_norm) outcome_.clip_factor = std::min(1.0, *config_.clip_norm / (outcome_.grad_norm + 1e-6));
}

bool Optimizer::begin_second_pass() {
  if (!measuring_) return false;
  measuring_ = false;
  const at::NoGradGuard no_grad;
  measure_all();
  return outcome_.finite;
}

StepOutcome Optimizer::finish_step() {
  const at::NoGradGuard no_grad;
  TERSOR_CHECK(micro_batch_ == num_micro_batches_, "{} of {} micro-batches", micro_batch_, num_micro_batches_);
  TERSOR_CHECK(!measuring_, "the second pass was left out");
  if (!two_passes_) measure_all();
  if (outcome_.finite && config_.update == UpdateMode::kAfterBackward)
    for (size_t i = 0; i < members_.size(); ++i)
      if (members_[i].gradient.defined()) update(i, outcome_.clip_factor);
  abandon_step();
  return outcome_;
}

bool Optimizer::update_fused(size_t index, double clip_factor) {
  const Param& param = params_[index];
  const Member& member = members_[index];
  const at::Tensor weight = param.value.detach();
  if (!fused_ || param.packed || param.mask.defined() || member.compressed || weight.scalar_type() != at::kFloat || !weight.is_contiguous()) return false;
  return rule(member).fused({.weight = weight, .grad = member.gradient.to(at::kFloat).contiguous(), .grad_scale = clip_factor,
                             .lr = lr_ * member.lr_scale, .weight_decay = member.weight_decay, .slots = state_.resting(param.name)});
}

void Optimizer::update(size_t index, double clip_factor) {
  const MemoryScope scope(Segment::kTemporary);
  const Param& param = params_[index];
  Member& member = members_[index];
  if (update_fused(index, clip_factor)) {
    member.gradient.reset();
    return;
  }
  if (rule(member).elementwise() && !param.packed && param.value.dim() == 2 && state_.opens_by_rows(param.name))
    update_by_rows(index, clip_factor);
  else {
    const at::Tensor gradient = clipped(member.gradient, clip_factor);
    const StepInfo step = step_info(index);
    Slots slots = state_.open(param.name);
    apply(param, member, member.compressed ? rule(member).compression()->direction_of(gradient, slots, step)
                                           : rule(member).direction(gradient, slots, step), step.random("weight_rounding"));
    state_.close(param.name, slots, step.random("state_rounding"));
  }
  member.gradient.reset();
}

// What is in fp32 for the length of a step is then of a few rows. Where the parts begin depends on the width alone.
void Optimizer::update_by_rows(size_t index, double clip_factor) {
  constexpr int64_t kNumbers = 1 << 20;  // of one part
  const Param& param = params_[index];
  const Member& member = members_[index];
  const StepInfo step = step_info(index);
  const int64_t rows = param.value.size(0);
  const int64_t at_once = std::max<int64_t>(1, kNumbers / std::max<int64_t>(1, param.value.size(1)));
  for (int64_t begin = 0; begin < rows; begin += at_once) {
    const Rows these{.begin = begin, .end = std::min(rows, begin + at_once), .last = begin + at_once >= rows};
    const auto of_rows = [&](const at::Tensor& x) { return x.dim() == 2 && x.size(0) == rows ? x.slice(0, these.begin, these.end) : x; };
    Param part{.name = param.name, .value = of_rows(param.value.detach()), .role = param.role};
    if (param.mask.defined()) part.mask = of_rows(param.mask);
    const auto stream = [&](std::string_view purpose) { return step.random(purpose).child(static_cast<uint64_t>(begin)); };
    Slots slots = state_.open(param.name, these);
    apply(part, member, rule(member).direction(clipped(of_rows(member.gradient), clip_factor), slots, step), stream("weight_rounding"));
    state_.close(param.name, slots, stream("state_rounding"), these);
  }
}

// w ← (1 − ηλ)·w − η·gain·leftᵀ·value·right − η·rest_gain·rest
void Optimizer::apply(const Param& param, const Member& member, const Direction& direction, const RandomStream& rounding) const {
  const double lr = lr_ * member.lr_scale;
  at::Tensor weight = param.value.detach();
  at::Tensor exact = param.packed ? param.packed->unpack() : weight.to(at::kFloat);  // the weight itself when it is fp32
  const at::Tensor still = param.mask.defined() ? exact.clone() : at::Tensor();
  const double keep = 1 - lr * member.weight_decay;
  if (direction.left.defined() || direction.right.defined()) {
    const at::Tensor inside = direction.gain.defined() ? direction.value * direction.gain : direction.value;
    const at::Tensor half = direction.right.defined() && direction.left.defined() ? inside.mm(direction.right) : inside;
    const at::Tensor& last = direction.left.defined() ? half : direction.right;
    exact.addmm_(direction.left.defined() ? direction.left.t() : half, last, keep, -lr);
  } else {
    kernels::add_scaled(exact, keep, direction.value, direction.gain, -lr);
  }
  if (direction.rest.defined()) kernels::add_scaled(exact, 1, direction.rest, direction.rest_gain, -lr);
  if (still.defined()) exact.copy_(at::where(param.mask, exact, still));
  if (param.packed)
    param.packed->pack(exact, rounding);
  else if (!exact.is_alias_of(weight))
    kernels::stochastic_round(exact, weight, rounding);
}

}  // namespace tersor
