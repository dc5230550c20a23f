// Other weights for the sources of the training data from here on, for instance the high-quality ones at the end.
#include <numeric>

#include "core/timeline/timeline.h"

namespace tersor {
namespace {

class SetMixture final : public Action {
 public:
  struct Config {
    std::vector<double> weights;
    void fields(FieldVisitor& v) { v("weights", weights, required, "one a source, in the order of data.sources"); }
    void check(const ConfigNode& node, Diagnostics& out) const {
      const bool negative = std::any_of(weights.begin(), weights.end(), [](double w) { return !(w >= 0); });
      if (negative || std::accumulate(weights.begin(), weights.end(), 0.0) <= 0) out.add(node, "weights must be at least 0, and one of them more");
    }
  };
  explicit SetMixture(const Config& config) : weights_(config.weights) {}

  [[nodiscard]] bool touches_weights() const override { return false; }
  [[nodiscard]] bool changes_passes() const override { return false; }
  std::string run(RunContext& context) const override {
    context.settings.mixture = weights_;
    return fmt::format("sources are drawn from as {:g}", fmt::join(weights_, " : "));
  }
  void change_settings(LiveSettings& settings, int64_t) const override { settings.mixture = weights_; }

 private:
  std::vector<double> weights_;
};

const bool registered = actions().add<SetMixture>("set_mixture", "changes how often each source of the data is drawn from");

}  // namespace
}  // namespace tersor
