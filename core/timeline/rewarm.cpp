// Learning-rate re-warm-up: after this step the rate rises from zero to where the schedule will be at the end of the rise.
// Lialin et al. 2023 (ReLoRA), arXiv:2307.05695, section 3: the jagged schedule
#include "core/timeline/timeline.h"

namespace tersor {
namespace {

class Rewarm final : public Action {
 public:
  struct Config {
    Span over{100, Span::Unit::kSteps};
    double rate = 1;
    void fields(FieldVisitor& v) {
      v("over", over, positive, "how long the rate rises");
      v("rate", rate, positive, "factor on the schedule's rate from here on; replaces that of an earlier rewarm");
    }
  };
  explicit Rewarm(const Config& config) : c_(config) {}

  [[nodiscard]] bool touches_weights() const override { return false; }
  [[nodiscard]] bool changes_passes() const override { return false; }
  std::string run(RunContext& context) const override {
    LiveSettings& now = context.settings;
    now.rewarmed_at = context.progress.step;
    now.rewarm_steps = steps_in(c_.over, context.progress);
    now.rate = c_.rate;
    return fmt::format("the rate rises again over {} steps{}", now.rewarm_steps, c_.rate == 1 ? "" : fmt::format(", to {} of the schedule's", c_.rate));
  }

 private:
  Config c_;
};

const bool registered = actions().add<Rewarm>("rewarm", "lets the learning rate rise again from zero");

}  // namespace
}  // namespace tersor
