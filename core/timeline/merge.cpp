// Merge: the product of the factors is added to the frozen weight, and the factors start anew (ReLoRA).
// Lialin et al. 2023, arXiv:2307.05695, Algorithm 1
//
//   W ← W + s·B·A    A ← fresh    B ← 0        the model computes the same function
//
// The moments belong to the old factors, so they are reset. `moments: keep` leaves them to a reset_moments action, which can
// prune them instead, as the authors do; a rewarm action after it gives the authors' jagged schedule.
#include "core/param/operations.h"
#include "core/timeline/timeline.h"

namespace tersor {
namespace {

class Merge final : public Action {
 public:
  struct Config {
    std::vector<std::string> targets{"*"};
    Moments moments = Moments::kReset;
    void fields(FieldVisitor& v) {
      v("targets", targets, "patterns of weight names");
      v("moments", moments, "what becomes of the factors' moments");
    }
  };
  explicit Merge(const Config& config) : c_(config) {}

  std::string run(RunContext& context) const override {
    const at::NoGradGuard no_grad;
    const auto weights = able(context.targets());
    for (const auto& [linear, mergeable] : weights) {
      mergeable->merge(context.random(linear->name()));
      if (c_.moments == Moments::kReset) context.forget(*linear);
    }
    return fmt::format("merged {} weights", weights.size());
  }

  void check(const Targets& targets) const override { (void)able(targets); }

 private:
  [[nodiscard]] std::vector<std::pair<Linear*, Mergeable*>> able(const Targets& targets) const {
    return targets.able<Mergeable>(c_.targets, "parameterization lora");
  }

  Config c_;
};

const bool registered = actions().add<Merge>("merge", "moves factors into the frozen weight, Lialin et al. 2023 (ReLoRA), arXiv:2307.05695");

}  // namespace
}  // namespace tersor
