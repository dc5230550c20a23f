// GaLore: gradient low-rank projection.    Zhao et al. 2024, arXiv:2403.03507, Algorithm 2
// Q-GaLore (lazy refresh; with `projector: int4`, `state: int8` and int8 weights).    Zhang et al. 2024, arXiv:2407.08296
//
//   when due:  Q ← r leading singular vectors of G on its short side           Q (r, short)
//   R = G·Qᵀ  (or L·G)        N = inner(R)        ΔW = α · N·Q  (or Lᵀ·N)      R, N (long, r) or (r, long)
//
// The inner rule, by default AdamW with ε as the authors' package adds it, keeps its moments in the subspace. Between
// refreshes gradients are compressed to R before they are summed, and a sketch of what R leaves out is kept beside R, for
// the norm of the gradient:  ‖G‖² ≈ ‖R‖² + ‖S(G − G·QᵀQ)‖²/k,  S (k, …) normal, an unbiased estimate.
//
// Departs from the authors' code: the signs of singular vectors are fixed, so moments kept over a refresh mean the same on
// every machine; the side is kept with the basis, not guessed from shapes; bases are found and kept in fp32, theirs in the
// gradient's type, and where they are stored in fewer bits, the step that finds one still uses it in fp32. A bf16 gradient is
// multiplied by the basis rounded to bf16, and R is rounded, too, as products are in a bf16 pass.
#include "kernels/fill_normal.h"
#include "optim/subspace.h"

namespace tersor {
namespace {

constexpr int64_t kSketchRows = 4;

class GaLore final : public UpdateRule, public Compression {
 public:
  struct Config {
    SubspaceConfig subspace;
    double scale = 0.25;
    Choice<update_rules> inner = adamw_of_packages();
    void fields(FieldVisitor& v) {
      subspace.fields(v);
      v("scale", scale, positive, "α, applied to the update projected back");
      v("inner", inner, "rule that runs in the subspace");
    }
  };
  explicit GaLore(const Config& config) : subspace_(config.subspace, config.inner), scale_(config.scale) {}

  std::vector<SlotSpec> slots(const ParamShape& shape) const override { return subspace_.slots(shape); }

  Direction direction(const at::Tensor& grad, Slots& slots, const StepInfo& step) const override {
    subspace_.refresh_when_due(grad, slots, step);
    return step_in_subspace(subspace_.down(grad, slots), slots, step);
  }

  const Compression* compression() const override { return subspace_.config().side == Side::kFull ? nullptr : this; }
  bool applies(const StepInfo& step, const Slots& host) const override { return !subspace_.due(step, host); }
  bool finds_basis(const StepInfo& step, const Slots& host) const override { return subspace_.finds_basis(step, host); }
  bool depends_on_gradients() const override { return subspace_.config().lazy.has_value(); }

  at::Tensor compress(const at::Tensor& grad, const Slots& projectors, const StepInfo& step) const override {
    const at::Tensor projected = subspace_.down(grad, projectors);
    if (step.num_micro_batches == 1) return projected;  // the gradient's own norm is known
    const int64_t axis = subspace_.compressed_axis(grad.sizes());
    at::Tensor sketch = at::empty({kSketchRows, grad.size(axis)}, projected.options());
    kernels::fill_normal(sketch, 1, step.random("norm_sketch"));
    const at::Tensor& basis = projectors[axis == 0 ? "left" : "right"];
    const at::Tensor rest = sketch - sketch.mm(basis.t()).mm(basis);  // rows of S(I − QᵀQ)
    return at::cat({projected, axis == 0 ? product(rest, grad) : product(grad, rest.t())}, axis);
  }

  at::Tensor square_norm(const at::Tensor& compressed, at::IntArrayRef sizes) const override {
    const int64_t axis = subspace_.compressed_axis(sizes);
    const int64_t kept = compressed.size(axis) - kSketchRows;
    const auto square = [](const at::Tensor& x) { return at::linalg_vector_norm(x).to(at::kDouble).square(); };
    return square(compressed.narrow(axis, 0, kept)) + square(compressed.narrow(axis, kept, kSketchRows)) / kSketchRows;
  }

  Direction direction_of(const at::Tensor& compressed, Slots& slots, const StepInfo& step) const override {
    if (step.num_micro_batches == 1) return step_in_subspace(compressed, slots, step);
    const int64_t axis = slots.contains("left") ? 0 : 1;
    const int64_t kept = compressed.size(axis) - kSketchRows;
    return step_in_subspace(compressed.narrow(axis, 0, kept).contiguous(), slots, step);
  }

  std::optional<std::string> refuses(const Param& param) const override { return refuse_unless_matrix(param); }

 private:
  Direction step_in_subspace(const at::Tensor& projected, const Slots& slots, const StepInfo& step) const {
    Direction inside = subspace_.inside(projected, slots, step);
    inside.gain = inside.gain.defined() ? inside.gain * scale_ : at::full({}, scale_, projected.options());
    return inside;
  }

  Subspace subspace_;
  double scale_;
};

const bool registered = update_rules().add<GaLore>("galore", "Zhao et al. 2024, arXiv:2403.03507");

}  // namespace
}  // namespace tersor
