#include <ATen/record_function.h>

#include "core/base/blame.h"
#include "core/memory/ledger.h"
#include "kernels/add_scaled.h"
#include "kernels/on_host.h"
#include "kernels/stochastic_round.h"
#include "optim/optimizer.h"

namespace tersor {
namespace {

constexpr std::string_view kWeightRounding = "weight_rounding";

// How many rows of a matrix are in fp32 at a time: more on a GPU, where kernel launches cost more than memory.
int64_t rows_of_a_step(const at::Tensor& weight) {
  constexpr int64_t kMoreOnGpu = 64;
  return rows_at_once(weight.size(1)) * (kernels::on_host(weight) ? 1 : kMoreOnGpu);
}

// The gradient in fp32, times the factor; an fp32 gradient is scaled in place.
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
  const at::ScalarType type = weight.scalar_type();
  if (!fused_ || param.packed || param.mask.defined() || member.compressed || (type != at::kFloat && type != at::kBFloat16) || !weight.is_contiguous()) return false;
  const at::Tensor grad = member.gradient.scalar_type() == type ? member.gradient : member.gradient.to(at::kFloat);
  return rule(member).fused({.weight = weight, .grad = grad.contiguous(), .grad_scale = clip_factor, .lr = lr_ * member.lr_scale,
                             .weight_decay = member.weight_decay, .rounding = step_info(index).random(kWeightRounding), .first = first_number(member),
                             .slots = state_.resting(param.name)});
}

// Offloaded state is brought for the update and put back after it; meanwhile that of the next member, going by the order of the
// previous step, is on its way.
void Optimizer::update(size_t index, double clip_factor) {
  const MemoryScope scope(Segment::kTemporary);
  const Param& param = members_[index].param;
  RECORD_USER_SCOPE(param.name);
  state_.use(param.name);
  const size_t turn = updated_.size();
  updated_.push_back(index);
  if (turn + 1 < updated_before_.size() && updated_before_[turn] == index) {
    const Member& next = members_[updated_before_[turn + 1]];
    if (updates(next) && params_[next.piece.param].value.requires_grad()) state_.bring(ahead_ = next.param.name);
  }
  update_here(index, clip_factor);
  state_.put_back(param.name);
}

void Optimizer::update_here(size_t index, double clip_factor) try {
  Member& member = members_[index];
  const Param& param = member.param;
  if (update_fused(index, clip_factor)) {
    member.gradient.reset();
    return;
  }
  if (rule(member).elementwise() && !param.packed && param.value.dim() == 2 && state_.opens_by_rows(param.name))
    update_by_rows(index, clip_factor);
  else {
    const StepInfo step = step_info(index);
    Slots slots = state_.open(param.name);
    apply(param, member, direction(index, slots, clip_factor), step.random(kWeightRounding), first_number(member));
    state_.close(param.name, slots, step.random("state_rounding"));
  }
  member.gradient.reset();
} catch (...) {
  blame_rule(members_[index]);
}

void Optimizer::blame_rule(const Member& member) const {
  blame(fmt::format("rule '{}', parameter '{}', step {}", config_.groups[member.group].rule.type(), member.param.name, progress_.step));
}

// A bf16 gradient is compressed first if it can be, so that it is never whole in fp32.
Direction Optimizer::direction(size_t index, Slots& slots, double clip_factor) const {
  const Member& member = members_[index];
  const StepInfo step = step_info(index);
  const Compression* compression = rule(member).compression();
  if (member.compressed) return compression->direction_of(clipped(member.gradient, clip_factor), slots, step);
  const bool rounded = member.gradient.scalar_type() == at::kBFloat16;
  if (!rounded || compression == nullptr || !compression->applies(step, slots)) return rule(member).direction(clipped(member.gradient, clip_factor), slots, step);
  return compression->direction_of(clipped(compression->compress(member.gradient, slots, step), clip_factor), slots, step);
}

// Index of a piece's first number within its parameter, so that draws are the same however that is cut.
int64_t Optimizer::first_number(const Member& member) { return member.piece.end == 0 ? 0 : member.piece.begin * member.param.value.size(1); }

// Only a few rows are then in fp32 at a time.
void Optimizer::update_by_rows(size_t index, double clip_factor) {
  const Member& member = members_[index];
  const Param& param = member.param;
  const StepInfo step = step_info(index);
  const int64_t rows = param.value.size(0);
  const int64_t at_once = rows_of_a_step(param.value);
  for (int64_t begin = 0; begin < rows; begin += at_once) {
    const Rows these{.begin = begin, .end = std::min(rows, begin + at_once), .last = begin + at_once >= rows};
    const auto of_rows = [&](const at::Tensor& x) { return x.dim() == 2 && x.size(0) == rows ? x.slice(0, these.begin, these.end) : x; };
    Param part{.name = param.name, .value = of_rows(param.value.detach()), .role = param.role};
    if (param.mask.defined()) part.mask = of_rows(param.mask);
    Slots slots = state_.open(param.name, these);
    apply(part, member, rule(member).direction(clipped(of_rows(member.gradient), clip_factor), slots, step), step.random(kWeightRounding),
          first_number(member) + begin * param.value.size(1));
    state_.close(param.name, slots, step.random("state_rounding").child(static_cast<uint64_t>(member.piece.begin + begin)), these);
  }
}

namespace {

// A direction restricted to some rows of its matrix.
Direction of_rows(const Direction& whole, int64_t rows, int64_t begin, int64_t end) {
  const auto narrowed = [&](const at::Tensor& x) { return x.defined() && x.dim() == 2 && x.size(0) == rows ? x.slice(0, begin, end) : x; };
  Direction part = whole;
  if (whole.left.defined())
    part.left = whole.left.slice(1, begin, end);
  else
    part.value = narrowed(whole.value);
  part.gain = narrowed(whole.gain);
  part.rest = narrowed(whole.rest);
  part.rest_gain = narrowed(whole.rest_gain);
  return part;
}

void check_direction(const Direction& d, at::IntArrayRef sizes) {
  if (!d.value.defined()) throw std::runtime_error("its direction has no value");
  std::vector<int64_t> shape = d.value.sizes().vec();
  if (d.left.defined() && shape.size() == 2) shape[0] = d.left.size(1);
  if (d.right.defined() && shape.size() == 2) shape[1] = d.right.size(1);
  if (sizes != shape) throw std::runtime_error(fmt::format("its direction has shape [{}], but the parameter has [{}]", fmt::join(shape, ", "), fmt::join(sizes, ", ")));
  if (d.rest.defined() && d.rest.sizes() != sizes)
    throw std::runtime_error(fmt::format("the rest of its direction has shape [{}], but the parameter has [{}]", fmt::join(d.rest.sizes(), ", "), fmt::join(sizes, ", ")));
}

// w ← keep·w − lr·(gain·leftᵀ·value·right + rest_gain·rest), in fp32
void add_direction(at::Tensor& w, const Direction& d, double keep, double lr) {
  if (d.left.defined() || d.right.defined())
    w.addmm_(d.left.defined() ? d.left.t() : d.value, d.left.defined() ? d.value : d.right, keep, -lr);
  else
    kernels::add_scaled(w, keep, d.value, d.gain, -lr);
  if (d.rest.defined()) kernels::add_scaled(w, 1, d.rest, d.rest_gain, -lr);
}

}  // namespace

// w ← (1 − ηλ)·w − η·gain·leftᵀ·value·right − η·rest_gain·rest.  A bf16 weight is in fp32 only a few rows at a time.
void Optimizer::apply(const Param& param, const Member& member, const Direction& direction, const RandomStream& rounding, int64_t first) const {
  const double lr = lr_ * member.lr_scale;
  const double keep = 1 - lr * member.weight_decay;
  const at::Tensor weight = param.value.detach();
  check_direction(direction, weight.sizes());
  Direction d = direction;
  if (d.left.defined() || d.right.defined()) {
    if (d.gain.defined()) d.value = d.value * d.gain;
    d.gain = at::Tensor();
    if (d.left.defined() && d.right.defined()) d.value = d.value.mm(d.right);
  }
  // `exact` is the weight itself if that is in fp32.
  const auto step = [&](at::Tensor exact, const Direction& part, const at::Tensor& mask) {
    const at::Tensor still = mask.defined() ? exact.clone() : at::Tensor();
    add_direction(exact, part, keep, lr);
    if (still.defined()) exact.copy_(at::where(mask, exact, still));
    return exact;
  };
  if (param.packed) return param.packed->pack(step(param.packed->unpack(), d, param.mask), rounding);
  if (weight.scalar_type() == at::kFloat) return (void)step(weight, d, param.mask);
  const int64_t rows = weight.size(0);
  const int64_t at_once = weight.dim() == 2 ? rows_of_a_step(weight) : rows;
  for (int64_t begin = 0; begin < rows; begin += at_once) {
    const int64_t end = std::min(rows, begin + at_once);
    at::Tensor part = weight.slice(0, begin, end);
    const at::Tensor mask = param.mask.defined() && param.mask.size(0) == rows ? param.mask.slice(0, begin, end) : param.mask;
    kernels::stochastic_round(step(part.to(at::kFloat), of_rows(d, rows, begin, end), mask), part, rounding, first + begin * (weight.numel() / rows));
    if (weight.is_meta()) return;  // in a plan the first part stands for all
  }
}

// Broadcasts the updated weight to all processes that keep it. After a step that found a basis, the slots that compress gradients go with
// it, or all state where every process updates on other steps.
void Optimizer::hand_out(size_t index) {
  const Member& member = members_[index];
  if (!one_updates(member)) return;
  const auto give = [&](const at::Tensor& tensor) { handed_out_.push_back(processes_.comm->broadcast(tensor, member.piece.owner)); };
  for (const PackedPart& part : member.param.resting())
    if (processes_.shard != Shard::kWeights || is_table(member.param) || !rests_at_owner(part.value)) give(part.value);
  if (!member.finds_basis) return;
  for (const RestingSlot& slot : state_.resting(member.param.name))
    if (!sharded() || held_by_all(member.group, slot.kind))
      for (const at::Tensor& part : slot.parts) give(part);
}

// The rule takes the owner's step on meta tensors, and what it writes into slots of kind kHost is kept.
void Optimizer::catch_up_on_paper() {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < members_.size(); ++i) {
    const Member& member = members_[i];
    if (owned(member) || !member.finds_basis) continue;
    const at::Tensor weight = member.param.value.detach();
    const at::TensorOptions exact = weight.options().dtype(at::kFloat);
    const Slots host = state_.open(member.param.name, SlotKind::kHost);
    Slots slots;
    for (const SlotSpec& spec : rule(member).slots(shape_of(member.param)))
      slots.add(spec.name, spec.kind == SlotKind::kHost ? host[spec.name] : at::zeros(spec.shape, exact));
    (void)rule(member).direction(at::empty(weight.sizes(), exact), slots, step_info(i));
  }
}

}  // namespace tersor
