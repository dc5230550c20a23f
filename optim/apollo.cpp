// APOLLO: approximated gradient scaling.    Zhu et al. 2024, arXiv:2412.05270, Algorithm 1
//
//   every T steps: P ~ N(0, 1/r)                                                      P (r, short)
//   R = P·G (or G·Pᵀ)    N = inner(R)    φ = ‖N‖ / ‖R‖   along the compressed axis, or one number for the tensor
//   S = φ ⊙ G   limited in growth by γ       ΔW = √scale · S
//
// APOLLO-Mini is `rank: 1, scaling: tensor, scale: 128`. P is regenerated from the seed at every step, so that none of it is
// kept; with `projection: svd` it is GaLore's basis, and is kept. The inner rule's bias correction multiplies the whole step,
// so φ and the limiter see moments without it.
//
// Departs from the authors' code: every parameter has its own P (in their per-layer mode all share one), and `scale` is
// applied after the limiter, which is the same except for their 1e-8.
#include <cmath>

#include "kernels/fill_normal.h"
#include "kernels/square_norm.h"
#include "optim/norm_growth_limiter.h"
#include "optim/subspace.h"

namespace tersor {

enum class ApolloProjection { kRandom, kSvd };
template <>
struct EnumNames<ApolloProjection> {
  static constexpr std::array values{std::pair{ApolloProjection::kRandom, std::string_view("random")},
                                     std::pair{ApolloProjection::kSvd, std::string_view("svd")}};
};
enum class ApolloScaling { kChannel, kTensor };
template <>
struct EnumNames<ApolloScaling> {
  static constexpr std::array values{std::pair{ApolloScaling::kChannel, std::string_view("channel")},
                                     std::pair{ApolloScaling::kTensor, std::string_view("tensor")}};
};

namespace {

class Apollo final : public UpdateRule {
 public:
  struct Config {
    int64_t rank = 128;
    Cadence refresh = Cadence::every(200);
    ApolloProjection projection = ApolloProjection::kRandom;
    ApolloScaling scaling = ApolloScaling::kChannel;
    double scale = 1;
    bool limit = true;
    double growth = 1.01;
    Choice<update_rules> inner = adamw_of_packages();
    void fields(FieldVisitor& v) {
      v("rank", rank, at_least(1), "rank r of the projected gradient");
      v("refresh", refresh, "when the projection changes (T)");
      v("projection", projection, "random normal numbers, or the leading singular vectors of the gradient");
      v("scaling", scaling, "one factor per channel of the long side (APOLLO), or one for the tensor (APOLLO-Mini)");
      v("scale", scale, positive, "the step is multiplied by the square root of this, as in the authors' code");
      v("limit", limit, "whether the growth of the step's norm is limited");
      v("growth", growth, at_least(1), "γ, largest growth of the step's norm from one step to the next");
      v("inner", inner, "rule that runs in the subspace");
    }
  };
  explicit Apollo(const Config& config)
      : c_(config), subspace_({.rank = config.rank, .refresh = config.refresh}, config.inner), inner_(config.inner) {}

  std::vector<SlotSpec> slots(const ParamShape& shape) const override {
    const bool svd = c_.projection == ApolloProjection::kSvd;
    std::vector<SlotSpec> specs = svd ? subspace_.slots(shape) : inner_.slots(projected_shape(shape.sizes));
    if (!svd) specs.push_back({"drawn_at", {}, SlotKind::kHost});
    if (c_.limit) specs.push_back({"norm", {}, SlotKind::kExact});
    return specs;
  }

  Direction direction(const at::Tensor& grad, Slots& slots, const StepInfo& step) const override {
    const at::Tensor projected = project(grad, slots, step);
    const Direction inside = inner_.direction(projected, slots, step);
    // S is never formed: its norm follows from φ and the norms of the gradient's rows (columns), and the driver scales as it adds.
    const auto squares = [&, a = axis(grad)](const at::Tensor& x) {  // one number per channel of the long side, or one in all
      return c_.scaling == ApolloScaling::kTensor ? kernels::square_norm(x) : kernels::square_norms(x, a);
    };
    at::Tensor gain = squares(inside.value).sqrt() / (squares(projected).sqrt() + kNormEpsilon);
    if (c_.limit) gain = gain * limit_norm_growth((gain.square() * squares(grad)).sum(), slots["norm"], c_.growth);
    if (inside.gain.defined()) gain = gain * inside.gain;
    return {grad, gain * std::sqrt(c_.scale)};
  }

  bool finds_basis(const StepInfo& step, const Slots& host) const override {
    return c_.projection == ApolloProjection::kSvd ? subspace_.finds_basis(step, host) : inner_.finds_basis(step, host);
  }
  std::optional<std::string> refuses(const Param& param) const override { return refuse_unless_matrix(param); }

 private:
  static int64_t axis(const at::Tensor& grad) { return grad.size(0) < grad.size(1) ? 0 : 1; }  // the short side

  // For random projections, whose rank may exceed the sides.
  std::vector<int64_t> projected_shape(at::IntArrayRef sizes) const {
    const bool wide = sizes[0] < sizes[1];
    return {wide ? c_.rank : sizes[0], wide ? sizes[1] : c_.rank};
  }

  at::Tensor project(const at::Tensor& grad, const Slots& slots, const StepInfo& step) const {
    if (c_.projection == ApolloProjection::kSvd) {
      subspace_.refresh_when_due(grad, slots, step);
      return subspace_.down(grad, slots);
    }
    float& drawn_at = *slots["drawn_at"].data_ptr<float>();  // the step whose draw is in use
    if (drawn_at == 0 || c_.refresh.due(step.progress.shifted(-1))) drawn_at = static_cast<float>(step.progress.step);
    const at::Tensor p = at::empty({c_.rank, grad.size(axis(grad))}, grad.options());
    kernels::fill_normal(p, 1 / std::sqrt(static_cast<double>(c_.rank)),
                         random_stream(step.seed, "apollo", step.param, static_cast<uint64_t>(drawn_at)));
    return axis(grad) == 0 ? p.mm(grad) : grad.mm(p.t());
  }

  Config c_;
  Subspace subspace_;
  InnerRule inner_;  // stateless, like the one in the subspace
};

const bool registered = update_rules().add<Apollo>("apollo", "Zhu et al. 2024, arXiv:2412.05270");

}  // namespace
}  // namespace tersor
