// Trained rank pruning: during training, a weight is repeatedly replaced by its leading singular directions, so that it can be
// factored afterwards without loss.    Xu et al. 2020, arXiv:2004.14566
//
//   W = U·Σ·Vᵀ        W ← U·max(0, Σ − ηλ)·Vᵀ over the least q directions that hold `energy` of Σσ²
//
// λ is the nuclear-norm penalty, applied once each time: a value that matters every step does nothing every hundredth. The paper adds
// λ·U·Vᵀ to the gradient of the step, which for plain gradient descent equals subtracting ηλ here; for other rules this is the
// proximal step of the nuclear norm. W stays dense: `reparameterize` to low_rank realizes the savings.
#include "core/timeline/timeline.h"

namespace tersor {
namespace {

class TruncateRank final : public Action {
 public:
  struct Config {
    std::vector<std::string> targets{"*"};
    double energy = 0.9;
    double nuclear = 0;
    void fields(FieldVisitor& v) {
      v("targets", targets, "patterns of weight names");
      v("energy", energy, between(0, 1), "share of the squared singular values to keep");
      v("nuclear", nuclear, at_least(0), "λ, penalty on the nuclear norm; 0.0003 in the paper");
    }
  };
  explicit TruncateRank(const Config& config) : c_(config) {}

  [[nodiscard]] Phase phase() const override { return Phase::kBeforeUpdate; }

  std::string run(RunContext& context) const override {
    const at::NoGradGuard no_grad;
    int64_t left = 0;
    int64_t full = 0;
    const auto weights = context.targets().linears(c_.targets);
    for (const auto& linear : weights) {
      const at::Tensor w = linear->weight().materialize().to(at::kDouble);
      const bool tall = w.size(0) > w.size(1);
      const at::Tensor wide = tall ? w.t() : w;
      const auto [values, vectors] = at::linalg_eigh(wide.mm(wide.t()));  // ascending
      const at::Tensor squares = values.cpu().clamp_min(0);               // a GPU would sum in any order
      const at::Tensor sigma = squares.sqrt();
      const at::Tensor below = at::cumsum(squares, 0);                    // energy of this direction and all smaller ones
      const at::Tensor stays = below > (1 - c_.energy) * below[-1] * (1 + 1e-12);
      const at::Tensor shrunk = (sigma - context.lr * c_.nuclear).clamp_min(0) * stays;
      const at::Tensor factor = at::where(sigma > 0, shrunk / sigma, at::zeros({}, sigma.options()));
      const at::Tensor result = (vectors * factor.to(w.device())).mm(vectors.t().mm(wide));
      linear->weight().assign(tall ? result.t() : result);
      left += shrunk.count_nonzero().item<int64_t>();
      full += sigma.numel();
    }
    return fmt::format("{} of {} singular directions are left in {} weights", left, full, weights.size());
  }

  void check(const Targets& targets) const override { (void)targets.linears(c_.targets); }

 private:
  Config c_;
};

const bool registered = actions().add<TruncateRank>("truncate_rank", "cuts small singular values, Xu et al. 2020 (TRP), arXiv:2004.14566");

}  // namespace
}  // namespace tersor
