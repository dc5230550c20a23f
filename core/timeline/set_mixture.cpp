// Changes the weights of the training data sources from here on, for instance to favor high-quality ones at the end.
#include <numeric>

#include "core/timeline/timeline.h"

namespace tersor {
namespace {

class SetMixture final : public Action {
 public:
  struct Config {
    std::vector<double> weights;
    void fields(FieldVisitor& v) { v("weights", weights, required, "one per source, in the order of data.sources"); }
    void check(const ConfigNode& node, Diagnostics& out) const {
      const bool negative = std::any_of(weights.begin(), weights.end(), [](double w) { return !(w >= 0); });
      if (negative || std::accumulate(weights.begin(), weights.end(), 0.0) <= 0) out.add(node, "weights must be at least 0, and one of them greater");
    }
  };
  explicit SetMixture(const Config& config) : weights_(config.weights) {}

  [[nodiscard]] bool touches_weights() const override { return false; }
  [[nodiscard]] bool changes_passes() const override { return false; }
  std::string run(RunContext& context) const override {
    context.settings.mixture = weights_;
    return fmt::format("sources are drawn from in the ratio {:g}", fmt::join(weights_, " : "));
  }
  void change_settings(LiveSettings& settings, int64_t) const override { settings.mixture = weights_; }

 private:
  std::vector<double> weights_;
};

const bool registered = actions().add<SetMixture>("set_mixture", "changes how often each source of the data is drawn from");

}  // namespace
}  // namespace tersor
