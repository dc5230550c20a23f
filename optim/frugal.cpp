// FRUGAL: full-rank updates by splitting the gradient.    Zmushko et al. 2024, arXiv:2411.07837, Algorithm 1
//
//   R = G·Qᵀ (or L·G)    N = inner(R)       inside the subspace: a rule with state, AdamW
//   E = G − R·Q          S = sign(E)        outside it: a rule without state, signSGD, or E itself, SGD
//   ΔW = N·Q + free_scale · S
//
// By default Q is a random orthonormal basis, and each new one resets the moments, which belong to the old one. Departs from the
// authors' code, which can also give state to only some of the model's blocks at a time. Here every matrix always has its state, so
// that what a run holds is known beforehand.
#include "optim/subspace.h"

namespace tersor {

enum class StateFree { kSign, kSgd };
template <>
struct EnumNames<StateFree> {
  static constexpr std::array values{std::pair{StateFree::kSign, std::string_view("sign")},
                                     std::pair{StateFree::kSgd, std::string_view("sgd")}};
};

namespace {

class Frugal final : public UpdateRule {
 public:
  struct Config {
    SubspaceConfig subspace{.decomposition = Decomposition::kRandom, .moments = Carry::kReset};
    StateFree free = StateFree::kSign;
    double free_scale = 1;
    Choice<update_rules> inner{"adamw"};
    void fields(FieldVisitor& v) {
      subspace.fields(v);
      v("free", free, "stateless rule for what the subspace leaves out: sign steps by its sign, sgd by its value");
      v("free_scale", free_scale, at_least(0), "factor on the step of that rule");
      v("inner", inner, "rule that runs in the subspace");
    }
  };
  explicit Frugal(const Config& config) : c_(config), subspace_(config.subspace, config.inner) {}

  std::vector<SlotSpec> slots(const ParamShape& shape) const override { return subspace_.slots(shape); }

  Direction direction(const at::Tensor& grad, Slots& slots, const StepInfo& step) const override {
    subspace_.refresh_when_due(grad, slots, step);
    const at::Tensor projected = subspace_.down(grad, slots);
    Direction whole = subspace_.inside(projected, slots, step);
    if (projected.sizes() == grad.sizes()) return whole;  // nothing is left out, and signs of rounding errors are no step
    whole.rest = subspace_.left_out(grad, projected, slots);
    if (c_.free == StateFree::kSign) whole.rest.sign_();
    whole.rest_gain = at::full({}, c_.free_scale, grad.options());
    return whole;
  }

  bool finds_basis(const StepInfo& step, const Slots& host) const override { return subspace_.finds_basis(step, host); }
  std::optional<std::string> refuses(const Param& param) const override { return refuse_unless_matrix(param); }

 private:
  Config c_;
  Subspace subspace_;
};

const bool registered = update_rules().add<Frugal>("frugal", "Zmushko et al. 2024, arXiv:2411.07837");

}  // namespace
}  // namespace tersor
