#include "kernels/block_sparse_linear.h"
#include "kernels/sparse_pattern.h"
#include "tests/support/catch.h"
#include "tests/support/gradcheck.h"
#include "tests/support/normal.h"

namespace tersor::kernels {
namespace {

using testing::normal_of;

std::shared_ptr<BlockPattern> some_blocks(int64_t out, int64_t in, int64_t block, int64_t count) {
  const int64_t down = (out + block - 1) / block;
  const int64_t across = (in + block - 1) / block;
  return std::make_shared<BlockPattern>(
      BlockPattern::of_blocks(out, in, block, random_positions(down * across, count, random_stream(2, "b"))));
}

at::Tensor dense_of(const BlockPattern& pattern, const at::Tensor& values) {
  return at::zeros({pattern.out * pattern.in}, values.options()).index_copy(0, pattern.positions(), values).view({pattern.out, pattern.in});
}

// Shapes that the block does and does not divide, rows and columns without blocks, and no blocks at all.
const std::vector<std::array<int64_t, 5>> kShapes{{1, 1, 1, 1, 1}, {7, 8, 12, 4, 3}, {300, 21, 40, 8, 7}, {5, 70, 66, 64, 2}, {9, 5, 30, 16, 0}};

}  // namespace

TEST_CASE("block_sparse_linear: the pattern's blocks, positions and counts agree", "[kernels]") {
  for (const auto& [tokens, out, in, block, count] : kShapes) {
    const auto pattern = some_blocks(out, in, block, count);
    const at::Tensor positions = pattern->positions();
    REQUIRE(positions.numel() == pattern->nnz());
    if (positions.numel() > 1) CHECK((positions.slice(0, 1) > positions.slice(0, 0, positions.numel() - 1)).all().item<bool>());
    at::Tensor mask = at::zeros({out, in}, at::kBool);
    for (int64_t k = 0; k < count; ++k) {
      const int64_t id = pattern->blocks()[k].item<int64_t>();
      const int64_t row = id / pattern->blocks_across() * block;
      const int64_t column = id % pattern->blocks_across() * block;
      mask.slice(0, row, std::min(out, row + block)).slice(1, column, std::min(in, column + block)).fill_(true);
    }
    CHECK(at::equal(mask.flatten().nonzero().squeeze(1), positions));
  }
}

TEST_CASE("block_sparse_linear: it is the product with the dense weight, and so are its gradients", "[kernels]") {
  for (const auto& [tokens, out, in, block, count] : kShapes) {
    INFO(tokens << " tokens, " << out << "x" << in << " in blocks of " << block);
    const auto pattern = some_blocks(out, in, block, count);
    for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
      const double bound = type == at::kDouble ? 1e-12 : type == at::kFloat ? 1e-5 : 1e-2;
      const at::Tensor x = normal_of({tokens, 1, in}, "x", type).requires_grad_(true);
      const at::Tensor values = normal_of({pattern->nnz()}, "v", type).requires_grad_(true);
      const at::Tensor dy = normal_of({tokens, 1, out}, "dy", type);
      const at::Tensor y = block_sparse_linear(x, pattern, values);
      const at::Tensor exact_x = x.detach().to(at::kDouble).requires_grad_(true);
      const at::Tensor exact_values = values.detach().to(at::kDouble).requires_grad_(true);
      const at::Tensor expected = at::linear(exact_x, dense_of(*pattern, exact_values));
      const auto near = [&](const at::Tensor& a, const at::Tensor& b) {
        REQUIRE(a.sizes() == b.sizes());
        CHECK((a.to(at::kDouble) - b).norm().item<double>() <= bound * b.norm().item<double>());
      };
      near(y.detach(), expected.detach());
      const auto grads = torch::autograd::grad({y}, {x, values}, {dy});
      const auto exact = torch::autograd::grad({expected}, {exact_x, exact_values}, {dy.to(at::kDouble)});
      near(grads[0], exact[0]);
      near(grads[1], exact[1]);
    }
  }
}

TEST_CASE("block_sparse_linear: many tokens go through in stretches, and their sums stay exact", "[kernels]") {
  const auto pattern = some_blocks(64, 4096, 64, 60);
  const int64_t tokens = 700;  // 273 at a time, of 3840 columns each
  const at::Tensor x = normal_of({tokens, 4096}, "x", at::kBFloat16).requires_grad_(true);
  const at::Tensor values = normal_of({pattern->nnz()}, "v", at::kBFloat16).requires_grad_(true);
  const at::Tensor dy = normal_of({tokens, 64}, "dy", at::kBFloat16);
  const auto grads = torch::autograd::grad({block_sparse_linear(x, pattern, values)}, {x, values}, {dy});
  const at::Tensor exact = dy.to(at::kFloat).t().mm(x.detach().to(at::kFloat)).flatten().index_select(0, pattern->positions());
  CHECK((grads[1].to(at::kFloat) - exact).norm().item<double>() <= 4e-3 * exact.norm().item<double>());
}

}  // namespace tersor::kernels
