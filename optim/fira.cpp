// Fira: full-rank training under low-rank constraint.    Chen et al. 2024, arXiv:2410.01623, Algorithm 1
//
//   R = G·Qᵀ (or L·G)    N = inner(R)    φ = ‖N‖ / ‖R‖  along the compressed axis            φ: one number per row (column)
//   S = φ ⊙ (G − α·R·Q)  limited in growth by γ                                              what the subspace leaves out
//   ΔW = α · N·Q + S
//
// Q is GaLore's. `form: code` (the default) is the authors' code, which gives their published numbers: the inner rule's bias correction
// multiplies the whole step, so φ and the limiter see moments without it. `form: paper` is their Algorithm 1: S = α · φ ⊙ (G − R·Q),
// and N is bias-corrected before φ is computed from it.
#include "kernels/square_norm.h"
#include "optim/norm_growth_limiter.h"
#include "optim/subspace.h"

namespace tersor {

enum class FiraForm { kCode, kPaper };
template <>
struct EnumNames<FiraForm> {
  static constexpr std::array values{std::pair{FiraForm::kCode, std::string_view("code")},
                                     std::pair{FiraForm::kPaper, std::string_view("paper")}};
};

namespace {

// Up to this τ, ‖G − τRQ‖² is at least a hundredth of ‖G‖², so little is lost in the difference.
constexpr double kMostTaken = 0.9;

class Fira final : public UpdateRule {
 public:
  struct Config {
    SubspaceConfig subspace;
    double scale = 0.25;
    double growth = 1.01;
    FiraForm form = FiraForm::kCode;
    Choice<update_rules> inner = adamw_of_packages();
    void fields(FieldVisitor& v) {
      subspace.fields(v);
      v("scale", scale, positive, "α, applied to the update projected back");
      v("growth", growth, at_least(1), "γ, largest growth of the residual's norm from one step to the next");
      v("form", form, "the authors' code or their Algorithm 1");
      v("inner", inner, "rule that runs in the subspace");
    }
    void check(const ConfigNode& node, Diagnostics& out) const {
      if (subspace.side == Side::kFull) out.add(node, "fira scales one side and cannot be used with 'side: full'; use std");
    }
  };
  explicit Fira(const Config& config) : c_(config), subspace_(config.subspace, config.inner) {}

  std::vector<SlotSpec> slots(const ParamShape& shape) const override {
    std::vector<SlotSpec> specs = subspace_.slots(shape);
    specs.push_back({"norm", {}, SlotKind::kExact});
    return specs;
  }

  Direction direction(const at::Tensor& grad, Slots& slots, const StepInfo& step) const override {
    subspace_.refresh_when_due(grad, slots, step);
    const at::Tensor projected = subspace_.down(grad, slots);
    const Direction inside = subspace_.inside(projected, slots, step);
    const int64_t axis = subspace_.compressed_axis(grad.sizes());
    const at::Tensor squares = kernels::square_norms(projected, axis);  // ‖R‖², one number per row (column)
    const bool paper = c_.form == FiraForm::kPaper;
    const at::Tensor step_inside = paper && inside.gain.defined() ? inside.value * inside.gain : inside.value;
    const at::Tensor factor = kernels::square_norms(step_inside, axis).sqrt() / (squares.sqrt() + kNormEpsilon);
    const double taken = paper ? 1 : c_.scale;  // τ, how much of R·Q is taken out of S

    // With little taken, S need not be formed: ‖G − τRQ‖² = ‖G‖² − 2τ‖R‖² + τ²‖RQ‖², and φ ⊙ RQ = (φ ⊙ R)·Q goes back with N.
    Direction whole{.value = inside.value * c_.scale, .gain = inside.gain, .left = inside.left, .right = inside.right, .rest = grad};
    at::Tensor left_out;
    if (taken > kMostTaken) {
      whole.rest = subspace_.left_out(grad, projected, slots, taken);
      left_out = kernels::square_norms(whole.rest, axis);
    } else {
      left_out = kernels::square_norms(grad, axis) - 2 * taken * squares + taken * taken * squares_of_product(projected, slots, axis);
    }
    at::Tensor gain = factor * limit_norm_growth((factor.square() * left_out).sum(), slots["norm"], c_.growth);
    if (taken <= kMostTaken) whole.value.addcmul_(projected, gain.to(at::kFloat), -taken);
    whole.rest_gain = paper ? gain * c_.scale : inside.gain.defined() ? gain * inside.gain : gain;
    return whole;
  }

  bool finds_basis(const StepInfo& step, const Slots& host) const override { return subspace_.finds_basis(step, host); }
  std::optional<std::string> refuses(const Param& param) const override { return refuse_unless_matrix(param); }

 private:
  // ‖R·Q‖² of each row, or ‖Lᵀ·R‖² of each column, even if a basis stored in few bits is not quite orthonormal.
  static at::Tensor squares_of_product(const at::Tensor& projected, const Slots& slots, int64_t axis) {
    const at::Tensor& basis = slots[axis == 0 ? "left" : "right"];
    const at::Tensor gram = basis.mm(basis.t());
    return (axis == 0 ? gram.mm(projected) : projected.mm(gram)).mul_(projected).sum(axis, true, at::kDouble);
  }

  Config c_;
  Subspace subspace_;
};

const bool registered = update_rules().add<Fira>("fira", "Chen et al. 2024, arXiv:2410.01623");

}  // namespace
}  // namespace tersor
