// SwitchLoRA's switching: every step, some vectors of the factors are swapped with candidates.
// Zhou et al. 2024, arXiv:2406.06564, Algorithm 1
//
//   of r vectors, r / interval(t) are switched at step t on average        interval(t) = interval · 0.3^(−(t+1)/T₀)
//
// T₀ is `decay`, a tenth of the run in the authors' code. Schedule it `every 1`. The counterparts of switched vectors lose
// their moments and are frozen for `freeze` steps.
#include <cmath>

#include "core/param/operations.h"
#include "core/timeline/timeline.h"

namespace tersor {
namespace {

class SwitchVectors final : public Action {
 public:
  struct Config {
    std::vector<std::string> targets{"*"};
    double interval = 40;
    Span decay{0.1, Span::Unit::kFraction};
    int64_t freeze = 5;
    void fields(FieldVisitor& v) {
      v("targets", targets, "patterns of weight names");
      v("interval", interval, at_least(1), "average steps between two switches of the same vector, at the start");
      v("decay", decay, positive, "T₀, after which switches are 0.3 times as frequent");
      v("freeze", freeze, at_least(0), "steps for which the counterparts of switched vectors are frozen");
    }
    void check(const ConfigNode& node, Diagnostics& out) const {
      if (interval < 2 * static_cast<double>(freeze)) out.add(node, "interval must be at least twice freeze, or too much of a weight is frozen");
    }
  };
  explicit SwitchVectors(const Config& config) : c_(config) {}

  [[nodiscard]] Phase phase() const override { return Phase::kBeforeUpdate; }
  [[nodiscard]] bool changes_passes() const override { return false; }  // only values change

  std::string run(RunContext& context) const override {
    const at::NoGradGuard no_grad;
    constexpr double kRest = 0.3;
    constexpr double kLeast = 1e-8;
    const auto done = static_cast<double>(context.progress.step - 1);
    const auto span = static_cast<double>(std::max<int64_t>(1, steps_in(c_.decay, context.progress)));
    const double share = std::max(kLeast, std::pow(kRest, (done + 1) / span)) / c_.interval;
    int64_t switched = 0;
    for (const auto& [linear, vectors] : able(context.targets())) {
      const Param factor = linear->weight().params().front();
      const auto rank = static_cast<double>(factor.value.size(factor.slice_axis.value()));
      for (const ForgottenSlices& forgotten : vectors->switch_vectors(rank * share, c_.freeze, context.random(linear->name()))) {
        switched += static_cast<int64_t>(forgotten.slices.size());
        context.optimizer.reset(forgotten.param, {.slices = forgotten.slices});
      }
    }
    if (context.progress.step % kReportEvery != 0) return {};
    return fmt::format("switched {} vectors at this step, at {:.2g} of the initial rate", switched, share * c_.interval);
  }

  void check(const Targets& targets) const override { (void)able(targets); }

 private:
  [[nodiscard]] std::vector<std::pair<Linear*, VectorSwitching*>> able(const Targets& targets) const {
    return targets.able<VectorSwitching>(c_.targets, "parameterization switch_lora");
  }

  static constexpr int64_t kReportEvery = 100;  // a line per step would be noise
  Config c_;
};

const bool registered = actions().add<SwitchVectors>("switch_vectors", "changes vectors of the factors, Zhou et al. 2024 (SwitchLoRA), arXiv:2406.06564");

}  // namespace
}  // namespace tersor
