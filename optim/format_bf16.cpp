#include <c10/util/accumulate.h>

#include "kernels/stochastic_round.h"
#include "optim/state_format.h"

namespace tersor {

enum class Rounding { kStochastic, kNearest };

template <>
struct EnumNames<Rounding> {
  static constexpr std::array values{std::pair{Rounding::kStochastic, std::string_view("stochastic")},
                                     std::pair{Rounding::kNearest, std::string_view("nearest")}};
};

namespace {

// A second moment kept in bf16 cannot decay if it is rounded to nearest (0.999·v rounds back to v); rounded
// stochastically, it decays in expectation.
class Bf16Format final : public StateFormat {
 public:
  struct Config {
    Rounding rounding = Rounding::kStochastic;
    void fields(FieldVisitor& v) { v("rounding", rounding, "how fp32 becomes bf16 after each step"); }
  };
  explicit Bf16Format(const Config& config) : config_(config) {}

  std::vector<at::Tensor> allocate(at::IntArrayRef shape, SlotKind, const at::TensorOptions& options) const override {
    return {at::zeros(shape, options.dtype(at::kBFloat16))};
  }
  void encode(const at::Tensor& fp32, SlotKind, const RandomStream& random,
              std::span<const at::Tensor> resting) const override {
    at::Tensor target = resting[0];
    if (config_.rounding == Rounding::kNearest)
      target.copy_(fp32);
    else
      kernels::stochastic_round(fp32.contiguous(), target, random);
  }
  at::Tensor decode(std::span<const at::Tensor> resting, SlotKind, at::IntArrayRef) const override {
    return resting[0].to(at::kFloat);
  }
  bool by_rows() const override { return true; }
  int64_t bytes(at::IntArrayRef shape, SlotKind) const override {
    return c10::multiply_integers(shape) * static_cast<int64_t>(sizeof(at::BFloat16));
  }

 private:
  Config config_;
};

const bool registered = state_formats().add<Bf16Format>("bf16", "bfloat16, 2 bytes a number");

}  // namespace
}  // namespace tersor
