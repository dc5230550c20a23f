// Momentum reset: forgets what the rules remember of the parameters that match.
#include "core/train/timeline.h"

namespace tersor {
namespace {

class ResetMoments final : public Action {
 public:
  struct Config {
    ParamMatch match;
    void fields(FieldVisitor& v) { v("match", match, "whose state: any, or role and name patterns"); }
  };
  explicit ResetMoments(const Config& config) : match_(config.match) {}

  std::string run(RunContext& context) override {
    int64_t params = 0;
    int64_t numbers = 0;
    for (const Param& param : context.optimizer.params()) {
      if (!match_.matches(param)) continue;
      numbers += context.optimizer.state().reset(param.name);
      ++params;
    }
    if (params == 0) throw user_error("timeline: reset_moments matches no parameter; mend its 'match' or remove it");
    return fmt::format("zeroed {} numbers of {} of {} parameters", numbers, params, context.optimizer.params().size());
  }

 private:
  ParamMatch match_;
};

const bool registered = actions().add<ResetMoments>("reset_moments", "zeroes the optimizer state of matching parameters");

}  // namespace
}  // namespace tersor
