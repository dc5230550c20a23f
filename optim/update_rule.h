// An update rule is one paper: how a gradient becomes a step. Rules are stateless; what they remember from step to step
// they declare as slots, and the driver (optimizer.h) keeps the slots, applies the step, decays and clips. A rule
// therefore never sees a learning rate, another parameter, a state format or a process.
//
//   class SignDescent final : public UpdateRule {
//     …
//     Direction direction(const at::Tensor& grad, Slots&, const StepInfo&) const override { return {grad.sign()}; }
//   };
//   const bool registered = update_rules().add<SignDescent>("sign", "where it comes from");
#pragma once

#include "core/base/param.h"
#include "core/base/progress.h"
#include "core/base/rng.h"
#include "core/config/registry.h"
#include "optim/slots.h"

namespace tersor {

struct StepInfo {
  Progress progress;
  uint64_t seed = 0;
  std::string_view param;  // its name: with `seed` and the step, the key of all randomness

  [[nodiscard]] RandomStream random(std::string_view purpose) const {
    return random_stream(seed, purpose, param, static_cast<uint64_t>(progress.step));
  }
};

// The driver does  w −= lr · gain · value.
struct Direction {
  at::Tensor value;  // shape of the parameter; may alias a slot or the gradient
  at::Tensor gain;   // 0-dim, or one number a slice, broadcast over `value`; undefined means 1
};

class UpdateRule {
 public:
  virtual ~UpdateRule() = default;

  // What is remembered between steps for a parameter of this shape; all of it starts at zero.
  [[nodiscard]] virtual std::vector<SlotSpec> slots(const ParamShape& shape) const = 0;

  // One step. `grad` (shape of the parameter, fp32) is clipped already and must not be changed; slots are fp32 and are
  // updated in place. Runs on the gradient's device, without synchronizing.
  [[nodiscard]] virtual Direction direction(const at::Tensor& grad, Slots& slots, const StepInfo& step) const = 0;

  // Whether each element's step depends on that element alone, so that rows may be split over processes.
  [[nodiscard]] virtual bool elementwise() const { return false; }

  // Why the rule cannot train this parameter, if it cannot.
  [[nodiscard]] virtual std::optional<std::string> refuses(const Param&) const { return std::nullopt; }
};

using UpdateRuleRegistry = Registry<UpdateRule>;
[[nodiscard]] UpdateRuleRegistry& update_rules();

}  // namespace tersor
