// Weight refactorization: factors are balanced by the singular value decomposition of their product.
// Glentis et al. 2025, arXiv:2505.22922, section 4
//
//   B·A = U·Σ·Vᵀ        B ← U·√Σ    A ← √Σ·Vᵀ        the model computes the same function
//
// The authors also reset the moments, those of all parameters and not only of the factors (`moments: reset`), and let the rate rise
// again over 10 steps: see configs/method/refactorized.yaml.
#include "core/param/operations.h"
#include "core/timeline/timeline.h"

namespace tersor {
namespace {

class Refactorize final : public Action {
 public:
  struct Config {
    std::vector<std::string> targets{"*"};
    Moments moments = Moments::kReset;
    void fields(FieldVisitor& v) {
      v("targets", targets, "patterns of weight names");
      v("moments", moments, "what becomes of the factors' moments");
    }
  };
  explicit Refactorize(const Config& config) : c_(config) {}

  std::string run(RunContext& context) const override {
    const at::NoGradGuard no_grad;
    const auto weights = able(context.targets());
    int64_t changed = 0;
    for (const auto& [linear, factors] : weights) {
      if (!factors->refactorize()) continue;
      ++changed;
      if (c_.moments == Moments::kReset) context.forget(*linear);
    }
    return fmt::format("refactorized {} of {} weights", changed, weights.size());
  }

  void check(const Targets& targets) const override {
    for (const auto& [linear, factors] : able(targets))
      if (!linear->weight().linear())
        throw user_error("timeline: refactorize: '{}' has an activation between its factors, so other factors would compute a different function; leave it out of the targets", linear->name());
  }

 private:
  [[nodiscard]] std::vector<std::pair<Linear*, Refactorizable*>> able(const Targets& targets) const {
    return targets.able<Refactorizable>(c_.targets, "a factored parameterization (low_rank, lora, sltrain)");
  }

  Config c_;
};

const bool registered = actions().add<Refactorize>("refactorize", "balances factors of the same product, Glentis et al. 2025, arXiv:2505.22922");

}  // namespace
}  // namespace tersor
