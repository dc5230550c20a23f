// SVFit: only the largest singular values are trained.    Sun et al. 2024, arXiv:2409.05926
//
//   W₀ = UΣVᵀ, its r leading parts kept        W = W₀ + U·diag(σ)·Vᵀ        y = x W₀ᵀ + ((x V) ⊙ σ) Uᵀ
//   W₀ (out, in), U (out, r), V (in, r): frozen        σ (r): the change of the singular values, from 0
//
// The paper trains Σᵣ itself beside the residual W₀ − UΣᵣVᵀ; training the change needs no residual and is the same except for weight
// decay, which pulls W to W₀ here and Σᵣ to 0 there. Meant for pretrained weights (run.init_from): the subspaces never move. σ has the
// role of a vector, so it is grouped with norm gains and biases; to give it a group of its own, match the name "*.sigma". r is the
// configured rank, at most the short side of W. The decomposition, in double, is done when the weight is created or assigned, and
// costs O(out·in·min(out, in)).
#include "core/param/frozen_weight.h"

namespace tersor {
namespace {

class SVFit final : public Parameterization {
 public:
  struct Config {
    int64_t rank = 128;
    FrozenFormat base = FrozenFormat::kSame;
    void fields(FieldVisitor& v) {
      v("rank", rank, at_least(1), "how many singular values are trained, at most the short side of the weight");
      v("base", base, "how the frozen weight is stored: in the dtype of the run, or in 8 or 4 bits");
    }
  };

  SVFit(const Config& config, const WeightShape& shape) : name_(shape.name), base_(initial_weight(shape, exact_type(shape.options)), shape.options, config.base) {
    const int64_t rank = std::min({config.rank, shape.out, shape.in});
    u_ = at::empty({shape.out, rank}, shape.options);
    v_ = at::empty({shape.in, rank}, shape.options);
    sigma_ = register_parameter("sigma", at::zeros({rank}, shape.options));
    if (!u_.is_meta()) decompose();
  }

  at::Tensor forward(const at::Tensor& x) override {
    return add_product(base_.apply(x), at::linear(x, v_.t()) * sigma_, u_, 1);
  }
  at::Tensor materialize() const override {
    const at::Tensor w = base_.read();
    const at::Tensor left = u_.to(w.scalar_type()) * sigma_.detach().to(w.scalar_type());
    return at::addmm(w, left, v_.t().to(w.scalar_type())).to(u_.scalar_type());
  }
  void assign(const at::Tensor& w) override {
    base_.write(w);
    sigma_.detach().zero_();
    decompose();
  }
  std::vector<Param> params() override { return {{name_ + ".sigma", sigma_, Role::kVector, std::nullopt}}; }
  std::vector<PackedPart> kept() const override {
    std::vector<PackedPart> parts = base_.parts(name_ + ".base");
    parts.push_back({name_ + ".U", u_});
    parts.push_back({name_ + ".V", v_});
    return parts;
  }
  int64_t num_active() override { return base_.numel() + u_.numel() + v_.numel() + Parameterization::num_active(); }

 private:
  // Decomposes the weight as stored.
  void decompose() {
    const at::NoGradGuard no_grad;
    const auto [u, s, vh] = at::linalg_svd(base_.read().to(at::kDouble), false);
    u_.copy_(u.narrow(1, 0, u_.size(1)));
    v_.copy_(vh.narrow(0, 0, v_.size(1)).t());
  }

  std::string name_;
  FrozenWeight base_;  // W₀ (out, in)
  at::Tensor u_;       // (out, r)
  at::Tensor v_;       // (in, r)
  at::Tensor sigma_;   // (r)
};

const bool registered =
    parameterizations().add<SVFit>("svd", "SVFit: leading singular values alone are trained, Sun et al. 2024, arXiv:2409.05926");

}  // namespace
}  // namespace tersor
