// LoRA.    Hu et al. 2021, arXiv:2106.09685        ReLoRA: LoRA that is merged periodically.    Lialin et al. 2023, arXiv:2307.05695
//
//   y = x Wᵀ + s·(x Aᵀ) Bᵀ        s = α/r        W (out, in) frozen   A (r, in)   B (out, r)
//   begin:  W the dense initial weight    A uniform in ±1/√in    B = 0
//   merge:  W ← W + s·BA    A drawn afresh    B ← 0              y stays the same
//
// r is the configured rank, at most the short side of W. A merge is computed in at least fp32; if W is stored in less, it is
// rounded stochastically, so that changes smaller than its spacing are not lost merge after merge. W may be stored in 8 or 4
// bits, see frozen_weight.h.
//
// Departs from ReLoRA's code, which starts both A and B at zero, so that both gradients vanish until the first merge, and
// rounds merges to nearest; there is no dropout and no trained scale here.
#include <cmath>

#include "core/param/factors.h"
#include "core/param/frozen_weight.h"
#include "core/param/operations.h"
#include "kernels/fill_uniform.h"

namespace tersor {
namespace {

class LoRA final : public Parameterization, public Mergeable, public Refactorizable {
 public:
  struct Config {
    int64_t rank = 128;
    double alpha = 32;
    FrozenFormat base = FrozenFormat::kSame;
    void fields(FieldVisitor& v) {
      v("rank", rank, at_least(1), "rank r of the trained product, at most the short side of the weight");
      v("alpha", alpha, positive, "α of the scale s = α/r");
      v("base", base, "how the frozen weight is stored: in the dtype of the run, or in 8 or 4 bits");
    }
  };

  LoRA(const Config& config, const WeightShape& shape) : name_(shape.name), base_(initial_weight(shape, exact_type(shape.options)), shape.options, config.base) {
    const int64_t rank = std::min({config.rank, shape.out, shape.in});
    scale_ = config.alpha / static_cast<double>(rank);
    a_ = register_parameter("A", at::empty({rank, shape.in}, shape.options));
    b_ = register_parameter("B", at::zeros({shape.out, rank}, shape.options));
    draw_a(random_stream(shape.seed, "init", name_ + ".A"));
  }

  at::Tensor forward(const at::Tensor& x) override { return add_product(base_.apply(x), at::linear(x, a_), b_, scale_); }
  at::Tensor materialize() const override { return whole().to(a_.scalar_type()); }
  void assign(const at::Tensor& w) override {
    base_.write(w);
    b_.detach().zero_();
  }
  std::vector<Param> params() override {
    return {{name_ + ".A", a_, Role::kFactor, std::nullopt}, {name_ + ".B", b_, Role::kFactor, std::nullopt}};
  }
  std::vector<PackedPart> kept() const override { return base_.parts(name_ + ".base"); }
  int64_t num_active() override { return base_.numel() + Parameterization::num_active(); }

  void merge(const RandomStream& random) override {
    base_.write(whole(), random.child(0));
    draw_a(random.child(1));
    b_.detach().zero_();
  }

  bool refactorize() override { return balance(b_, a_); }

 private:
  // W + s·BA, in at least fp32.
  at::Tensor whole() const {
    const at::Tensor w = base_.read();
    return at::addmm(w, b_.detach().to(w.scalar_type()), a_.detach().to(w.scalar_type()), 1, scale_);
  }
  void draw_a(const RandomStream& random) {
    kernels::fill_uniform(a_, 1 / std::sqrt(static_cast<double>(a_.size(1))), random);
  }

  std::string name_;
  FrozenWeight base_;  // W (out, in)
  double scale_;
  at::Tensor a_;  // (r, in)
  at::Tensor b_;  // (out, r)
};

const bool registered =
    parameterizations().add<LoRA>("lora", "Hu et al. 2021, arXiv:2106.09685; merged now and then ReLoRA, arXiv:2307.05695");

}  // namespace
}  // namespace tersor
