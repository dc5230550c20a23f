// Signum: the sign of the momentum.    Bernstein et al. 2018, arXiv:1802.04434, Algorithm 2
//
//   m ← βm + (1−β)g        ΔW = sign(m)              m (shape of W)
#include "core/config/plugin.h"
#include "optim/update_rule.h"

namespace {

class Signum final : public tersor::UpdateRule {
 public:
  struct Config {
    double beta = 0.9;
    void fields(tersor::FieldVisitor& v) { v("beta", beta, tersor::half_open(0, 1), "β, decay of the momentum"); }
  };
  explicit Signum(const Config& config) : c_(config) {}

  std::vector<tersor::SlotSpec> slots(const tersor::ParamShape& shape) const override {
    return {{"m", shape.sizes, tersor::SlotKind::kSigned}};
  }

  tersor::Direction direction(const at::Tensor& grad, tersor::Slots& slots, const tersor::StepInfo&) const override {
    return {slots["m"].lerp_(grad, 1 - c_.beta).sign()};
  }

  bool elementwise() const override { return true; }

 private:
  Config c_;
};

const bool registered = tersor::update_rules().add<Signum>("signum", "Bernstein et al. 2018, arXiv:1802.04434");

}  // namespace

TERSOR_PLUGIN
