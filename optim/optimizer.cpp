#include "optim/optimizer.h"

#include <torch/csrc/autograd/variable.h>

#include <cmath>

#include "kernels/stochastic_round.h"

namespace tersor {

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
  if (update != UpdateMode::kDuringBackward) return;
  if (clip_norm)
    out.add(place("clip_norm"), "needs the norm of all gradients before any weight changes and cannot go with "
                                "'update: during_backward'; remove one of them");
  if (on_nonfinite == OnNonfinite::kSkip)
    out.add(place("on_nonfinite"), "'skip' needs all gradients before any weight changes and cannot go with "
                                   "'update: during_backward'; use 'stop'");
}

Optimizer::Optimizer(std::vector<Param> params, const OptimizerConfig& config, uint64_t seed)
    : params_(std::move(params)), config_(config), seed_(seed) {
  for (const GroupConfig& group : config_.groups) {
    rules_.push_back(group.rule.build());
    formats_.push_back(group.state.build());
  }
  const std::vector<size_t> assigned = assign_groups(params_, config_.groups, rules_);
  for (size_t i = 0; i < params_.size(); ++i) {
    const Param& param = params_[i];
    const GroupConfig& group = config_.groups[assigned[i]];
    members_.push_back({.group = assigned[i],
                        .weight_decay = group.weight_decay.value_or(config_.weight_decay),
                        .lr_scale = group.lr_scale});
    const ParamShape shape{param.value.sizes().vec(), param.slice_axis};
    state_.declare(param.name, rules_[assigned[i]]->slots(shape), *formats_[assigned[i]], param.value.options());
    torch::autograd::impl::set_post_acc_grad_hooks(param.value, std::make_unique<GradientHook>(*this, i));
  }
}

Optimizer::~Optimizer() {
  for (const Param& param : params_) torch::autograd::impl::set_post_acc_grad_hooks(param.value, nullptr);
}

void Optimizer::begin_step(const Progress& progress, double lr, int64_t num_micro_batches) {
  progress_ = progress;
  lr_ = lr;
  num_micro_batches_ = num_micro_batches;
  micro_batch_ = 0;
  refused_ = false;
  abandon_step();
}

void Optimizer::begin_micro_batch() { ++micro_batch_; }

void Optimizer::abandon_step() {
  for (Member& member : members_) {
    member.gradient.reset();
    member.square_norm.reset();
  }
}

void Optimizer::receive_gradient(size_t index) {
  const at::NoGradGuard no_grad;
  Member& member = members_[index];
  at::Tensor& slot = params_[index].value.mutable_grad();
  at::Tensor gradient = std::move(slot);
  slot = at::Tensor();
  // bf16 gradients of many micro-batches would lose their sum to rounding.
  if (num_micro_batches_ > 1 && gradient.scalar_type() == at::kBFloat16) gradient = gradient.to(at::kFloat);
  if (member.gradient.defined())
    member.gradient.add_(gradient);
  else
    member.gradient = std::move(gradient);
  if (micro_batch_ < num_micro_batches_) return;

  member.square_norm = at::linalg_vector_norm(member.gradient, 2, std::nullopt, false, at::kFloat).to(at::kDouble).square();
  if (config_.update != UpdateMode::kDuringBackward || refused_) return;
  refused_ = !std::isfinite(member.square_norm.item<double>());
  if (!refused_) update(index, 1);
}

double Optimizer::global_norm() const {
  std::vector<at::Tensor> squares;
  for (const Member& member : members_)
    if (member.square_norm.defined()) squares.push_back(member.square_norm);
  return squares.empty() ? 0 : at::stack(squares).sum().sqrt().item<double>();
}

StepOutcome Optimizer::finish_step() {
  const at::NoGradGuard no_grad;
  TERSOR_CHECK(micro_batch_ == num_micro_batches_, "{} of {} micro-batches", micro_batch_, num_micro_batches_);
  StepOutcome outcome{.grad_norm = global_norm()};
  outcome.finite = std::isfinite(outcome.grad_norm);
  if (outcome.finite && config_.update == UpdateMode::kAfterBackward) {
    if (config_.clip_norm) outcome.clip_factor = std::min(1.0, *config_.clip_norm / (outcome.grad_norm + 1e-6));
    for (size_t i = 0; i < members_.size(); ++i)
      if (members_[i].gradient.defined()) update(i, outcome.clip_factor);
  }
  abandon_step();
  return outcome;
}

void Optimizer::update(size_t index, double clip_factor) {
  const Param& param = params_[index];
  Member& member = members_[index];
  at::Tensor gradient = member.gradient.to(at::kFloat);
  if (clip_factor != 1) gradient = gradient.is_alias_of(member.gradient) ? gradient.mul_(clip_factor) : gradient * clip_factor;
  const StepInfo step{.progress = progress_, .seed = seed_, .param = param.name};
  Slots slots = state_.open(param.name);
  const Direction direction = rules_[member.group]->direction(gradient, slots, step);

  const double lr = lr_ * member.lr_scale;
  at::Tensor weight = param.value.detach();
  at::Tensor exact = weight.to(at::kFloat);  // the weight itself when it is fp32
  if (member.weight_decay != 0) exact.mul_(1 - lr * member.weight_decay);
  if (direction.gain.defined())
    exact.addcmul_(direction.value, direction.gain, -lr);
  else
    exact.sub_(direction.value, lr);
  if (!exact.is_alias_of(weight)) kernels::stochastic_round(exact, weight, step.random("weight_rounding"));
  state_.close(param.name, slots, step.random("state_rounding"));
  member.gradient.reset();
}

}  // namespace tersor
