// Freezing: parameters stop learning, and later learn again. Frozen ones receive no gradient and keep their moments.
#include "core/timeline/timeline.h"

namespace tersor {
namespace {

template <bool frozen>
class Freeze final : public Action {
 public:
  struct Config {
    ParamMatch match;
    void fields(FieldVisitor& v) { v("match", match, "which parameters: any, or role and name patterns"); }
  };
  explicit Freeze(const Config& config) : match_(config.match) {}

  [[nodiscard]] bool touches_weights() const override { return false; }
  std::string run(RunContext& context) const override {
    std::vector<std::string> names;
    for (const Param& param : context.optimizer.params())
      if (match_.matches(param)) names.push_back(param.name);
    for (const std::string& name : names) context.optimizer.set_frozen(name, frozen);
    if (context.optimizer.frozen().size() == context.optimizer.params().size())
      throw user_error("timeline: {} leaves no parameter to train", context.name);
    return fmt::format("{} {} of {} parameters", frozen ? "froze" : "freed", names.size(), context.optimizer.params().size());
  }

  void check(const Targets& targets) const override {
    if (targets.params(match_) == static_cast<int64_t>(targets.model.params().size()) && frozen)
      throw user_error("timeline: {} leaves no parameter to train", targets.action);
  }

 private:
  ParamMatch match_;
};

const bool freeze_registered = actions().add<Freeze<true>>("freeze", "stops training matching parameters");
const bool unfreeze_registered = actions().add<Freeze<false>>("unfreeze", "trains frozen parameters again");

}  // namespace
}  // namespace tersor
