// Adafactor.    Shazeer and Stern 2018, arXiv:1804.04235, Algorithm 4
//
//   t ← t + 1    β̂ = 1 − t^(−c)    R ← β̂R + (1−β̂)·mean_columns(g² + ε)    C likewise over rows        R (out, 1)  C (1, in)
//   u = g / √(R·C / mean(R))        u ← u / max(1, RMS(u) / d)        ΔW = u, or its average m with decay β₁
//
// Vectors keep a full second moment.
//
// Departs from Algorithm 4: the learning rate is the driver's, so there is neither a relative step size nor scaling by the
// parameter's magnitude; this is how the GaLore authors use it.
#include "optim/update_rule.h"

namespace tersor {
namespace {

class Adafactor final : public UpdateRule {
 public:
  struct Config {
    double decay = 0.8;
    double clip_threshold = 1;
    double epsilon = 1e-30;
    double beta1 = 0;
    void fields(FieldVisitor& v) {
      v("decay", decay, positive, "c: the second moment's decay at step t is 1 − t^(−c)");
      v("clip_threshold", clip_threshold, positive, "d, largest root mean square of a step");
      v("epsilon", epsilon, positive, "ε, added to the squared gradient");
      v("beta1", beta1, half_open(0, 1), "β₁, decay of a first moment; 0 keeps none");
    }
  };
  explicit Adafactor(const Config& config) : c_(config) {}

  std::vector<SlotSpec> slots(const ParamShape& shape) const override {
    std::vector<SlotSpec> specs{{"t", {}, SlotKind::kExact}};
    if (shape.sizes.size() == 2) {
      specs.push_back({"row", {shape.sizes[0], 1}, SlotKind::kNonNegative});
      specs.push_back({"column", {1, shape.sizes[1]}, SlotKind::kNonNegative});
    } else {
      specs.push_back({"v", shape.sizes, SlotKind::kNonNegative});
    }
    if (c_.beta1 > 0) specs.push_back({"m", shape.sizes, SlotKind::kSigned});
    return specs;
  }

  Direction direction(const at::Tensor& grad, Slots& slots, const StepInfo&) const override {
    const at::Tensor& t = slots["t"].add_(1);
    const at::Tensor fresh = at::pow(t, -c_.decay);  // 1 − β̂
    const at::Tensor squares = grad.square().add_(c_.epsilon);
    at::Tensor step;
    if (grad.dim() == 2) {
      const at::Tensor& row = slots["row"].lerp_(squares.mean({1}, true), fresh);
      const at::Tensor& column = slots["column"].lerp_(squares.mean({0}, true), fresh);
      step = grad * (row / row.mean()).rsqrt() * column.rsqrt();
    } else {
      step = grad * slots["v"].lerp_(squares, fresh).rsqrt();
    }
    step.div_((step.square().mean().sqrt() / c_.clip_threshold).clamp_min(1));
    if (c_.beta1 > 0) step = slots["m"].lerp_(step, 1 - c_.beta1);
    return {step};
  }

 private:
  Config c_;
};

const bool registered = update_rules().add<Adafactor>("adafactor", "Shazeer and Stern 2018, arXiv:1804.04235");

}  // namespace
}  // namespace tersor
