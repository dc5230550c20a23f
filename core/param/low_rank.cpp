// Low-rank weights.    W = s·B A        y = s·(x Aᵀ) Bᵀ        B (out, r)   A (r, in)   s = α/r, or 1 where α is not given
// CoLA (Liu et al. 2025, arXiv:2502.10940), with `activation: silu`:    y = s·σ(x Aᵀ) Bᵀ,  for which there is no W
//
// r is the configured rank, at most the short side of W. An entry of W is a sum of r products, s·Σₖ bₖaₖ, of variance
// s²·r·σ_B²·σ_A²: both factors begin normal with σ² = std / (s√r), so that W's entries have standard deviation std. This is the dense
// model's (`init: matched`) or CoLA's, (in + out)^−½ (`init: cola`). `init: kaiming` is that of common packages' linear layers, as used
// by Glentis et al. 2025 (arXiv:2505.22922): A uniform in ±1/√in, B in ±1/√r, which makes W some ten times smaller.
//
// A given W becomes its truncated SVD, B = U√Σ/√s and A = √ΣVᵀ/√s (PELA: Guo et al. 2023, arXiv:2310.10700), the nearest W of
// rank r. A zero W zeroes only B, so that the layer can still learn.
#include <cmath>

#include "core/param/factors.h"
#include "core/param/operations.h"
#include "kernels/fill_normal.h"
#include "kernels/fill_uniform.h"

namespace tersor {

enum class Activation { kNone, kSilu };
template <>
struct EnumNames<Activation> {
  static constexpr std::array values{std::pair{Activation::kNone, std::string_view("none")},
                                     std::pair{Activation::kSilu, std::string_view("silu")}};
};

enum class FactorInit { kMatched, kKaiming, kCola };
template <>
struct EnumNames<FactorInit> {
  static constexpr std::array values{std::pair{FactorInit::kMatched, std::string_view("matched")},
                                     std::pair{FactorInit::kKaiming, std::string_view("kaiming")},
                                     std::pair{FactorInit::kCola, std::string_view("cola")}};
};

namespace {

class LowRank final : public Parameterization, public Refactorizable {
 public:
  struct Config {
    int64_t rank = 128;
    std::optional<double> alpha;
    Activation activation = Activation::kNone;
    FactorInit init = FactorInit::kMatched;
    void fields(FieldVisitor& v) {
      v("rank", rank, at_least(1), "rank r of the weight, at most its short side");
      v("alpha", alpha, positive, "α of the scale s = α/r; absent: s = 1");
      v("activation", activation, "what is applied between the factors; silu is CoLA");
      v("init", init, "how the factors are initialized: W as large as in the dense model, each factor like a linear layer, or as in CoLA");
    }
  };

  LowRank(const Config& config, const WeightShape& shape) : name_(shape.name), activation_(config.activation) {
    const int64_t rank = std::min({config.rank, shape.out, shape.in});
    if (config.alpha) scale_ = *config.alpha / static_cast<double>(rank);
    a_ = register_parameter("A", at::empty({rank, shape.in}, shape.options));
    b_ = register_parameter("B", at::empty({shape.out, rank}, shape.options));
    const double std = config.init == FactorInit::kCola ? 1 / std::sqrt(static_cast<double>(shape.in + shape.out)) : shape.init_std;
    for (const auto& [factor, name] : {std::pair{a_, ".A"}, std::pair{b_, ".B"}}) {
      const RandomStream random = random_stream(shape.seed, "init", name_ + name);
      if (config.init == FactorInit::kKaiming)
        kernels::fill_uniform(factor, 1 / std::sqrt(static_cast<double>(factor.size(1))), random);
      else
        kernels::fill_normal(factor, std::sqrt(std / (scale_ * std::sqrt(static_cast<double>(rank)))), random);
    }
  }

  at::Tensor forward(const at::Tensor& x) override {
    at::Tensor h = at::linear(x, a_);  // (…, r)
    if (activation_ == Activation::kSilu) h = at::silu(h);
    return at::linear(scale_ == 1 ? h : h * scale_, b_);
  }

  at::Tensor materialize() const override {
    refuse_unless_linear("no dense weight is equal to it; export with --keep-factors");
    return b_.detach().mm(a_.detach()) * scale_;
  }

  void assign(const at::Tensor& w) override {
    at::Tensor b = b_.detach();
    if (w.count_nonzero().item<int64_t>() == 0) {
      b.zero_();
      return;
    }
    refuse_unless_linear("it cannot take over a dense weight; start from a fresh model, or use activation: none");
    const Factors nearest = truncated_factors(w / scale_, b.size(1));
    b.copy_(nearest.b);
    a_.detach().copy_(nearest.a);
  }

  std::vector<Param> params() override {
    return {{name_ + ".A", a_, Role::kFactor, std::nullopt}, {name_ + ".B", b_, Role::kFactor, std::nullopt}};
  }
  bool linear() const override { return activation_ == Activation::kNone; }

  bool refactorize() override {
    refuse_unless_linear("refactorize would change what it computes; leave it out of the targets");
    return balance(b_, a_);
  }

 private:
  void refuse_unless_linear(std::string_view why) const {
    if (!linear()) throw user_error("'{}' is low_rank with activation: silu: {}", name_, why);
  }

  std::string name_;
  Activation activation_;
  double scale_ = 1;
  at::Tensor a_;  // (r, in)
  at::Tensor b_;  // (out, r)
};

const bool registered =
    parameterizations().add<LowRank>("low_rank", "W = BA; with activation: silu CoLA, Liu et al. 2025, arXiv:2502.10940");

}  // namespace
}  // namespace tersor
