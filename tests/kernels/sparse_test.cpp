#include "core/memory/ledger.h"
#include "kernels/sparse_low_rank_linear.h"
#include "tests/support/catch.h"
#include "tests/support/normal.h"

namespace tersor::kernels {
namespace {

using testing::normal_of;

TEST_CASE("sparse_pattern: every position is as likely as any other, and none comes twice", "[kernels]") {
  const int64_t out = 6, in = 10, nnz = 13;
  at::Tensor hits = at::zeros({out * in}, at::kLong);
  constexpr int kDraws = 4000;
  for (uint64_t draw = 0; draw < kDraws; ++draw) {
    const SparsePattern pattern = SparsePattern::random(out, in, nnz, random_stream(draw, "p"));
    const at::Tensor positions = pattern.positions();
    REQUIRE(positions.numel() == nnz);
    CHECK((positions.slice(0, 1) > positions.slice(0, 0, nnz - 1)).all().item<bool>());
    hits.index_add_(0, positions, at::ones({nnz}, at::kLong));
  }
  const double p = static_cast<double>(nnz) / (out * in);
  const double deviation = std::sqrt(kDraws * p * (1 - p));
  CHECK((hits.to(at::kDouble) - kDraws * p).abs().max().item<double>() < 4.5 * deviation);
}

TEST_CASE("sparse_pattern: positions are kept in 16 bits where they fit, and come back", "[kernels]") {
  for (const int64_t in : {int64_t{65536}, int64_t{65537}}) {
    const at::Tensor positions = at::tensor({int64_t{0}, in - 1, in, 2 * in - 1}, at::kLong);
    const SparsePattern pattern = SparsePattern::of_positions(3, in, positions);
    CHECK(pattern.columns.scalar_type() == (in == 65536 ? at::kShort : at::kInt));
    CHECK(at::equal(pattern.positions(), positions));
    const at::Tensor w = at::zeros({3, in});
    scatter_add(pattern, at::tensor({1.0f, 2.0f, 3.0f, 4.0f}), w);
    CHECK(w[0][in - 1].item<float>() == 2);
    CHECK(at::equal(gather(pattern, w), at::tensor({1.0f, 2.0f, 3.0f, 4.0f})));
  }
}

TEST_CASE("sampled_product: it is the product at the positions", "[kernels]") {
  for (const auto& [tokens, out, in] : {std::tuple{1, 1, 1}, {255, 7, 33}, {256, 16, 5}, {700, 21, 40}}) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
      const at::Tensor dy = normal_of({tokens, out}, "dy", type);
      const at::Tensor x = normal_of({tokens, in}, "x", type);
      const SparsePattern pattern = SparsePattern::random(out, in, (out * in + 2) / 3, random_stream(2, "p"));
      const at::Tensor dense = dy.to(at::kDouble).t().mm(x.to(at::kDouble)).contiguous();
      const at::Tensor sampled = sampled_product(pattern, dy, x);
      CHECK(sampled.scalar_type() == (type == at::kDouble ? at::kDouble : at::kFloat));
      CHECK(at::allclose(sampled.to(at::kDouble), gather(pattern, dense), type == at::kDouble ? 1e-12 : 1e-5, type == at::kDouble ? 1e-12 : 1e-4));
      CHECK(at::equal(sampled, sampled_product(pattern, dy, x)));
    }
  }
}

TEST_CASE("sparse_low_rank_linear: nothing of the weight's size is saved", "[kernels]") {
  const int64_t out = 96, in = 64, tokens = 8, rank = 3;
  const auto pattern = std::make_shared<SparsePattern>(SparsePattern::random(out, in, 50, random_stream(2, "p")));
  const at::Tensor b = normal_of({out, rank}, "b").requires_grad_(true);
  const at::Tensor a = normal_of({rank, in}, "a").requires_grad_(true);
  const at::Tensor v = normal_of({50}, "v").requires_grad_(true);
  const at::Tensor x = normal_of({tokens, in}, "x").requires_grad_(true);
  (void)workspace_matrix(out, in, at::TensorOptions(at::kDouble));  // allocates the buffer beforehand
  const MemoryUse before = memory_now();
  const at::Tensor y = sparse_low_rank_linear(x, b, a, 0.5, pattern, v);
  CHECK(memory_now().total - before.total < static_cast<int64_t>(y.nbytes()) + 1024);  // y, and a few words for the graph
  y.square().sum().backward();

  at::Tensor w = at::empty({out, in}, at::kDouble);
  compose(b, a, 0.5, *pattern, v, w);
  w.requires_grad_(true);
  const at::Tensor x2 = x.detach().clone().requires_grad_(true);
  at::linear(x2, w).square().sum().backward();
  CHECK(at::allclose(x.grad(), x2.grad(), 1e-10, 1e-10));
  CHECK(at::allclose(v.grad(), gather(*pattern, w.grad().contiguous()), 1e-10, 1e-10));
  CHECK(at::allclose(b.grad(), 0.5 * w.grad().mm(a.t()), 1e-10, 1e-10));
  CHECK(at::allclose(a.grad(), 0.5 * b.t().mm(w.grad()), 1e-10, 1e-10));
}

}  // namespace
}  // namespace tersor::kernels
