// Adam-mini: one second moment per block.    Zhang et al. 2024, arXiv:2406.16793, Algorithm 1
//
//   t ← t + 1    m ← β₁m + (1−β₁)g    v_b ← β₂v_b + (1−β₂)·mean(g² over block b)        m (shape of W), v (blocks)
//   ΔW = m̂ / (√v̂_b + ε)
//
// A block is a head in query and key projections, and a row elsewhere. A vector is one block.
#include "optim/update_rule.h"

namespace tersor {
namespace {

class AdamMini final : public UpdateRule {
 public:
  struct Config {
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-8;
    std::optional<int64_t> rows_per_block;
    void fields(FieldVisitor& v) {
      v("beta1", beta1, half_open(0, 1), "β₁, decay of the first moment");
      v("beta2", beta2, half_open(0, 1), "β₂, decay of the second moment");
      v("epsilon", epsilon, at_least(0), "ε, added to the root of the second moment");
      v("rows_per_block", rows_per_block, at_least(1), "rows of a matrix that share a second moment; absent: those of a head in query and key projections, else 1");
    }
  };
  explicit AdamMini(const Config& config) : c_(config) {}

  std::vector<SlotSpec> slots(const ParamShape& shape) const override {
    const int64_t blocks = shape.sizes.size() == 2 ? shape.sizes[0] / rows_per_block(shape.rows_per_head) : 1;
    return {{"m", shape.sizes, SlotKind::kSigned}, {"v", {blocks, 1}, SlotKind::kNonNegative}, {"t", {}, SlotKind::kExact}};
  }

  Direction direction(const at::Tensor& grad, Slots& slots, const StepInfo&) const override {
    const at::Tensor steps = slots["t"].add_(1).to(at::kDouble);
    const at::Tensor& m = slots["m"].lerp_(grad, 1 - c_.beta1);
    const at::Tensor& v = slots["v"];
    v.lerp_(grad.reshape({v.size(0), -1}).square().mean({1}, true), 1 - c_.beta2);
    const at::Tensor root = (v / (1 - at::pow(c_.beta2, steps)).to(at::kFloat)).sqrt_().add_(c_.epsilon);  // (blocks, 1)
    const at::Tensor gain = (1 - at::pow(c_.beta1, steps)).reciprocal().to(at::kFloat);
    return {(m.view({v.size(0), -1}) / root).view_as(grad), gain};
  }

  std::optional<std::string> refuses(const Param& param) const override {
    const int64_t rows = rows_per_block(param.rows_per_head);
    if (param.value.dim() != 2 || param.value.size(0) % rows == 0) return std::nullopt;
    return fmt::format("its {} rows are not a multiple of rows_per_block {}", param.value.size(0), rows);
  }

 private:
  int64_t rows_per_block(int64_t rows_per_head) const { return c_.rows_per_block.value_or(std::max<int64_t>(1, rows_per_head)); }

  Config c_;
};

const bool registered = update_rules().add<AdamMini>("adam_mini", "Zhang et al. 2024, arXiv:2406.16793");

}  // namespace
}  // namespace tersor
