#include <ATen/record_function.h>

#include "core/memory/ledger.h"
#include "kernels/add_scaled.h"
#include "kernels/stochastic_round.h"
#include "optim/optimizer.h"

namespace tersor {
namespace {

// In fp32, times the factor; an fp32 gradient is changed itself.
at::Tensor clipped(const at::Tensor& gradient, double factor) {
  const at::Tensor exact = gradient.to(at::kFloat);
  if (factor == 1) return exact;
  return exact.mul_(factor);
}

}  // namespace

bool Optimizer::update_fused(size_t index, double clip_factor) {
  const Member& member = members_[index];
  const Param& param = member.param;
  const at::Tensor weight = param.value.detach();
  if (!fused_ || param.packed || param.mask.defined() || member.compressed || weight.scalar_type() != at::kFloat || !weight.is_contiguous()) return false;
  return rule(member).fused({.weight = weight, .grad = member.gradient.to(at::kFloat).contiguous(), .grad_scale = clip_factor,
                             .lr = lr_ * member.lr_scale, .weight_decay = member.weight_decay, .slots = state_.resting(param.name)});
}

// State that is offloaded comes for the update and goes; that of the next, which is the one that came next in the step before, is
// on its way meanwhile.
void Optimizer::update(size_t index, double clip_factor) {
  const MemoryScope scope(Segment::kTemporary);
  const Param& param = members_[index].param;
  RECORD_USER_SCOPE(param.name);
  state_.use(param.name);
  const size_t turn = updated_.size();
  updated_.push_back(index);
  if (turn + 1 < updated_before_.size() && updated_before_[turn] == index) state_.bring(members_[updated_before_[turn + 1]].param.name);
  update_here(index, clip_factor);
  state_.put_back(param.name);
}

void Optimizer::update_here(size_t index, double clip_factor) {
  Member& member = members_[index];
  const Param& param = member.param;
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

// What is in fp32 for the length of a step is then of a few rows.
void Optimizer::update_by_rows(size_t index, double clip_factor) {
  const Member& member = members_[index];
  const Param& param = member.param;
  const StepInfo step = step_info(index);
  const int64_t rows = param.value.size(0);
  const int64_t at_once = rows_at_once(param.value.size(1));
  for (int64_t begin = 0; begin < rows; begin += at_once) {
    const Rows these{.begin = begin, .end = std::min(rows, begin + at_once), .last = begin + at_once >= rows};
    const auto of_rows = [&](const at::Tensor& x) { return x.dim() == 2 && x.size(0) == rows ? x.slice(0, these.begin, these.end) : x; };
    Param part{.name = param.name, .value = of_rows(param.value.detach()), .role = param.role};
    if (param.mask.defined()) part.mask = of_rows(param.mask);
    const auto stream = [&](std::string_view purpose) { return step.random(purpose).child(static_cast<uint64_t>(member.piece.begin + begin)); };
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

// The weight as it rests to all processes that keep it, and after a step that found a basis what compresses gradients, or, where all update,
// all state.
void Optimizer::hand_out(size_t index) {
  const Member& member = members_[index];
  if (!one_updates(member)) return;
  const auto give = [&](const at::Tensor& tensor) { handed_out_.push_back(processes_.comm->broadcast(tensor, member.piece.owner)); };
  for (const PackedPart& part : member.param.resting())
    if (processes_.shard != Shard::kWeights || is_table(member.param) || !rests_at_owner(part.value)) give(part.value);
  if (rule(member).compression() == nullptr || member.compressed) return;
  for (const RestingSlot& slot : state_.resting(member.param.name))
    if (!sharded() || held_by_all(slot.kind))
      for (const at::Tensor& part : slot.parts) give(part);
}

// The rule takes the owner's step, on tensors without numbers, and what it writes into host memory is kept.
void Optimizer::catch_up_on_paper() {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < members_.size(); ++i) {
    const Member& member = members_[i];
    if (owned(member) || rule(member).compression() == nullptr) continue;
    const at::Tensor weight = member.param.value.detach();
    const at::TensorOptions exact = weight.options().dtype(at::kFloat);
    const Slots host = state_.open(member.param.name, SlotKind::kHost);
    Slots slots;
    for (const SlotSpec& spec : rule(member).slots({weight.sizes().vec(), member.param.slice_axis}))
      slots.add(spec.name, spec.kind == SlotKind::kHost ? host[spec.name] : at::zeros(spec.shape, exact));
    (void)rule(member).direction(at::empty(weight.sizes(), exact), slots, step_info(i));
  }
}

}  // namespace tersor
