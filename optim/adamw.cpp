// AdamW.    Kingma and Ba 2015, arXiv:1412.6980, Algorithm 1; Loshchilov and Hutter 2019, arXiv:1711.05101, Algorithm 2
//
//   t ← t + 1    m ← β₁m + (1−β₁)g    v ← β₂v + (1−β₂)g²                 m, v (shape of W)
//   epsilon_at: corrected (torch)     ΔW = m̂ / (√v̂ + ε)          m̂ = m/(1−β₁ᵗ),  v̂ = v/(1−β₂ᵗ)
//   epsilon_at: uncorrected (the GaLore family's packages)  ΔW = √(1−β₂ᵗ)/(1−β₁ᵗ) · m / (√v + ε)
//
// The two differ where gradients are small relative to ε. Weight decay is decoupled and belongs to the driver. t is kept
// per slice where a parameter has slices that are reset on their own.
#include "kernels/adamw.h"
#include "optim/update_rule.h"

namespace tersor {

enum class EpsilonAt { kCorrected, kUncorrected };

template <>
struct EnumNames<EpsilonAt> {
  static constexpr std::array values{std::pair{EpsilonAt::kCorrected, std::string_view("corrected")},
                                     std::pair{EpsilonAt::kUncorrected, std::string_view("uncorrected")}};
};

namespace {

class AdamW final : public UpdateRule {
 public:
  struct Config {
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-8;
    EpsilonAt epsilon_at = EpsilonAt::kCorrected;
    void fields(FieldVisitor& v) {
      v("beta1", beta1, half_open(0, 1), "β₁, decay of the first moment");
      v("beta2", beta2, half_open(0, 1), "β₂, decay of the second moment");
      v("epsilon", epsilon, at_least(0), "ε, added to the root of the second moment");
      v("epsilon_at", epsilon_at, "whether ε is added after the bias correction of the second moment or before it");
    }
  };
  explicit AdamW(const Config& config) : c_(config) {}

  std::vector<SlotSpec> slots(const ParamShape& shape) const override {
    return {{"m", shape.sizes, SlotKind::kSigned},
            {"v", shape.sizes, SlotKind::kNonNegative},
            {"t", shape.per_slice(), SlotKind::kExact}};
  }

  Direction direction(const at::Tensor& grad, Slots& slots, const StepInfo&) const override {
    const at::Tensor& t = slots["t"];
    if (t.dim() == 0) {
      const kernels::AdamCoefficients c = next_coefficients(t);
      at::Tensor step = at::empty_like(grad, at::MemoryFormat::Contiguous);
      kernels::adam_direction(grad.contiguous(), slots["m"], slots["v"], c, step);
      return {step, c.gain_beside(grad)};
    }
    t.add_(1);
    const at::Tensor& m = slots["m"].lerp_(grad, 1 - c_.beta1);
    const at::Tensor& v = slots["v"].mul_(c_.beta2).addcmul_(grad, grad, 1 - c_.beta2);
    // In double: 1 − 0.999 has only 4 digits in fp32.
    const at::Tensor steps = t.to(at::kDouble);
    const at::Tensor root2 = (1 - at::pow(c_.beta2, steps)).sqrt();
    const at::Tensor gain = (root2 / (1 - at::pow(c_.beta1, steps))).to(at::kFloat);
    at::Tensor denominator = v.sqrt();
    if (c_.epsilon_at == EpsilonAt::kUncorrected)
      denominator.add_(c_.epsilon);
    else
      denominator.add_((root2 * c_.epsilon).to(at::kFloat));
    return {at::div_out(denominator, m, denominator), gain};
  }

  bool fused(const FusedStep& step) const override {
    const RestingSlot& m = *step.find("m");
    const RestingSlot& v = *step.find("v");
    const at::Tensor& t = step.find("t")->parts[0];
    const auto rests = [&](std::string_view format, size_t parts) { return m.format == format && v.format == format && m.parts.size() == parts && v.parts.size() == parts; };
    const bool plain = rests("fp32", 1) || rests("int8", 1);  // int8 keeps small slots in fp32
    if (t.dim() != 0 || (!plain && !rests("int8", 2))) return false;
    const kernels::AdamCoefficients c = next_coefficients(t);
    const kernels::AdamStep rest{.grad_scale = step.grad_scale, .lr = step.lr, .weight_decay = step.weight_decay, .rounding = step.rounding, .first = step.first};
    if (plain)
      kernels::adamw_step(step.weight, step.grad, m.parts[0], v.parts[0], c, rest);
    else
      kernels::adamw_step_int8(step.weight, step.grad, m.parts, v.parts, c, rest);
    return true;
  }

  bool elementwise() const override { return true; }

 private:
  // Advances t and returns the coefficients of that step.
  kernels::AdamCoefficients next_coefficients(const at::Tensor& t) const {
    return kernels::next_coefficients(t, {.beta1 = c_.beta1, .beta2 = c_.beta2, .epsilon = c_.epsilon}, c_.epsilon_at == EpsilonAt::kCorrected);
  }

  Config c_;
};

const bool registered = update_rules().add<AdamW>("adamw", "Loshchilov and Hutter 2019, arXiv:1711.05101");

}  // namespace
}  // namespace tersor
