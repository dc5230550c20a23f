// Momentum reset: drops the optimizer state of matching parameters.
//
//   zero       all of it: moments, counters, bases
//   random     each entry of the moments is kept with probability `share`
//   magnitude  the `share` of the entries with the largest first moments is kept
//
// The modes random and magnitude keep second moments that many entries share (Adam-mini, Adafactor).
//
// ReLoRA (Lialin et al. 2023, arXiv:2307.05695) prunes 90 to 99 % of the moments of its factors at each restart. Departs from
// the authors' code, which chooses for each moment separately: a first moment may stay where its second is gone.
#include "core/timeline/timeline.h"

namespace tersor {

enum class ResetMode { kZero, kRandom, kMagnitude };
template <>
struct EnumNames<ResetMode> {
  static constexpr std::array values{std::pair{ResetMode::kZero, std::string_view("zero")},
                                     std::pair{ResetMode::kRandom, std::string_view("random")},
                                     std::pair{ResetMode::kMagnitude, std::string_view("magnitude")}};
};

namespace {

class ResetMoments final : public Action {
 public:
  struct Config {
    ParamMatch match;
    ResetMode mode = ResetMode::kZero;
    double share = 0.1;
    void fields(FieldVisitor& v) {
      v("match", match, "which parameters: any, or role and name patterns");
      v("mode", mode, "zero: reset everything; random, magnitude: keep a share of the moments");
      v("share", share, between(0, 1), "share that the modes random and magnitude keep");
    }
  };
  explicit ResetMoments(const Config& config) : c_(config) {}

  [[nodiscard]] bool touches_weights() const override { return false; }
  [[nodiscard]] bool changes_passes() const override { return false; }
  std::string run(RunContext& context) const override {
    const Reset what{.keep = c_.mode == ResetMode::kZero     ? Reset::Keep::kNothing
                             : c_.mode == ResetMode::kRandom ? Reset::Keep::kRandom
                                                             : Reset::Keep::kLargest,
                     .share = c_.share};
    int64_t params = 0;
    ResetCount count;
    for (const Param& param : context.optimizer.params()) {
      if (!c_.match.matches(param)) continue;
      const ResetCount own = context.optimizer.reset(param.name, what, context.random(param.name));
      count.zeroed += own.zeroed;
      count.numbers += own.numbers;
      ++params;
    }
    const at::Tensor all = at::tensor({count.zeroed, count.numbers}, at::kLong);  // summed over the processes
    context.optimizer.comm().all_reduce(all).wait();
    count = {.zeroed = all[0].item<int64_t>(), .numbers = all[1].item<int64_t>()};
    return fmt::format("zeroed {:.1f} % of {} numbers in {} of {} parameters", 100.0 * static_cast<double>(count.zeroed) / static_cast<double>(std::max<int64_t>(1, count.numbers)),
                       count.numbers, params, context.optimizer.params().size());
  }

  void check(const Targets& targets) const override { (void)targets.params(c_.match); }

 private:
  Config c_;
};

const bool registered = actions().add<ResetMoments>("reset_moments", "forgets the optimizer state of matching parameters");

}  // namespace
}  // namespace tersor
