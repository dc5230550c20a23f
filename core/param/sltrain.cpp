// SLTrain: sparse plus low-rank.    Han et al. 2024, arXiv:2406.02214, Algorithm 1
//
//   W = (alpha/rank)·B·A + S        y = x·Wᵀ        B (out, r)   A (r, in)   S: δ·out·in values at fixed random positions
//
// A and the values begin uniform within ±1/√in, B at zero, as in the authors' code: W is S alone at first. The positions follow
// from the seed; a checkpoint holds their key. W is composed in a buffer shared by all layers: see sparse_low_rank_linear.h.
//
// `assign` alternates, from the current values, between the best factors of what the values leave and the best values of what
// the factors leave. It ends near the nearest such weight, and stays at one that it has reached.
#include <cmath>

#include "core/param/factors.h"
#include "core/param/operations.h"
#include "kernels/fill_uniform.h"
#include "kernels/sparse_low_rank_linear.h"

namespace tersor {
namespace {

class SlTrain final : public Parameterization, public Refactorizable {
 public:
  struct Config {
    int64_t rank = 128;
    double alpha = 32;
    double density = 0.03;
    void fields(FieldVisitor& v) {
      v("rank", rank, at_least(1), "rank r of B·A, at most the short side of the weight");
      v("alpha", alpha, positive, "B·A is multiplied by alpha/rank");
      v("density", density, greater_than(0), between(0, 1), "δ, share of the entries that are in S");
    }
  };

  SlTrain(const Config& config, const WeightShape& shape)
      : name_(shape.name), pattern_(std::make_shared<kernels::SparsePattern>()) {
    pattern_->out = shape.out;
    pattern_->in = shape.in;
    const int64_t rank = std::min({config.rank, shape.out, shape.in});
    scale_ = config.alpha / static_cast<double>(rank);
    const auto nnz = std::max<int64_t>(1, static_cast<int64_t>(config.density * static_cast<double>(shape.out * shape.in)));
    a_ = register_parameter("A", at::empty({rank, shape.in}, shape.options));
    b_ = register_parameter("B", at::zeros({shape.out, rank}, shape.options));
    values_ = register_parameter("values", at::empty({nnz}, shape.options));
    support_ = at::zeros({1}, shape.options.dtype(at::kLong));
    if (shape.options.device().is_meta()) {
      *pattern_ = kernels::SparsePattern::uninitialized(shape.out, shape.in, nnz, at::kMeta);
      return;
    }
    const double bound = 1 / std::sqrt(static_cast<double>(shape.in));
    kernels::fill_uniform(a_, bound, random_stream(shape.seed, "init", shape.name + ".A"));
    kernels::fill_uniform(values_, bound, random_stream(shape.seed, "init", shape.name + ".values"));
    support_[0] = static_cast<int64_t>(random_stream(shape.seed, "support", shape.name).key());
    restored();
  }

  at::Tensor forward(const at::Tensor& x) override { return kernels::sparse_low_rank_linear(x, b_, a_, scale_, pattern_, values_); }

  at::Tensor materialize() const override {
    at::Tensor w = at::empty({pattern_->out, pattern_->in}, values_.options().requires_grad(false));
    kernels::compose(b_, a_, scale_, *pattern_, values_, w);
    return w;
  }

  void assign(const at::Tensor& w) override {
    if (w.count_nonzero().item<int64_t>() == 0) {  // A stays, or else nothing could learn
      b_.detach().zero_();
      values_.detach().zero_();
      return;
    }
    constexpr int kTurns = 4;
    const at::Tensor wide = w.to(at::kCPU, at::kDouble).contiguous();  // the GPU kernels do not support fp64
    const kernels::SparsePattern pattern = pattern_->to(at::kCPU);
    at::Tensor values = values_.detach().to(at::kCPU, at::kDouble);
    Factors factors;
    for (int turn = 0; turn < kTurns; ++turn) {
      at::Tensor rest = wide.clone();
      kernels::scatter_add(pattern, values.neg(), rest);
      factors = truncated_factors(rest, a_.size(0));
      values = kernels::gather(pattern, wide - factors.b.mm(factors.a));
    }
    b_.detach().copy_(factors.b / std::sqrt(scale_));
    a_.detach().copy_(factors.a / std::sqrt(scale_));
    values_.detach().copy_(values);
  }

  bool refactorize() override { return balance(b_, a_); }

  std::vector<Param> params() override {
    return {{name_ + ".A", a_, Role::kFactor}, {name_ + ".B", b_, Role::kFactor}, {name_ + ".values", values_, Role::kSparse}};
  }
  std::vector<PackedPart> kept() const override { return {{name_ + ".support", support_}}; }
  std::vector<PackedPart> derived() const override {
    return {{name_ + ".row_starts", pattern_->row_starts}, {name_ + ".columns", pattern_->columns}};
  }
  void restored() override {
    *pattern_ = kernels::SparsePattern::random(pattern_->out, pattern_->in, values_.numel(),
                                               RandomStream(static_cast<uint64_t>(support_.item<int64_t>())))
                    .to(values_.device());
  }

 private:
  std::string name_;
  double scale_ = 1;
  at::Tensor a_;        // (r, in)
  at::Tensor b_;        // (out, r)
  at::Tensor values_;   // (nnz)
  at::Tensor support_;  // key of the positions
  std::shared_ptr<kernels::SparsePattern> pattern_;
};

const bool registered = parameterizations().add<SlTrain>("sltrain", "sparse plus low-rank, Han et al. 2024, arXiv:2406.02214");

}  // namespace
}  // namespace tersor
