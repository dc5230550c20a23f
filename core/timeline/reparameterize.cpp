// Changes how weights are stored and trained from here on: full rank first and factors later (ReLoRA's warm start), factors
// first and full rank later, sparse to dense. The new weight starts as close to the old one as it can represent. Moments stay if
// a weight is whole before and after (dense, int8); those of factors and values are reset, even under names that existed before.
#include <cmath>

#include "core/timeline/timeline.h"

namespace tersor {
namespace {

class Reparameterize final : public Action {
 public:
  using Config = ParameterizationConfig;
  explicit Reparameterize(const Config& config) : c_(config) {}

  std::string run(RunContext& context) const override {
    const auto before = static_cast<double>(context.model.num_parameters());
    double difference = 0;
    double norm = 0;
    check(context.targets());
    std::vector<std::string> others;  // parameters unrelated to any that had their names before
    const std::vector<std::string> changed = context.model.reparameterize(c_, [&](const Linear& linear, const at::Tensor& was) {
      for (const Param& param : linear.weight().params())
        if (param.name != linear.name() + ".weight") others.push_back(param.name);
      if (!linear.weight().linear()) return;
      difference += (linear.weight().materialize() - was).to(at::kDouble).square().sum().item<double>();
      norm += was.to(at::kDouble).square().sum().item<double>();
    });
    context.optimizer.replace_params(context.model.params());
    for (const std::string& param : others) context.optimizer.reset(param);
    return fmt::format("{} weights are {} now, {:.2f} % off in norm; {:.4g} M trained parameters, {:.4g} M before", changed.size(), c_.method.type(),
                       norm > 0 ? 100 * std::sqrt(difference / norm) : 0, static_cast<double>(context.model.num_parameters()) / 1e6, before / 1e6);
  }

  void check(const Targets& targets) const override {
    for (const auto& linear : targets.linears(c_.targets)) refuse_unless_linear(*linear, "before");
  }
  bool change_structure(Llama& model) const override {
    (void)model.reparameterize(c_);
    for (const auto& linear : model.linears())
      if (c_.matches(linear->name())) refuse_unless_linear(*linear, "after");
    return true;
  }

 private:
  static void refuse_unless_linear(const Linear& linear, std::string_view when) {
    if (!linear.weight().linear())
      throw user_error("timeline: reparameterize: '{}' has an activation between its factors {} the change, so there is no matrix to hand over; leave it out of the targets",
                       linear.name(), when);
  }

  Config c_;
};

const bool registered = actions().add<Reparameterize>("reparameterize", "stores and trains weights in another way from here on");

}  // namespace
}  // namespace tersor
