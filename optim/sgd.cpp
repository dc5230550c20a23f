// Stochastic gradient descent with momentum.    Polyak 1964; Nesterov form as in Sutskever et al. 2013
//
//   m ← μ m + (1 − d) g              m (shape of W); d is the dampening
//   ΔW = m,  or with Nesterov  g + μ m
//
// Departs from torch.optim.SGD: the first step has m = (1 − d) g like every other; torch's has m = g.
#include "optim/update_rule.h"

namespace tersor {
namespace {

class Sgd final : public UpdateRule {
 public:
  struct Config {
    double momentum = 0;
    double dampening = 0;
    bool nesterov = false;
    void fields(FieldVisitor& v) {
      v("momentum", momentum, half_open(0, 1), "μ; 0 keeps no state");
      v("dampening", dampening, half_open(0, 1), "d, share of the gradient that does not enter the momentum");
      v("nesterov", nesterov, "look one momentum step ahead");
    }
  };
  explicit Sgd(const Config& config) : c_(config) {}

  std::vector<SlotSpec> slots(const ParamShape& shape) const override {
    if (c_.momentum == 0) return {};
    return {{"m", shape.sizes, SlotKind::kSigned}};
  }

  Direction direction(const at::Tensor& grad, Slots& slots, const StepInfo&) const override {
    if (c_.momentum == 0) return {grad};
    const at::Tensor& m = slots["m"];
    m.mul_(c_.momentum).add_(grad, 1 - c_.dampening);
    return {c_.nesterov ? grad.add(m, c_.momentum) : m};
  }

  bool elementwise() const override { return true; }

 private:
  Config c_;
};

const bool registered = update_rules().add<Sgd>("sgd", "Polyak 1964; Sutskever et al. 2013");

}  // namespace
}  // namespace tersor
