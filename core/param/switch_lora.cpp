// SwitchLoRA: the vectors of LoRA's factors swap places with candidates.    Zhou et al. 2024, arXiv:2406.06564
//
//   y = x Wᵀ + s·(x Aᵀ) Bᵀ        s = α/r        W (out, in) frozen   A (r, in)   B (out, r)        N = min(out, in)
//
// Each factor has N candidates, which include its r vectors (rows of A, columns of B), each in a slot of its own. To switch
// row i of A with the candidate in slot c:
//
//   W ← W + s·bᵢ(aᵢ − C[c])    C[slot of i] ← aᵢ    aᵢ ← C[c]                   y is unchanged, for any c; columns of B likewise
//
// The gradient of bᵢ, the row's counterpart, depends on aᵢ: the optimizer's state for bᵢ is reset, and bᵢ is frozen for a few
// steps (`freeze`), during which its moments stay zero while its step count goes on, so that its first step afterwards is a
// short one. The gradient of aᵢ depends on bᵢ, so aᵢ keeps its state.
//
// Vectors are switched in turn, and so are candidates: the slots in use are a cyclic window that moves on. A begins at row 0 and
// B at column ⌊r/2⌋. Both switch equally many, so they stay half a turn apart. Two things limit the number in a step:
//   · the N − r unused slots: no slot is both read and written;
//   · the distance to the first frozen vector and to the other factor's position: no frozen vector is switched, and no index on
//     both sides in one step.
// With r = N, or r = 1, nothing is ever switched.
//
// The paper's code switches after the backward pass and before the step; here it is done before the forward pass. That is
// equivalent: y, and so the gradient that arrives from above, does not change, and the gradient of a vector that is not frozen
// otherwise depends only on its counterpart, which was not switched (that would have frozen the vector). Only the norm for
// clipping differs: the authors' includes the gradients of counterparts about to be frozen, ours does not.
// `freeze` counts attempted steps: one that is skipped because a gradient is not finite counts too, and leaves the vector's
// step count one behind. Switching must go on being called, if only with 0 expected, until no vector is frozen.
//
// Initially all candidates are uniform, with standard deviations (√out·r/in^1.5)^¼·√g for rows of A and (r/√(out·in))^¼·√g for
// columns of B, g = 1/√3, so that those of BA/r are g/√in (section 4, and the authors' code); W is the dense initial weight
// minus s·BA.
//
// Departs from the authors' code: W is changed in at least fp32, once per step for both factors, and rounded stochastically
// to bf16; the first limit above; randomness comes from the given stream, so that all processes agree.
#include <cmath>

#include "core/param/frozen_weight.h"
#include "core/param/operations.h"
#include "kernels/fill_uniform.h"

namespace tersor {
namespace {

// A factor as r vectors, with its candidates.
class Vectors {
 public:
  // `value`: (r, length), or (length, r) for axis 1.
  Vectors(std::string name, const at::Tensor& value, int64_t axis, int64_t num_candidates, int64_t first)
      : name_(std::move(name)), value_(value), axis_(axis) {
    const int64_t r = value.size(axis);
    const at::TensorOptions host = value.options().requires_grad(false).device(value.is_meta() ? at::kMeta : at::kCPU);
    candidates_ = at::empty({num_candidates, value.size(1 - axis)}, host);
    // The last r slots, in order from vector `first` on.
    slots_ = at::arange(num_candidates - r, num_candidates, at::kLong).roll(first).to(host.device());
    next_ = at::full({1}, first % r, host.dtype(at::kLong));
    frozen_ = at::zeros({r}, host.dtype(at::kLong));
    const std::vector<int64_t> one_a_vector = axis == 0 ? std::vector{r, int64_t{1}} : std::vector{int64_t{1}, r};
    mask_ = at::ones(one_a_vector, value.options().requires_grad(false).dtype(at::kBool));
  }

  void draw(double std, const RandomStream& random) {
    if (candidates_.is_meta()) return;
    kernels::fill_uniform(candidates_, std::sqrt(3.0) * std, random);
    rows().copy_(candidates_.index_select(0, slots_));
  }

