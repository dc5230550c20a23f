// An update rule is one paper: how a gradient becomes a step. Rules are stateless; what they remember from step to step
// they declare as slots, and the driver (optimizer.h) keeps the slots, applies the step, decays and clips. A rule
// therefore never sees a learning rate, another parameter, a state format or a process; `fused` alone is told some of it.
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
#include "optim/fused_step.h"
#include "optim/slots.h"

namespace tersor {

struct StepInfo {
  Progress progress;
  uint64_t seed = 0;
  std::string_view param;  // its name: with `seed` and the step, the key of all randomness
  double place = 0;        // of the parameter among those of its group, in [0, 1): work may be spread over steps by it
  int64_t num_micro_batches = 1;

  [[nodiscard]] RandomStream random(std::string_view purpose) const {
    return random_stream(seed, purpose, param, static_cast<uint64_t>(progress.step));
  }
};

// The driver does  w −= lr · gain · value,  or  w −= lr · gain · leftᵀ·value·right  where the bases are defined: the
// product is then added to the weight as it is made, and a step of the parameter's size never exists. Where `rest` is
// defined, w −= lr · rest_gain · rest  as well.
struct Direction {
  at::Tensor value;      // shape of the parameter, or of the subspace; may alias a slot or the gradient
  at::Tensor gain;       // 0-dim, or one number a slice, broadcast over `value`; undefined means 1
  at::Tensor left;       // (r, rows)
  at::Tensor right;      // (r, columns)
  at::Tensor rest;       // shape of the parameter; may alias the gradient
  at::Tensor rest_gain;  // 0-dim, (rows, 1) or (1, columns)
};

// What a rule that works in a subspace can keep of a gradient before gradients are added up over micro-batches and
// processes: a linear map that stands still in between, so that compressing each and adding is adding and compressing.
class Compression {
 public:
  virtual ~Compression() = default;

  // Whether this step can do without the gradient itself. `host` holds the slots of kind kHost.
  [[nodiscard]] virtual bool applies(const StepInfo& step, const Slots& host) const = 0;
  // Whether that depends on gradients: a plan, which has none, tells then the most steps that need them whole.
  [[nodiscard]] virtual bool depends_on_gradients() const { return false; }
  // `grad` (shape of the parameter, fp32 or bf16) to what is added up, in fp32. `projectors` holds the slots of kind kProjector.
  [[nodiscard]] virtual at::Tensor compress(const at::Tensor& grad, const Slots& projectors, const StepInfo& step) const = 0;
  // An unbiased estimate, 0-dim fp64, of the squared norm of the gradient (of shape `sizes`) that `compressed`, a sum over several
  // micro-batches, was made of. Of one micro-batch the gradient itself is measured.
  [[nodiscard]] virtual at::Tensor square_norm(const at::Tensor& compressed, at::IntArrayRef sizes) const = 0;
  // The step for a compressed gradient; what UpdateRule::direction does with one that is not.
  [[nodiscard]] virtual Direction direction_of(const at::Tensor& compressed, Slots& slots, const StepInfo& step) const = 0;
};

class UpdateRule {
 public:
  virtual ~UpdateRule() = default;

  // What is remembered between steps for a parameter of this shape; all of it starts at zero.
  [[nodiscard]] virtual std::vector<SlotSpec> slots(const ParamShape& shape) const = 0;

  // One step. `grad` (shape of the parameter, fp32) is clipped already and must not be changed; slots are fp32 and are
  // updated in place. Runs on the gradient's device, without synchronizing.
  [[nodiscard]] virtual Direction direction(const at::Tensor& grad, Slots& slots, const StepInfo& step) const = 0;

  // Where the rule can do with less than the gradient on some steps.
  [[nodiscard]] virtual const Compression* compression() const { return nullptr; }

  // Whether this step finds something that another machine would find with other digits, such as a basis: of several processes one
  // then takes the step for all, and hands out what it found. `host` holds the slots of kind kHost.
  [[nodiscard]] virtual bool finds_basis(const StepInfo& step, const Slots& host) const {
    return compression() != nullptr && !compression()->applies(step, host);
  }

  // One step in one pass over weight, gradient and resting state, the same as `direction` and what the driver does with
  // it but for the order of roundings. False, with nothing touched, where there is no such pass.
  [[nodiscard]] virtual bool fused(const FusedStep&) const { return false; }

  // Whether each element's step depends on that element alone, besides slots of one number that count steps: rows of a matrix
  // may then be updated one part after the other, or by several processes.
  [[nodiscard]] virtual bool elementwise() const { return false; }

  // Why the rule cannot train this parameter, if it cannot.
  [[nodiscard]] virtual std::optional<std::string> refuses(const Param&) const { return std::nullopt; }
};

[[nodiscard]] inline ParamShape shape_of(const Param& param) { return {param.value.sizes().vec(), param.slice_axis, param.rows_per_head}; }

// What most rules for matrices refuse.
[[nodiscard]] inline std::optional<std::string> refuse_unless_matrix(const Param& param) {
  if (param.value.dim() == 2) return std::nullopt;
  return "it works on matrices";
}

using UpdateRuleRegistry = Registry<UpdateRule>;
[[nodiscard]] UpdateRuleRegistry& update_rules();

}  // namespace tersor
