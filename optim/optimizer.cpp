#include "optim/optimizer.h"

#include <torch/csrc/autograd/variable.h>

#include "core/memory/ledger.h"

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
}

Optimizer::Optimizer(std::vector<Param> params, const OptimizerConfig& config, uint64_t seed, Processes processes)
    : params_(std::move(params)), config_(config), seed_(seed), processes_(processes), methods_(build_methods(config.groups)) {
  attach(false);
}

Optimizer::~Optimizer() { detach(); }

// Gives every parameter its group, its owner, its slots and its hook: `everything`, also the slots that only the owner keeps.
void Optimizer::attach(bool everything) {
  const MemoryScope scope(Segment::kOptimizer);
  const std::vector<int> owners = assign_owners(params_, processes_.comm->size());
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
                        .lr_scale = group.lr_scale,
                        .owner = owners[i]});
    const ParamShape shape{param.value.sizes().vec(), param.slice_axis};
    const SlotFormats formats{methods_[index].state.get(), methods_[index].projector.get(), group.state.type(), group.projector.type()};
    std::vector<SlotSpec> slots = rule(members_[i]).slots(shape);
    if (!everything && sharded() && !owned(members_[i])) std::erase_if(slots, [](const SlotSpec& slot) { return !held_by_all(slot.kind); });
    state_.declare(param.name, shape, slots, formats, param.value.options());
    torch::autograd::impl::set_post_acc_grad_hooks(param.value, std::make_unique<GradientHook>(*this, i));
  }
}

void Optimizer::detach() {
  for (const Param& param : params_) torch::autograd::impl::set_post_acc_grad_hooks(param.value, nullptr);
}

// Every process receives the state that others own, for as long as parameters change hands.
void Optimizer::complete_state() {
  if (!sharded()) return;
  const StateStore own = std::exchange(state_, {});
  members_.clear();
  attach(true);
  for (size_t i = 0; i < params_.size(); ++i) {
    if (owned(members_[i])) state_.inherit(params_[i].name, own, {.from = params_[i].name});
    for (const RestingSlot& slot : state_.resting(params_[i].name))
      for (const at::Tensor& part : slot.parts) processes_.comm->broadcast(part, members_[i].owner).wait();
  }
}

void Optimizer::shed_state() {
  if (!sharded()) return;
  for (size_t i = 0; i < params_.size(); ++i)
    if (!owned(members_[i])) state_.keep(params_[i].name, held_by_all);
}

bool Optimizer::owns(const std::string& param) const {
  for (size_t i = 0; i < params_.size(); ++i)
    if (params_[i].name == param) return owned(members_[i]);
  return false;
}

ResetCount Optimizer::reset(const std::string& param, const Reset& what, const RandomStream& random) {
  const ResetCount count = state_.reset(param, what, random);
  return owns(param) ? count : ResetCount{};
}

void Optimizer::replace_params(std::vector<Param> params, const std::map<std::string, Inheritance>& inherited) {
  complete_state();
  detach();
  const StateStore old = std::exchange(state_, {});
  const std::vector<Param> before = std::exchange(params_, std::move(params));
  members_.clear();
  attach(true);
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
  shed_state();
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

}  // namespace tersor