  Param param() const { return {.name = name_, .value = value_, .role = Role::kFactor, .slice_axis = axis_, .mask = mask_}; }
  void keep(const std::string& weight, std::vector<PackedPart>& parts) const {
    const std::string letter = name_.substr(weight.size() + 1);
    for (const auto& [part, value] : {std::pair{"candidates_", candidates_}, {"slots_", slots_}, {"next_", next_}, {"frozen_", frozen_}})
      parts.push_back({.name = weight + "." + part + letter, .value = value, .idle = true});
  }
  const std::string& name() const { return name_; }

  // How many vectors there are from `next` on before a frozen one and before `other`'s position.
  int64_t reach(const Vectors& other) const {
    const int64_t* frozen = frozen_.const_data_ptr<int64_t>();
    int64_t count = 0;
    for (int64_t i = next(); i != other.next() && frozen[i] == 0; i = (i + 1) % size()) ++count;
    return count;
  }

  struct Switched {
    std::vector<int64_t> indices;
    at::Tensor drop;  // old − new (k, length), in exact_type
  };
  // Switches the next `count` vectors with the candidates that follow the window.
  Switched switch_next(int64_t count, at::ScalarType exact) {
    const at::Tensor places = (at::arange(count, at::kLong) + next()).remainder(size());
    const int64_t newest = slots_[(next() + size() - 1) % size()].item<int64_t>();
    const at::Tensor slots = (at::arange(count, at::kLong) + newest + 1).remainder(candidates_.size(0));
    const at::Tensor fresh = for_copy(candidates_.index_select(0, slots)).to(value_.device(), /*non_blocking=*/true);
    const at::Tensor old = take(places);
    candidates_.index_copy_(0, slots_.index_select(0, places), old.to(candidates_.device()));
    rows().index_copy_(0, places.to(value_.device()), fresh);
    slots_.index_copy_(0, places, slots);
    next_.fill_((next() + count) % size());
    const auto* first = places.const_data_ptr<int64_t>();
    return {{first, first + count}, old.to(exact) - fresh.to(exact)};
  }

  at::Tensor take(const at::Tensor& places) const { return rows().index_select(0, places.to(value_.device())); }
  at::Tensor take(const std::vector<int64_t>& places) const { return take(at::tensor(places, at::kLong)); }

  void hold(const std::vector<int64_t>& places, int64_t steps) { frozen_.index_fill_(0, at::tensor(places, at::kLong), steps); }
  void thaw() { frozen_.sub_(1).clamp_min_(0); }
  void show_mask() { mask_.copy_(for_copy((frozen_ == 0).view(mask_.sizes())), /*non_blocking=*/true); }

 private:
  // In memory that a GPU can copy from asynchronously.
  at::Tensor for_copy(const at::Tensor& host) const { return value_.is_cuda() ? host.pin_memory() : host; }
  int64_t size() const { return frozen_.size(0); }
  int64_t next() const { return next_.const_data_ptr<int64_t>()[0]; }
  at::Tensor rows() const { return axis_ == 0 ? value_.detach() : value_.detach().t(); }  // (r, length)

  std::string name_;
  at::Tensor value_;
  int64_t axis_;
  at::Tensor candidates_;  // (N, length), in host memory; those of vectors in use are out of date
  at::Tensor slots_;       // (r) int64: the slot of each vector among the candidates
  at::Tensor next_;        // (1) int64: the vector that is switched next
  at::Tensor frozen_;      // (r) int64: steps for which each vector is still frozen
  at::Tensor mask_;        // bool, (r, 1) or (1, r)
};

class SwitchLoRA final : public Parameterization, public VectorSwitching {
 public:
  struct Config {
    int64_t rank = 128;
    double alpha = 1;
    void fields(FieldVisitor& v) {
      v("rank", rank, at_least(1), "rank r of the trained product, at most the short side of the weight");
      v("alpha", alpha, positive, "α of the scale s = α/r");
    }
  };

