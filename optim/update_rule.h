// An update rule is one paper: how a gradient becomes a step. Rules are stateless: they declare what they remember from step
// to step as slots, and the driver (optimizer.h) keeps the slots, applies the step, decays and clips. A rule therefore
// never sees a learning rate, another parameter, a state format or a process; only `fused` is told some of these.
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
  std::string_view param;  // its name; with `seed` and the step, it keys all randomness
  double place = 0;        // the parameter's position in its group, in [0, 1), by which work may be spread over steps
  int64_t num_micro_batches = 1;

  [[nodiscard]] RandomStream random(std::string_view purpose) const {
    return random_stream(seed, purpose, param, static_cast<uint64_t>(progress.step));
  }
};

// The driver does  w −= lr · gain · value,  or  w −= lr · gain · leftᵀ·value·right  where the bases are defined: the
// product is then accumulated directly into the weight, and a step of the parameter's size is never formed. Where `rest`
// is defined,  w −= lr · rest_gain · rest  as well.
struct Direction {
  at::Tensor value;      // shape of the parameter, or of the subspace; may alias a slot or the gradient
  at::Tensor gain;       // 0-dim, or one number per slice, broadcast over `value`; undefined means 1
  at::Tensor left;       // (r, rows)
  at::Tensor right;      // (r, columns)
  at::Tensor rest;       // shape of the parameter; may alias the gradient
  at::Tensor rest_gain;  // 0-dim, (rows, 1) or (1, columns)
};

// How a rule that works in a subspace can compress gradients before they are summed over micro-batches and processes: by a
// linear map that does not change in between, so that the sum of compressed gradients is the compressed sum.
class Compression {
 public:
  virtual ~Compression() = default;

  // Whether this step can do without the gradient itself. `host` holds the slots of kind kHost.
  [[nodiscard]] virtual bool applies(const StepInfo& step, const Slots& host) const = 0;
  // Whether that depends on gradients. A plan, which has none, then gives an upper bound on the steps that need them whole.
  [[nodiscard]] virtual bool depends_on_gradients() const { return false; }
  // Compresses `grad` (shape of the parameter, fp32 or bf16) to what is summed, in fp32. `projectors` holds the slots of kind kProjector.
  [[nodiscard]] virtual at::Tensor compress(const at::Tensor& grad, const Slots& projectors, const StepInfo& step) const = 0;
  // Returns an unbiased estimate, 0-dim fp64, of the squared norm of the gradient (of shape `sizes`) that `compressed` was made from,
  // a sum over several micro-batches. With a single micro-batch the gradient itself is measured.
  [[nodiscard]] virtual at::Tensor square_norm(const at::Tensor& compressed, at::IntArrayRef sizes) const = 0;
  // The step for a compressed gradient, as UpdateRule::direction is for a whole one.
  [[nodiscard]] virtual Direction direction_of(const at::Tensor& compressed, Slots& slots, const StepInfo& step) const = 0;
};

class UpdateRule {
 public:
  virtual ~UpdateRule() = default;

  // What is remembered between steps for a parameter of this shape; all of it starts at zero.
  [[nodiscard]] virtual std::vector<SlotSpec> slots(const ParamShape& shape) const = 0;

  // One step. `grad` (shape of the parameter, fp32) is already clipped and must not be changed; slots are fp32 and are
  // updated in place. Runs on the gradient's device, without synchronizing.
  [[nodiscard]] virtual Direction direction(const at::Tensor& grad, Slots& slots, const StepInfo& step) const = 0;

  // For rules that need less than the whole gradient on some steps; nullptr for others.
  [[nodiscard]] virtual const Compression* compression() const { return nullptr; }

  // Whether this step computes something, such as a basis, that another machine would round differently: one process then takes the
  // step for all and broadcasts the result. `host` holds the slots of kind kHost.
  [[nodiscard]] virtual bool finds_basis(const StepInfo& step, const Slots& host) const {
    return compression() != nullptr && !compression()->applies(step, host);
  }

  // One step in one pass over weight, gradient and state at rest, equal to `direction` followed by what the driver does with
  // it, except for the order of roundings. Returns false, with nothing touched, if there is no such pass.
  [[nodiscard]] virtual bool fused(const FusedStep&) const { return false; }

  // Whether each element's step depends on that element alone, apart from one-number slots that count steps: rows of a matrix
  // may then be updated part by part, or by several processes.
  [[nodiscard]] virtual bool elementwise() const { return false; }

  // Why the rule cannot train this parameter; nullopt if it can.
  [[nodiscard]] virtual std::optional<std::string> refuses(const Param&) const { return std::nullopt; }
};

[[nodiscard]] inline ParamShape shape_of(const Param& param) { return {param.value.sizes().vec(), param.slice_axis, param.rows_per_head}; }

// The refusal that most rules for matrices share.
[[nodiscard]] inline std::optional<std::string> refuse_unless_matrix(const Param& param) {
  if (param.value.dim() == 2) return std::nullopt;
  return "it works only on matrices";
}

using UpdateRuleRegistry = Registry<UpdateRule>;
[[nodiscard]] UpdateRuleRegistry& update_rules();

}  // namespace tersor
