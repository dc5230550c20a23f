// SCALE: column-normalized gradients, with momentum on the last layer.    Glentis et al. 2025, arXiv:2506.16659, Algorithm 1
//
//   m ← βm + (1−β)g   (where momentum is not 0; else m = g)        ΔW = m / √mean(m²)  along one axis        m (out, in)
//
// The axis is the input's (each output row gets root mean square 1), or for an embedding that of its rows. The paper uses
// momentum for the head alone and AdamW for vectors: three groups, as in configs/method/scale.yaml.
#include "optim/update_rule.h"

namespace tersor {

enum class ScaleAxis { kInput, kOutput };
template <>
struct EnumNames<ScaleAxis> {
  static constexpr std::array values{std::pair{ScaleAxis::kInput, std::string_view("input")},
                                     std::pair{ScaleAxis::kOutput, std::string_view("output")}};
};

namespace {

class Scale final : public UpdateRule {
 public:
  struct Config {
    double momentum = 0;
    ScaleAxis axis = ScaleAxis::kInput;
    double epsilon = 1e-8;
    void fields(FieldVisitor& v) {
      v("momentum", momentum, half_open(0, 1), "β; 0 keeps no state");
      v("axis", axis, "what is averaged over: the inputs of each output, or the outputs (the rows of an embedding)");
      v("epsilon", epsilon, positive, "smallest root mean square to divide by");
    }
  };
  explicit Scale(const Config& config) : c_(config) {}

  std::vector<SlotSpec> slots(const ParamShape& shape) const override {
    if (c_.momentum == 0) return {};
    return {{"m", shape.sizes, SlotKind::kSigned}};
  }

  Direction direction(const at::Tensor& grad, Slots& slots, const StepInfo&) const override {
    const at::Tensor m = c_.momentum == 0 ? grad : slots["m"].lerp_(grad, 1 - c_.momentum);
    const int64_t axis = c_.axis == ScaleAxis::kInput ? 1 : 0;
    return {m / m.square().mean({axis}, true).sqrt_().clamp_min_(c_.epsilon)};
  }

  std::optional<std::string> refuses(const Param& param) const override { return refuse_unless_matrix(param); }

 private:
  Config c_;
};

const bool registered = update_rules().add<Scale>("scale", "Glentis et al. 2025, arXiv:2506.16659");

}  // namespace
}  // namespace tersor
