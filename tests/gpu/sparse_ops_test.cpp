// Sparse ops with a kernel for GPUs: on the test GPU (tests/support/gpu.h) against the same op on the CPU.
#include "kernels/block_sparse_linear.h"
#include "kernels/sparse_low_rank_linear.h"
#include "tests/gpu/alike.h"

namespace tersor::kernels {

using testing::check_near;
using testing::check_op;
using testing::gpu_device;
using testing::normal;

TEST_CASE("gpu: scattered, gathered and sampled entries", "[gpu]") {
  if (!testing::gpu_there()) return;
  for (const auto& [tokens, out, in] : {std::tuple{1, 1, 1}, {33, 5, 160}, {70, 70, 65}, {5, 3, 70000}}) {
    const SparsePattern pattern = SparsePattern::random(out, in, (int64_t{out} * in + 2) / 9, random_stream(2, "p"));
    const SparsePattern there = pattern.to(gpu_device());
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      INFO(tokens << " tokens, " << out << "x" << in << " " << at::toString(type));
      const at::Tensor values = normal({pattern.nnz()}, "v", type);
      const at::Tensor w = normal({out, in}, "w", type);
      const at::Tensor w2 = w.to(gpu_device());
      CHECK(at::equal(gather(there, w2).cpu(), gather(pattern, w)));
      scatter_add(pattern, values, w);
      scatter_add(there, values.to(gpu_device()), w2);
      CHECK(at::equal(w2.cpu(), w));
      if (in > 1000) continue;
      const at::Tensor dy = normal({tokens, out}, "dy", type);
      const at::Tensor x = normal({tokens, in}, "x", type);
      check_near(sampled_product(there, dy.to(gpu_device()), x.to(gpu_device())), sampled_product(pattern, dy, x), type == at::kFloat ? 1e-6 : 4e-6);  // tensor cores truncate sums
    }
  }
}

TEST_CASE("gpu: entries of a weight that is large enough for larger tiles", "[gpu][slow]") {
  if (!testing::gpu_there()) return;
  const int64_t tokens = 3, out = 2104, in = 2104, rank = 8;
  const SparsePattern pattern = SparsePattern::random(out, in, out * in / 9, random_stream(2, "p"));
  const SparsePattern there = pattern.to(gpu_device());
  const at::Tensor dy = normal({tokens, out}, "dy", at::kBFloat16);
  const at::Tensor x = normal({tokens, in}, "x", at::kBFloat16);
  check_near(sampled_product(there, dy.to(gpu_device()), x.to(gpu_device())), sampled_product(pattern, dy, x), 4e-6);
  const at::Tensor b = normal({out, rank}, "b", at::kBFloat16), a = normal({rank, in}, "a", at::kBFloat16), values = normal({pattern.nnz()}, "v", at::kBFloat16);
  const at::Tensor w = at::empty({out, in}, at::kBFloat16), w2 = w.to(gpu_device());
  compose(b, a, 0.5, pattern, values, w);
  compose(b.to(gpu_device()), a.to(gpu_device()), 0.5, there, values.to(gpu_device()), w2);
  check_near(w2, w, 2e-3);
}

TEST_CASE("gpu: a weight with two of every four neighbours, and its gradients", "[gpu]") {
  if (!testing::gpu_there()) return;
  const int64_t out = 64, in = 96;
  const at::Tensor mask = at::zeros({out * in / 4, 4}, at::kBool);
  mask.scatter_(1, at::stack({at::arange(out * in / 4).remainder(2), at::arange(out * in / 4).remainder(3).div(2, "floor").add(2)}, 1), true);
  auto pattern = std::make_shared<SparsePattern>(SparsePattern::of_positions(out, in, mask.flatten().nonzero().squeeze(1)));
  pattern->two_of_four = true;
  const auto there = std::make_shared<SparsePattern>(pattern->to(gpu_device()));
  for (const int64_t tokens : {32, 5})  // in whole tiles and not
    check_op([&](const auto& t) { return sparse_low_rank_linear(t[0], {}, {}, 1, t[0].device() == gpu_device() ? there : pattern, t[1]); },
             {{tokens, in}, {pattern->nnz()}});
}

TEST_CASE("gpu: block_sparse_linear and its gradients", "[gpu]") {
  if (!testing::gpu_there()) return;
  // Blocks that divide the weight and that its edges cut, both sizes of tiles, rows without blocks, and more tokens than a tile has.
  for (const auto& [tokens, out, in, block, count] : {std::tuple{3, 64, 128, 64, 1}, {130, 200, 136, 64, 5}, {9, 130, 77, 64, 3}, {20, 264, 200, 128, 3}, {5, 100, 300, 256, 1}}) {
    const int64_t down = (out + block - 1) / block;
    const int64_t across = (in + block - 1) / block;
    const auto pattern = std::make_shared<BlockPattern>(
        BlockPattern::of_blocks(out, in, block, random_positions(down * across, count, random_stream(2, "b"))));
    const auto there = std::make_shared<BlockPattern>(pattern->to(gpu_device()));
    check_op([&](const auto& t) { return block_sparse_linear(t[0], t[0].device() == gpu_device() ? there : pattern, t[1]); }, {{tokens, in}, {pattern->nnz()}}, 3);
  }
}

TEST_CASE("gpu: sparse_low_rank_linear, its gradients, and a weight without factors", "[gpu]") {
  if (!testing::gpu_there()) return;
  for (const auto& [tokens, out, in, rank] : {std::tuple{1, 1, 1, 1}, {9, 21, 40, 3}, {5, 70, 66, 20}}) {
    const auto pattern = std::make_shared<SparsePattern>(SparsePattern::random(out, in, (out * in + 2) / 5, random_stream(2, "p")));
    const auto there = std::make_shared<SparsePattern>(pattern->to(gpu_device()));
    const auto of = [&](const at::Tensor& x) { return x.device() == gpu_device() ? there : pattern; };
    check_op([&](const auto& t) { return sparse_low_rank_linear(t[0], t[1], t[2], 0.5, of(t[0]), t[3]); },
             {{tokens, in}, {out, rank}, {rank, in}, {pattern->nnz()}});
    check_op([&](const auto& t) { return sparse_low_rank_linear(t[0], {}, {}, 1, of(t[0]), t[1]); }, {{tokens, in}, {pattern->nnz()}});
  }
}

}  // namespace tersor::kernels
