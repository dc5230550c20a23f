// Lion.    Chen et al. 2023, arXiv:2302.06675, Algorithm 2
//
//   ΔW = sign(β₁m + (1−β₁)g)        m ← β₂m + (1−β₂)g              m (shape of W)
#include "optim/update_rule.h"

namespace tersor {
namespace {

class Lion final : public UpdateRule {
 public:
  struct Config {
    double beta1 = 0.9;
    double beta2 = 0.99;
    void fields(FieldVisitor& v) {
      v("beta1", beta1, half_open(0, 1), "β₁, share of the momentum in the step");
      v("beta2", beta2, half_open(0, 1), "β₂, decay of the momentum");
    }
  };
  explicit Lion(const Config& config) : c_(config) {}

  std::vector<SlotSpec> slots(const ParamShape& shape) const override { return {{"m", shape.sizes, SlotKind::kSigned}}; }

  Direction direction(const at::Tensor& grad, Slots& slots, const StepInfo&) const override {
    const at::Tensor& m = slots["m"];
    at::Tensor step = at::lerp(m, grad, 1 - c_.beta1).sign_();
    m.lerp_(grad, 1 - c_.beta2);
    return {step};
  }

  bool elementwise() const override { return true; }

 private:
  Config c_;
};

const bool registered = update_rules().add<Lion>("lion", "Chen et al. 2023, arXiv:2302.06675");

}  // namespace
}  // namespace tersor