  SwitchLoRA(const Config& config, const WeightShape& shape)
      : name_(shape.name), rank_(std::min({config.rank, shape.out, shape.in})), spare_(std::min(shape.out, shape.in) - rank_),
        scale_(config.alpha / static_cast<double>(rank_)),
        a_(register_parameter("A", at::empty({rank_, shape.in}, shape.options))),
        b_(register_parameter("B", at::empty({shape.out, rank_}, shape.options))),
        rows_(name_ + ".A", a_, 0, rank_ + spare_, 0), columns_(name_ + ".B", b_, 1, rank_ + spare_, rank_ / 2),
        base_(start(shape), shape.options) {}

  at::Tensor forward(const at::Tensor& x) override { return add_product(base_.apply(x), at::linear(x, a_), b_, scale_); }
  at::Tensor materialize() const override { return with_product(base_.read(), scale_).to(a_.scalar_type()); }
  void assign(const at::Tensor& w) override { base_.write(with_product(w.to(exact_type(a_.options())), -scale_)); }
  std::vector<Param> params() override { return {rows_.param(), columns_.param()}; }
  std::vector<PackedPart> kept() const override {
    std::vector<PackedPart> parts = base_.parts(name_ + ".base");
    rows_.keep(name_, parts);
    columns_.keep(name_, parts);
    return parts;
  }
  void restored() override {
    rows_.show_mask();
    columns_.show_mask();
  }
  int64_t num_active() override { return base_.numel() + Parameterization::num_active(); }

  std::vector<ForgottenSlices> switch_vectors(double expected, int64_t freeze, const RandomStream& random) override {
    const at::NoGradGuard no_grad;
    rows_.thaw();
    columns_.thaw();
    const double whole = std::floor(expected);
    const int64_t drawn = static_cast<int64_t>(whole) + (random.uniform(0) < expected - whole ? 1 : 0);
    const int64_t count = std::min({drawn, spare_, rows_.reach(columns_), columns_.reach(rows_)});
    std::vector<ForgottenSlices> forgotten;
    if (count > 0) {
      const at::ScalarType exact = exact_type(a_.options());
      const Vectors::Switched a = rows_.switch_next(count, exact);
      const at::Tensor columns = columns_.take(a.indices).to(exact);
      const Vectors::Switched b = columns_.switch_next(count, exact);
      const at::Tensor rows = rows_.take(b.indices).to(exact);
      // Both at once, for a single pass over W.
      base_.add_outer(at::cat({columns, b.drop}), at::cat({a.drop, rows}), scale_, random.child(1));
      columns_.hold(a.indices, freeze);
      rows_.hold(b.indices, freeze);
      forgotten = {{columns_.name(), a.indices}, {rows_.name(), b.indices}};
    }
    restored();
    return forgotten;
  }

 private:
  // Draws the candidates; returns W's initial value.
  at::Tensor start(const WeightShape& shape) {
    const double r = static_cast<double>(rank_), out = static_cast<double>(shape.out), in = static_cast<double>(shape.in);
    const double root_gain = std::pow(3.0, -0.25);  // √g
    const auto random = [&](const char* part) { return random_stream(shape.seed, "init", name_ + part); };
    rows_.draw(std::pow(std::sqrt(out) * r / std::pow(in, 1.5), 0.25) * root_gain, random(".candidates_A"));
    columns_.draw(std::pow(r / std::sqrt(out * in), 0.25) * root_gain, random(".candidates_B"));
    return with_product(initial_weight(shape, exact_type(shape.options)), -scale_);
  }
  // w + scale·BA, in the type of w.
  at::Tensor with_product(const at::Tensor& w, double scale) const {
    return at::addmm(w, b_.detach().to(w.scalar_type()), a_.detach().to(w.scalar_type()), 1, scale);
  }

  std::string name_;
  int64_t rank_;
  int64_t spare_;  // N − r: unused slots
  double scale_;
  at::Tensor a_;     // (r, in)
  at::Tensor b_;     // (out, r)
  Vectors rows_;     // of A
  Vectors columns_;  // of B
  FrozenWeight base_;  // W (out, in)
};

const bool registered = parameterizations().add<SwitchLoRA>("switch_lora", "Zhou et al. 2024, arXiv:2406.06564");

}  // namespace
}  // namespace tersor
