// Muon: momentum, orthogonalized.    Jordan et al. 2024; the matched scale from Liu et al. 2025 (Moonlight), arXiv:2502.16982
//
//   m ← μm + g      u = g + μm  (Nesterov) or m      O = newton_schulz(u)              m (out, in)
//   scale: spectral     ΔW = √max(1, out/in) · O
//   scale: match_adamw  ΔW = 0.2 · √max(out, in) · O      so that AdamW's rate and decay can be used as they are
//
// For hidden matrices; embedding, head and vectors need another rule.
#include <cmath>

#include "kernels/newton_schulz.h"
#include "optim/update_rule.h"

namespace tersor {

enum class MuonScale { kSpectral, kMatchAdamw };
template <>
struct EnumNames<MuonScale> {
  static constexpr std::array values{std::pair{MuonScale::kSpectral, std::string_view("spectral")},
                                     std::pair{MuonScale::kMatchAdamw, std::string_view("match_adamw")}};
};

namespace {

class Muon final : public UpdateRule {
 public:
  struct Config {
    double momentum = 0.95;
    bool nesterov = true;
    int64_t iterations = 5;
    MuonScale scale = MuonScale::kMatchAdamw;
    void fields(FieldVisitor& v) {
      v("momentum", momentum, half_open(0, 1), "μ");
      v("nesterov", nesterov, "look one momentum step ahead");
      v("iterations", iterations, at_least(1), "Newton–Schulz iterations");
      v("scale", scale, "how the size of a step depends on the shape of the matrix");
    }
  };
  explicit Muon(const Config& config) : c_(config) {}

  std::vector<SlotSpec> slots(const ParamShape& shape) const override { return {{"m", shape.sizes, SlotKind::kSigned}}; }

  Direction direction(const at::Tensor& grad, Slots& slots, const StepInfo&) const override {
    const at::Tensor& m = slots["m"].mul_(c_.momentum).add_(grad);
    const at::Tensor step = kernels::newton_schulz(c_.nesterov ? grad.add(m, c_.momentum) : m, c_.iterations);
    const auto rows = static_cast<double>(grad.size(0));
    const auto columns = static_cast<double>(grad.size(1));
    const double scale = c_.scale == MuonScale::kSpectral ? std::sqrt(std::max(1.0, rows / columns))
                                                          : 0.2 * std::sqrt(std::max(rows, columns));
    return {step, at::full({}, scale, grad.options())};
  }

  std::optional<std::string> refuses(const Param& param) const override {
    if (param.role == Role::kEmbedding || param.role == Role::kHead) return "it is for hidden matrices";
    return refuse_unless_matrix(param);
  }

 private:
  Config c_;
};

const bool registered = update_rules().add<Muon>("muon", "Jordan et al. 2024; Liu et al. 2025, arXiv:2502.16982");

}  // namespace
}  // namespace tersor
