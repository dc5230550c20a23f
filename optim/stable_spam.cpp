// Stable-SPAM: Adam that withstands gradient spikes.    Huang et al. 2025, arXiv:2502.17055, Algorithm 1
//
//   k ← k + 1    s = η + (1−η)·(1 + cos(π·step/steps))/2                                              from 1 to η over the run
//   clip       x = max|g|    a ← γ₃a + (1−γ₃)x     â = a/(1−γ₃ᵏ)         gᵢ ← gᵢ·â/x  where |gᵢ| > â
//   normalize  n = ‖g‖       p ← sγ₁p + (1−sγ₁)n   q ← γ₂q + (1−γ₂)n²    g ← g/n · p̂/(√q̂ + ε)
//   reset      every T steps m, v, t ← 0
//   Adam       of g, with s·β₁ as β₁
//
// a, p, q: one number each, bias-corrected by k, with sγ₁ of this step. Departs from the authors' code at a reset: theirs takes one
// more step with the old moments, corrected as if they were one step old, and restarts the correction of a, p and q without resetting them.
#include <cmath>
#include <limits>
#include <numbers>

#include "core/config/cadence.h"
#include "kernels/adamw.h"
#include "kernels/square_norm.h"
#include "optim/update_rule.h"

namespace tersor {
namespace {

class StableSpam final : public UpdateRule {
 public:
  struct Config {
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-8;
    double gamma1 = 0.85;
    double gamma2 = 0.99999;
    double gamma3 = 0.999;
    Cadence reset = Cadence::every(1000);
    double momentum_share = 0.5;
    void fields(FieldVisitor& v) {
      v("beta1", beta1, half_open(0, 1), "β₁, decay of the first moment");
      v("beta2", beta2, half_open(0, 1), "β₂, decay of the second moment");
      v("epsilon", epsilon, at_least(0), "ε, added to the roots of second moments");
      v("gamma1", gamma1, half_open(0, 1), "γ₁, decay of the mean of the gradient's norm");
      v("gamma2", gamma2, half_open(0, 1), "γ₂, decay of the mean of its square");
      v("gamma3", gamma3, half_open(0, 1), "γ₃, decay of the mean of the largest entry");
      v("reset", reset, "when moments are reset (T)");
      v("momentum_share", momentum_share, between(0, 1), "η, the share of β₁ and γ₁ that is left at the end of the run; 1: they stay constant");
    }
  };
  explicit StableSpam(const Config& config) : c_(config) {}

  std::vector<SlotSpec> slots(const ParamShape& shape) const override {
    std::vector<SlotSpec> specs{{"m", shape.sizes, SlotKind::kSigned}, {"v", shape.sizes, SlotKind::kNonNegative}};
    for (const char* number : {"t", "k", "largest", "norm", "square_norm"}) specs.push_back({number, {}, SlotKind::kExact});
    return specs;
  }

  Direction direction(const at::Tensor& grad, Slots& slots, const StepInfo& step) const override {
    const double share = momentum_share(step.progress);
    const at::Tensor k = slots["k"].add_(1).to(at::kDouble);
    const at::Tensor g = clipped(grad, slots["largest"], k);
    g.mul_(normalization(g, slots, k, c_.gamma1 * share));
    if (c_.reset.due(step.progress))
      for (const char* name : {"m", "v", "t"}) slots[name].zero_();
    const auto c = kernels::next_coefficients(slots["t"], {.beta1 = c_.beta1 * share, .beta2 = c_.beta2, .epsilon = c_.epsilon}, true);
    at::Tensor n = at::empty_like(g);
    kernels::adam_direction(g, slots["m"], slots["v"], c, n);
    return {n, c.gain_beside(n)};
  }

 private:
  // s
  double momentum_share(const Progress& progress) const {
    const double done = static_cast<double>(progress.step) / static_cast<double>(std::max<int64_t>(1, progress.total_steps));
    return c_.momentum_share + (1 - c_.momentum_share) * (1 + std::cos(std::numbers::pi * std::min(1.0, done))) / 2;
  }

  // A contiguous copy of the gradient without spikes.
  at::Tensor clipped(const at::Tensor& grad, const at::Tensor& largest, const at::Tensor& k) const {
    const at::Tensor x = at::linalg_vector_norm(grad, std::numeric_limits<double>::infinity());
    largest.lerp_(x, 1 - c_.gamma3);
    const at::Tensor most = (largest / (1 - at::pow(c_.gamma3, k))).to(at::kFloat);
    return at::where(grad.abs() > most, most / x, 1.0f).mul_(grad).contiguous();
  }

  // p̂/(√q̂ + ε)/n, 0-dim; zero for a zero gradient.
  at::Tensor normalization(const at::Tensor& g, Slots& slots, const at::Tensor& k, double gamma1) const {
    const at::Tensor n = kernels::square_norm(g).sqrt();
    const at::Tensor& p = slots["norm"].mul_(gamma1).add_(n, 1 - gamma1);
    const at::Tensor& q = slots["square_norm"].mul_(c_.gamma2).addcmul_(n, n, 1 - c_.gamma2);
    const at::Tensor mean = p / (1 - at::pow(gamma1, k));
    const at::Tensor root = (q / (1 - at::pow(c_.gamma2, k))).sqrt();
    return at::where(n > 0, mean / (root + c_.epsilon) / n, 0.0).to(at::kFloat);
  }

  Config c_;
};

const bool registered = update_rules().add<StableSpam>("stable_spam", "Huang et al. 2025, arXiv:2502.17055");

}  // namespace
}  // namespace tersor
