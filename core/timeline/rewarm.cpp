// Learning-rate re-warm-up: after this step the rate rises from zero to where the schedule will be by then.
// Lialin et al. 2023 (ReLoRA), arXiv:2307.05695, section 3: the jagged schedule
#include "core/timeline/timeline.h"

namespace tersor {
namespace {

class Rewarm final : public Action {
 public:
  struct Config {
    Span over{100, Span::Unit::kSteps};
    void fields(FieldVisitor& v) { v("over", over, positive, "how long the rate rises"); }
  };
  explicit Rewarm(const Config& config) : over_(config.over) {}

  [[nodiscard]] bool touches_weights() const override { return false; }
  [[nodiscard]] std::optional<Span> rewarms() const override { return over_; }
  std::string run(RunContext& context) override {
    return fmt::format("the rate rises again over {} steps", steps_in(over_, context.progress));
  }

 private:
  Span over_;
};

const bool registered = actions().add<Rewarm>("rewarm", "lets the learning rate rise again from zero");

}  // namespace
}  // namespace tersor
