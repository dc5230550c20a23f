#include <cmath>

#include "core/memory/ledger.h"
#include "kernels/on_host.h"
#include "kernels/square_norm.h"
#include "optim/optimizer.h"

namespace tersor {

void Optimizer::begin_step(const Progress& progress, double lr, int64_t num_micro_batches) {
  progress_ = progress;
  lr_ = lr;
  TERSOR_CHECK(num_micro_batches % processes_.comm->size() == 0, "{} micro-batches for {} processes", num_micro_batches, processes_.comm->size());
  num_micro_batches_ = num_micro_batches;
  own_micro_batches_ = num_micro_batches / processes_.comm->size();
  micro_batch_ = 0;
  refused_ = false;
  outcome_ = {};
  updated_before_ = std::exchange(updated_, {});
  measuring_ = config_.two_passes();
  abandon_step();
  const bool small = config_.update == UpdateMode::kDuringBackward || !alone();
  const Accumulate standard = small ? Accumulate::kCompressed : Accumulate::kFull;
  const bool compress = config_.accumulate.value_or(standard) == Accumulate::kCompressed;
  for (size_t i = 0; i < members_.size(); ++i) {
    Member& member = members_[i];
    const Compression* compression = rule(member).compression();
    if (compression == nullptr && (alone() || sharded())) continue;  // its bases concern their owner alone
    const Slots host = state_.open(member.param.name, SlotKind::kHost);
    member.compressed = compress && compression != nullptr && compression->applies(step_info(i), host);
    member.finds_basis = !alone() && rule(member).finds_basis(step_info(i), host);
  }
}

void Optimizer::begin_micro_batch() { ++micro_batch_; }

void Optimizer::abandon_step() {
  for (Member& member : members_) {
    member.gradient.reset();
    member.square_norm.reset();
    member.compressed = false;
    member.came = false;
  }
}

StepInfo Optimizer::step_info(size_t index) const {
  return {.progress = progress_, .seed = seed_, .param = members_[index].param.name, .place = members_[index].place,
          .num_micro_batches = num_micro_batches_};
}

at::Tensor Optimizer::compress(size_t index, at::Tensor gradient) const {
  if (!members_[index].compressed) return gradient;
  const Slots projectors = state_.open(members_[index].param.name, SlotKind::kProjector);
  return rule(members_[index]).compression()->compress(gradient, projectors, step_info(index));
}

// The squared norm of the step's gradient, measured, or, where only compressed ones were summed, estimated from their sum.
at::Tensor Optimizer::measure(size_t index, const at::Tensor& whole, const at::Tensor& sum) const {
  const Member& member = members_[index];
  if (estimates_norm(member)) return rule(member).compression()->square_norm(sum, member.param.value.sizes());
  return kernels::square_norm(member.compressed ? whole : sum);
}

// On a GPU, all gradients still held at the end of a step are measured in one launch; in host memory, each while it is in the cache.
bool Optimizer::measured_at_the_end(const Member& member) const {
  return config_.update == UpdateMode::kAfterBackward && !member.compressed && !kernels::on_host(member.gradient);
}

void Optimizer::receive_gradient(size_t index) {
  const at::NoGradGuard no_grad;
  at::Tensor whole = std::exchange(params_[index].value.mutable_grad(), at::Tensor());
  if (holding_)
    held_.emplace_back(index, std::move(whole));
  else
    receive_whole(index, std::move(whole));
}

std::vector<std::pair<size_t, at::Tensor>> Optimizer::held_gradients() {
  holding_ = false;
  return std::exchange(held_, {});
}

void Optimizer::receive(size_t param, const at::Tensor& gradient) {
  const at::NoGradGuard no_grad;
  receive_whole(param, num_micro_batches_ > 1 ? gradient.clone() : gradient);  // sums accumulate in the first gradient
}

void Optimizer::receive_whole(size_t index, at::Tensor whole) {
  const Param& param = params_[index];
  if (param.mask.defined()) whole = at::where(param.mask, whole, at::zeros({}, whole.options()));  // selected, not multiplied: masked entries may be anything
  for (size_t i = first_member_[index]; i < first_member_[index + 1]; ++i) {
    const Piece& piece = members_[i].piece;
    receive_gradient_of(i, piece.end == 0 ? whole : whole.slice(0, piece.begin, piece.end));
  }
}

void Optimizer::receive_gradient_of(size_t index, const at::Tensor& whole) {
  Member& member = members_[index];
  at::Tensor gradient = compress(index, whole);
  // Summed in bf16, gradients of many micro-batches would be lost to rounding.
  if (num_micro_batches_ > 1 && gradient.scalar_type() == at::kBFloat16) gradient = gradient.to(at::kFloat);
  const bool last = micro_batch_ == own_micro_batches_;
  const Arriving now{.index = index, .gradient = gradient, .last = last, .measured = last && measuring_};
  if (alone()) return arrived(now, whole);
  if (shards_gradients()) return send(now);
  at::Tensor& sum = member.gradient;
  if (now.measured) {  // the sum is only measured: the gradient will come again
    send({.index = index, .gradient = sum.defined() ? sum + gradient : gradient.clone(), .last = true, .measured = true});
    return;
  }
  sum = sum.defined() ? sum.add_(gradient) : gradient;
  book(sum, Segment::kGradients);
  if (last) send({.index = index, .gradient = std::exchange(sum, at::Tensor()), .last = true});
}

// A large gradient is sent by itself, small ones many at a time.
void Optimizer::send(Arriving gradient) {
  constexpr int64_t kSmall = 1 << 14;  // numbers
  constexpr int64_t kMany = 1 << 18;
  constexpr size_t kOnTheWay = 4;      // before the first must have arrived
  if (gradient.gradient.numel() > kSmall) {
    send_parcel({std::move(gradient)});
  } else {
    small_numbers_ += gradient.gradient.numel();
    small_.push_back(std::move(gradient));
    if (small_numbers_ > kMany) send_parcel(std::exchange(small_, {}));
  }
  while (arriving_.size() > kOnTheWay) receive_parcel();
}

void Optimizer::send_parcel(std::vector<Arriving> parts) {
  Parcel parcel{.parts = std::move(parts)};
  if (parcel.parts.size() == 1) {
    const Member& member = members_[parcel.parts[0].index];
    parcel.content = parcel.parts[0].gradient.contiguous();
    parcel.pending = one_updates(member) ? comm().reduce(parcel.content, member.piece.owner) : comm().all_reduce(parcel.content);
  } else {
    std::vector<at::Tensor> flat;
    for (const Arriving& part : parcel.parts) flat.push_back(part.gradient.flatten());
    parcel.content = at::cat(flat);
    parcel.pending = comm().all_reduce(parcel.content);
    small_numbers_ = 0;
  }
  book(parcel.content, Segment::kGradients);
  arriving_.push_back(std::move(parcel));
}

void Optimizer::receive_parcel() {
  Parcel parcel = std::move(arriving_.front());
  arriving_.pop_front();
  parcel.pending.wait();
  int64_t begin = 0;
  for (Arriving& part : parcel.parts) {
    const std::vector<int64_t> sizes = part.gradient.sizes().vec();
    part.gradient = parcel.content.flatten().narrow(0, begin, part.gradient.numel()).view(sizes);
    begin += part.gradient.numel();
    arrived(part);
    part.gradient.reset();
  }
}

void Optimizer::let_all_arrive() {
  if (!small_.empty()) send_parcel(std::exchange(small_, {}));
  small_numbers_ = 0;
  while (!arriving_.empty()) receive_parcel();
}

// Takes the gradient of one micro-batch, or already the sum over all micro-batches and processes. `whole`: uncompressed, with one process.
void Optimizer::arrived(const Arriving& now, const at::Tensor& whole) {
  Member& member = members_[now.index];
  const bool is_sum = !alone() && !shards_gradients();
  if (updates(member)) {
    at::Tensor sum = now.gradient;
    if (member.gradient.defined() && !is_sum) sum = now.measured ? member.gradient + sum : member.gradient.add_(sum);
    if (now.measured) {  // only measured: it will come again
      member.square_norm = measure(now.index, whole, sum);
      return;
    }
    if (member.piece.end > 0 && sum.storage().nbytes() > sum.nbytes()) sum = sum.clone();  // a slice would keep the whole alive
    member.gradient = sum;
    book(sum, Segment::kGradients);
    if (now.last && !config_.two_passes() && !measured_at_the_end(member)) member.square_norm = measure(now.index, whole, sum);
  }
  if (!now.last || now.measured) return;
  member.came = true;
  if (config_.update != UpdateMode::kDuringBackward) return;
  // On a GPU nothing waits for each norm: a step that turns out non-finite ends the run and is not saved.
  if (updates(member) && !config_.two_passes() && kernels::on_host(member.square_norm)) refused_ = refused_ || !std::isfinite(kernels::number_in(member.square_norm));
  if (updates(member) && !refused_) update(now.index, outcome_.clip_factor);
  hand_out(now.index);
}

// One synchronization per step: the norm of all gradients, each measured by its owner.
void Optimizer::measure_all() {
  let_all_arrive();
  processes_.comm->settle();
  std::vector<at::Tensor> squares;
  std::vector<at::Tensor> unmeasured;
  for (const Member& member : members_) {
    if (!owned(member)) continue;
    if (member.square_norm.defined()) {
      squares.push_back(member.square_norm);
      outcome_.norm_is_estimate = outcome_.norm_is_estimate || estimates_norm(member);
    } else if (member.came) {
      unmeasured.push_back(member.gradient);
    }
  }
  if (!unmeasured.empty()) squares.push_back(kernels::square_norm(unmeasured));
  if (alone()) {
    if (!squares.empty()) outcome_.grad_norm = kernels::number_in(at::stack(squares).sum().sqrt());
  } else {
    const at::Tensor agreed = at::zeros({2}, at::kDouble);
    if (!squares.empty()) agreed[0] = kernels::number_in(at::stack(squares).sum());
    agreed[1] = outcome_.norm_is_estimate ? 1 : 0;
    processes_.comm->all_reduce(agreed).wait();
    outcome_.grad_norm = std::sqrt(agreed[0].item<double>());
    outcome_.norm_is_estimate = agreed[1].item<double>() > 0;
  }
  outcome_.finite = std::isfinite(outcome_.grad_norm);
  if (outcome_.finite && config_.clip_norm) outcome_.clip_factor = std::min(1.0, *config_.clip_norm / (outcome_.grad_norm + 1e-6));
}

bool Optimizer::begin_second_pass() {
  if (!measuring_) return false;
  const at::NoGradGuard no_grad;
  measure_all();
  measuring_ = false;
  return outcome_.finite;
}

StepOutcome Optimizer::finish_step() {
  const at::NoGradGuard no_grad;
  TERSOR_CHECK(micro_batch_ == own_micro_batches_, "{} of {} micro-batches", micro_batch_, own_micro_batches_);
  TERSOR_CHECK(!measuring_, "the second pass was left out");
  if (config_.two_passes())
    let_all_arrive();
  else
    measure_all();
  if (outcome_.finite && config_.update == UpdateMode::kAfterBackward) {
    for (size_t i = 0; i < members_.size(); ++i)
      if (members_[i].came && updates(members_[i])) update(i, outcome_.clip_factor);
    for (size_t i = 0; i < members_.size(); ++i)
      if (members_[i].came) hand_out(i);
  }
  for (Pending& tensor : std::exchange(handed_out_, {})) tensor.wait();
  if (!ahead_.empty()) state_.put_back(std::exchange(ahead_, {}));
  abandon_step();
  return outcome_;
}

}  // namespace tersor
