#include "optim/optimizer.h"

#include <torch/csrc/autograd/variable.h>

#include "core/memory/ledger.h"

namespace tersor {

// Takes a parameter's gradient from autograd as soon as it is complete for one backward pass.
class Optimizer::GradientHook final : public torch::autograd::PostAccumulateGradHook {
 public:
  GradientHook(Optimizer& optimizer, size_t param) : optimizer_(optimizer), param_(param) {}
  void operator()(const torch::autograd::Variable&) override { optimizer_.receive_gradient(param_); }

 private:
  Optimizer& optimizer_;
  size_t param_;
};

void OptimizerConfig::check(const ConfigNode& node, Diagnostics& out) const {
  if (groups.empty()) out.add(node.nearest({"groups"}), "needs at least one group; 'match: any' takes every parameter");
}

Optimizer::Optimizer(std::vector<Param> params, const OptimizerConfig& config, uint64_t seed, Processes processes)
    : params_(std::move(params)), config_(config), seed_(seed), processes_(processes), methods_(build_methods(config.groups)) {
  attach(false);
}

Optimizer::~Optimizer() { detach(); }

SlotFormats Optimizer::formats(size_t group) const {
  const GroupConfig& config = config_.groups[group];
  return {methods_[group].state.get(), methods_[group].projector.get(), config.state.type(), config.projector.type(), config.offload};
}

// Whether every process holds slots of this kind for every parameter: those that gradients are compressed with, if they are.
bool Optimizer::held_by_all(size_t group, SlotKind kind) const {
  return methods_[group].rule->compression() != nullptr && (kind == SlotKind::kProjector || kind == SlotKind::kHost);
}

// Declares all slots or, without `all_slots`, only those that every process holds.
void Optimizer::declare(const Param& param, size_t group, bool all_slots, StateStore& state) const {
  const ParamShape shape = shape_of(param);
  std::vector<SlotSpec> slots = methods_[group].rule->slots(shape);
  if (!all_slots) std::erase_if(slots, [&](const SlotSpec& slot) { return !held_by_all(group, slot.kind); });
  state.declare(param.name, shape, slots, formats(group), param.value.options());
}

// Whether some of the rows, by themselves, are stored and updated as they would be among all.
bool Optimizer::may_be_cut(const Param& param, size_t group) const {
  if (!sharded() || !methods_[group].rule->elementwise() || param.value.dim() != 2 || param.packed || param.mask.defined()) return false;
  const auto on_paper = [&](int64_t rows) {
    Param part{.name = param.name, .value = at::empty({rows, param.value.size(1)}, param.value.options().device(at::kMeta)), .role = param.role};
    StateStore store;
    declare(part, group, true, store);
    return store;
  };
  const StateStore whole = on_paper(param.value.size(0));
  const StateStore part = on_paper(std::min(param.value.size(0), rows_at_once(param.value.size(1))));
  const auto tensors = [&](const StateStore& store) {
    std::vector<size_t> all;
    for (const RestingSlot& slot : store.resting(param.name)) all.push_back(slot.parts.size());
    return all;
  };
  return whole.opens_by_rows(param.name) && tensors(whole) == tensors(part);
}

// Gives every parameter its group, owners, slots and hook; with `everything`, also the slots that only owners keep.
void Optimizer::attach(bool everything) {
  const MemoryScope scope(Segment::kOptimizer);
  const std::vector<size_t> groups = assign_groups(params_, config_.groups, methods_);
  members_.clear();
  first_member_.clear();
  updated_.clear();
  updated_before_.clear();
  for (const Piece& piece : divide(params_, processes_.comm->size(), [&](size_t i) { return may_be_cut(params_[i], groups[i]); })) {
    const size_t group = groups[piece.param];
    const auto before = std::count(groups.begin(), groups.begin() + static_cast<std::ptrdiff_t>(piece.param), group);
    const auto all = std::count(groups.begin(), groups.end(), group);
    if (first_member_.size() == piece.param) first_member_.push_back(members_.size());
    Param param = params_[piece.param];
    if (piece.end > 0) param.value = param.value.detach().slice(0, piece.begin, piece.end);
    members_.push_back({.param = std::move(param),
                        .piece = piece,
                        .group = group,
                        .place = static_cast<double>(before) / static_cast<double>(all),
                        .weight_decay = config_.groups[group].weight_decay.value_or(config_.weight_decay),
                        .lr_scale = config_.groups[group].lr_scale});
  }
  first_member_.push_back(members_.size());
  for (size_t i = 0; i < params_.size(); ++i) {
    Param own = params_[i];
    const std::optional<Rows> rows = own_rows(own.name);
    if (!everything && rows && rows->end > 0) own.value = own.value.detach().slice(0, rows->begin, rows->end);
    declare(own, groups[i], everything || !sharded() || rows, state_);
    torch::autograd::impl::set_post_acc_grad_hooks(params_[i].value, std::make_unique<GradientHook>(*this, i));
  }
}

void Optimizer::detach() {
  for (const Param& param : params_) torch::autograd::impl::set_post_acc_grad_hooks(param.value, nullptr);
}

namespace {

void copy_all(const std::vector<at::Tensor>& from, const std::vector<at::Tensor>& to) {
  for (size_t i = 0; i < to.size(); ++i) to[i].copy_(from[i]);
}

}  // namespace

// Gathers the state of one parameter on all processes, from what each of them owns.
void Optimizer::collect(const std::string& param, const StateStore& own, StateStore& whole) const {
  for (const Member& member : members_) {
    if (member.param.name != param) continue;
    const std::vector<at::Tensor> to = whole.resting(param, {.begin = member.piece.begin, .end = member.piece.end});
    if (owned(member)) copy_all(own.resting(param, Rows{}), to);
    for (const at::Tensor& tensor : to) processes_.comm->broadcast(tensor, member.piece.owner).wait();
  }
}

// Gives every process the state that others own, while parameters change owners.
void Optimizer::complete_state() {
  if (!sharded()) return;
  const StateStore own = std::exchange(state_, {});
  attach(true);
  for (const Param& param : params_) collect(param.name, own, state_);
}

void Optimizer::shed_state() {
  if (!sharded()) return;
  for (size_t i = 0; i < params_.size(); ++i) {
    const Param& param = params_[i];
    const std::optional<Rows> rows = own_rows(param.name);
    if (!rows)
      state_.keep(param.name, [&](SlotKind kind) { return held_by_all(members_[first_member_[i]].group, kind); });
    else if (rows->end > 0)
      state_.keep(param.name, *rows);
  }
  state_.move_together();
}

std::optional<Rows> Optimizer::own_rows(const std::string& param) const {
  for (const Member& member : members_)
    if (member.param.name == param && owned(member)) return Rows{.begin = member.piece.begin, .end = member.piece.end};
  return std::nullopt;
}

std::vector<int64_t> Optimizer::loads() const {
  std::vector<int64_t> all(static_cast<size_t>(processes_.comm->size()), 0);
  for (const Member& member : members_)
    for (size_t rank = 0; rank < all.size(); ++rank)
      if (!sharded() || static_cast<int>(rank) == member.piece.owner) all[rank] += member.param.value.numel();
  return all;
}

// Which numbers stay may depend on all of a parameter, so the rows of one that is cut are gathered first.
ResetCount Optimizer::reset(const std::string& param, const Reset& what, const RandomStream& random) {
  const std::optional<Rows> rows = own_rows(param);
  const auto first = std::find_if(members_.begin(), members_.end(), [&](const Member& m) { return m.param.name == param; });
  if (first == members_.end() || first->piece.end == 0) {
    const ResetCount count = state_.reset(param, what, random);
    return rows ? count : ResetCount{};
  }
  StateStore whole;
  declare(params_[first->piece.param], first->group, true, whole);
  collect(param, state_, whole);
  const ResetCount count = whole.reset(param, what, random);
  if (rows) copy_all(whole.resting(param, *rows), state_.resting(param, Rows{}));
  return owned(*first) ? count : ResetCount{};
}

void Optimizer::replace_params(std::vector<Param> params, const std::map<std::string, Inheritance>& inherited) {
  complete_state();
  detach();
  const StateStore old = std::exchange(state_, {});
  const std::vector<Param> before = std::exchange(params_, std::move(params));
  attach(true);
  for (const Param& param : params_) {
    const auto named = inherited.find(param.name);
    const auto same = std::find_if(before.begin(), before.end(), [&](const Param& p) { return p.name == param.name; });
    if (named != inherited.end())
      state_.inherit(param.name, old, named->second);
    else if (same != before.end() && same->value.sizes() == param.value.sizes())
      state_.inherit(param.name, old, {.from = param.name});
    if (frozen_.contains(param.name)) param.value.set_requires_grad(false);
  }
  std::erase_if(frozen_, [&](const std::string& name) { return !state_.contains(name); });
  shed_state();
}

void Optimizer::set_frozen(const std::string& param, bool frozen) {
  const auto found = std::find_if(params_.begin(), params_.end(), [&](const Param& p) { return p.name == param; });
  if (found == params_.end()) throw user_error("there is no parameter '{}' to freeze or to train", param);
  found->value.set_requires_grad(!frozen);
  if (frozen)
    frozen_.insert(param);
  else
    frozen_.erase(param);
}

}  // namespace tersor
