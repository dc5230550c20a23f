// Every op with a kernel for GPUs, except the sparse ones: on the test GPU (tests/support/gpu.h) against the same op on the CPU.
#include "kernels/adamw.h"
#include "kernels/add_outer.h"
#include "kernels/add_scaled.h"
#include "kernels/fill_normal.h"
#include "kernels/fill_uniform.h"
#include "kernels/linear_cross_entropy.h"
#include "kernels/quantize_affine.h"
#include "kernels/quantize_blockwise.h"
#include "kernels/rms_norm.h"
#include "kernels/rotary.h"
#include "kernels/square_norm.h"
#include "kernels/stochastic_round.h"
#include "kernels/swiglu.h"
#include "tests/gpu/alike.h"

namespace tersor::kernels {

using testing::check_near;
using testing::check_op;
using testing::gpu_device;
using testing::normal;

TEST_CASE("gpu: rms_norm", "[gpu]") {
  if (!testing::gpu_there()) return;
  for (const auto& [rows, width] : {std::pair{1, 1}, {5, 160}, {37, 217}, {66, 64}, {3, 1028}}) {
    check_op([](const auto& t) { return rms_norm(t[0], t[1], 1e-5); }, {{rows, width}, {width}});
    check_op([](const auto& t) {
      const auto [around, normed] = residual_rms_norm(t[0], t[1], 1e-5);
      return (normed * 2).add_(around);
    }, {{rows, width}, {width}});
  }
}

TEST_CASE("gpu: swiglu", "[gpu]") {
  if (!testing::gpu_there()) return;
  for (const auto& [rows, width] : {std::pair{1, 1}, {5, 160}, {37, 217}})
    check_op([](const auto& t) { return swiglu(t[0].mul(1), t[1].mul(1)); }, {{rows, width}, {rows, width}});
}

TEST_CASE("gpu: rotary", "[gpu]") {
  if (!testing::gpu_there()) return;
  for (const auto& [length, heads, width] : {std::tuple{1, 1, 2}, {5, 3, 6}, {9, 2, 32}}) {
    const at::Tensor angles = normal({length, width / 2}, "angles").repeat({1, 2});
    check_op([&](const auto& t) {
      const auto table = [&](const at::Tensor& x) { return x.to(t[0].device(), t[0].scalar_type()); };
      return rotary(t[0], table(angles.cos()), table(angles.sin()));
    }, {{2, length, heads, width}});
  }
}

TEST_CASE("gpu: linear_cross_entropy, in one chunk and in several, with and without targets", "[gpu]") {
  if (!testing::gpu_there()) return;
  for (const auto& [rows, width, classes, chunk] : {std::tuple{1, 1, 1, 4}, {7, 5, 33, 3}, {6, 8, 600, 64}}) {
    at::Tensor targets = at::arange(rows, at::kLong).mul_(7).remainder_(classes);
    if (rows > 2) targets[2] = -100;
    check_op([&, chunk = chunk](const auto& t) { return linear_cross_entropy(t[0], t[1], targets.to(t[0].device()), 0.25, chunk).to(t[0].scalar_type()); },
             {{rows, width}, {classes, width}});
  }
  const at::Tensor q = at::softmax(normal({7, 33}, "q"), 1);
  check_op([&](const auto& t) {
    const SoftTargets soft{.weight = 0.3, .temperature = 2, .probabilities = [&](int64_t begin, int64_t end) { return q.slice(0, begin, end).to(t[0].device()); }};
    return linear_cross_entropy(t[0], t[1], at::arange(7, at::kLong).to(t[0].device()), 0.5, 3, &soft).to(t[0].scalar_type());
  }, {{7, 5}, {33, 5}}, 0);
  const at::Tensor hidden = normal({2, 4}, "h").to(gpu_device());
  const at::Tensor weight = normal({3, 4}, "w").to(gpu_device());
  const auto loss = [&](int64_t target) { return linear_cross_entropy(hidden, weight, at::full({2}, target, at::kLong).to(gpu_device()), 1, 8).item<double>(); };
  CHECK(std::isfinite(loss(2)));
  CHECK(std::isnan(loss(3)));  // nothing on a GPU can throw
  // Classes with a logit of −∞ do no harm.
  const at::Tensor ones = at::ones({2, 4});
  const at::Tensor impossible = at::ones({600, 4});
  for (const int64_t i : {0, 5, 256, 599}) impossible[i].fill_(-std::numeric_limits<float>::infinity());
  const at::Tensor targets = at::full({2}, 7, at::kLong);
  check_near(linear_cross_entropy(ones.to(gpu_device()), impossible.to(gpu_device()), targets.to(gpu_device()), 1, 8),
             linear_cross_entropy(ones, impossible, targets, 1, 8), 1e-6);
}

TEST_CASE("gpu: stochastic_round gives the CPU's bits", "[gpu]") {
  if (!testing::gpu_there()) return;
  for (const auto& [size, first] : {std::pair{1, 0}, {7, 0}, {1030, 0}, {1032, 0}, {1032, 4}, {1032, 6}}) {
    at::Tensor x = normal({size}, "x");
    x[0] = std::numeric_limits<float>::quiet_NaN();
    if (size > 2) x[1] = std::numeric_limits<float>::infinity();
    at::Tensor expected = at::empty({size}, at::kBFloat16);
    at::Tensor y = at::empty({size}, at::TensorOptions(at::kBFloat16).device(gpu_device()));
    stochastic_round(x, expected, random_stream(1, "round"), first);
    stochastic_round(x.to(gpu_device()), y, random_stream(1, "round"), first);
    CHECK(at::equal(y.cpu().view(at::kShort), expected.view(at::kShort)));
  }
}

TEST_CASE("gpu: AdamW with state in fp32 and in 8 bits, of weights in fp32 and bf16, and its direction", "[gpu]") {
  if (!testing::gpu_there()) return;
  const AdamCoefficients c{.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .gain = 0.7};
  AdamStep step{.grad_scale = 0.5, .lr = 0.01, .weight_decay = 0.1, .rounding = random_stream(4, "r")};
  const auto there = [](const at::Tensor& x) { return x.to(gpu_device()).clone(); };
  for (const auto& shape : {std::vector<int64_t>{1, 1}, {5, 160}, {3, 517}, {2, 520}})
    for (const auto& [type, grad_type] : {std::pair{at::kFloat, at::kFloat}, {at::kBFloat16, at::kBFloat16}, {at::kBFloat16, at::kFloat}}) {
      step.first = shape[0] == 5 ? 30 : 32;  // one draw for each number, or one for four
      const at::Tensor w = normal(shape, "w", type);
      const at::Tensor g = normal(shape, "g", grad_type);
      const at::Tensor m = normal(shape, "m");
      const at::Tensor v = normal(shape, "v").square();
      const at::Tensor w2 = there(w), g2 = there(g), m2 = there(m), v2 = there(v);
      const double bound = type == at::kFloat ? 1e-6 : 1e-3;  // a sum in another order may be rounded the other way
      adamw_step(w, g, m, v, c, step);
      adamw_step(w2, g2, m2, v2, c, step);
      check_near(w2, w, bound);
      for (const auto& [a, b] : {std::pair{m2, m}, {v2, v}}) check_near(a, b, 1e-6);

      const auto encoded = [&](const at::Tensor& x, bool with_sign) {
        std::vector<at::Tensor> parts{at::empty(shape, at::kByte), at::empty(block_scales_shape(shape))};
        quantize_blockwise(x, dynamic_map(with_sign), parts[0], parts[1]);
        return parts;
      };
      const auto moments = encoded(m, true);
      const auto variances = encoded(v, false);
      const std::vector<at::Tensor> moments2{there(moments[0]), there(moments[1])};
      const std::vector<at::Tensor> variances2{there(variances[0]), there(variances[1])};
      adamw_step_int8(w, g, moments, variances, c, step);
      adamw_step_int8(w2, g2, moments2, variances2, c, step);
      check_near(w2, w, bound);
      for (const auto& [a, b] : {std::pair{moments2, moments}, {variances2, variances}}) {
        check_near(a[1], b[1], 1e-6);
        CHECK((a[0].cpu().to(at::kInt) - b[0].to(at::kInt)).abs().max().item<int>() <= 1);  // multiply-adds may be fused on a GPU
        CHECK(a[0].cpu().ne(b[0]).sum().item<int64_t>() <= w.numel() / 200);
      }
      if (type != at::kFloat) continue;
      at::Tensor n = at::empty(shape);
      at::Tensor n2 = there(n);
      adam_direction(g, m, v, c, n);
      adam_direction(g2, m2, v2, c, n2);
      check_near(n2, n, 1e-6);
    }
}

TEST_CASE("gpu: AdamW's count of steps stays there, and what follows from it", "[gpu]") {
  if (!testing::gpu_there()) return;
  const at::Tensor t = at::full({}, 3.0f, at::TensorOptions().device(gpu_device()));
  const at::Tensor corrections = adam_corrections(t, 0.9, 0.999, 1e-8, true).cpu();
  CHECK(t.item<float>() == 4);
  const double root2 = std::sqrt(1 - std::pow(0.999, 4));
  CHECK(corrections[0].item<double>() == Approx(root2 / (1 - std::pow(0.9, 4))).epsilon(1e-6));
  CHECK(corrections[1].item<double>() == Approx(root2 * 1e-8).epsilon(1e-6));
  CHECK(adam_corrections(t, 0.9, 0.999, 1e-8, false)[1].item<double>() == Approx(1e-8).epsilon(1e-6));
  const at::Tensor w = normal({64}, "w"), g = normal({64}, "g"), m = at::zeros({64}), v = at::zeros({64});
  const at::Tensor w2 = w.to(gpu_device()), m2 = m.to(gpu_device()), v2 = v.to(gpu_device());
  adamw_step(w, g, m, v, {.epsilon = root2 * 1e-8, .gain = root2 / (1 - std::pow(0.9, 4))}, {.lr = 0.1});
  AdamCoefficients c;
  c.corrections = corrections.to(gpu_device());
  adamw_step(w2, g.to(gpu_device()), m2, v2, c, {.lr = 0.1});
  check_near(w2, w, 1e-6);
}

TEST_CASE("gpu: drawn numbers, to the bit", "[gpu]") {
  if (!testing::gpu_there()) return;
  for (const auto& shape : {std::vector<int64_t>{1}, {5, 161}, {2, 3, 517}})
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      const at::Tensor x = at::empty(shape, type);
      const at::Tensor there = at::empty(shape, x.options().device(gpu_device()));
      fill_normal(x, 0.02, random_stream(5, "n"));
      fill_normal(there, 0.02, random_stream(5, "n"));
      CHECK(at::equal(there.cpu(), x));
      fill_uniform(x, 0.3, random_stream(5, "u"));
      fill_uniform(there, 0.3, random_stream(5, "u"));
      CHECK(at::equal(there.cpu(), x));
    }
  const at::Tensor x = at::empty({7, 5});
  const at::Tensor turned = at::empty({5, 7}, x.options().device(gpu_device())).t();
  fill_normal(x, 1, random_stream(6, "n"));
  fill_normal(turned, 1, random_stream(6, "n"));
  CHECK(at::equal(turned.cpu(), x));
}

TEST_CASE("gpu: block-wise 8-bit numbers, to the bit", "[gpu]") {
  if (!testing::gpu_there()) return;
  for (const bool with_sign : {true, false})
    for (const auto& shape : {std::vector<int64_t>{1}, {5, 160}, {2, 3, 517}, {3, 520}}) {
      at::Tensor x = normal(shape, "x").mul(normal(shape, "decades").exp());
      if (!with_sign) x = x.abs();
      x.view({-1})[0] = 0;
      if (x.dim() == 2) x[0].fill_(0);
      if (x.dim() == 3) x[0][1][7] = std::numeric_limits<float>::quiet_NaN();
      const at::Tensor x2 = x.to(gpu_device());
      at::Tensor codes = at::empty(shape, at::kByte), scales = at::empty(block_scales_shape(shape));
      at::Tensor codes2 = codes.to(gpu_device()), scales2 = scales.to(gpu_device());
      quantize_blockwise(x, dynamic_map(with_sign), codes, scales);
      quantize_blockwise(x2, dynamic_map(with_sign), codes2, scales2);
      CHECK(at::equal(codes2.cpu(), codes));
      CHECK(at::equal(scales2.cpu().view(at::kInt), scales.view(at::kInt)));
      const at::Tensor back = dequantize_blockwise(codes, scales, dynamic_map(with_sign));
      const at::Tensor back2 = dequantize_blockwise(codes2, scales2, dynamic_map(with_sign)).cpu();
      CHECK(at::equal(back2.isnan(), back.isnan()));
      CHECK(at::equal(back2.nan_to_num(), back.nan_to_num()));
    }
}

TEST_CASE("gpu: evenly spaced 4- and 8-bit numbers, to the bit", "[gpu]") {
  if (!testing::gpu_there()) return;
  for (const int bits : {4, 8})
    for (const bool stochastic : {false, true})
      for (const auto& shape : {std::vector<int64_t>{1, 1}, {5, 160}, {3, 517}, {2, 520}}) {
        const at::Tensor x = normal(shape, "x");
        const std::optional<RandomStream> random = stochastic ? std::optional(random_stream(4, "q")) : std::nullopt;
        const AffineQuantized q = AffineQuantized::zeros(shape, bits, at::TensorOptions());
        const AffineQuantized q2 = AffineQuantized::zeros(shape, bits, at::TensorOptions().device(gpu_device()));
        quantize_affine(x, q, random);
        quantize_affine(x.to(gpu_device()), q2, random);
        for (size_t i = 0; i < q.parts().size(); ++i) CHECK(at::equal(q2.parts()[i].cpu(), q.parts()[i]));
        for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) CHECK(at::equal(dequantize_affine(q2, type).cpu(), dequantize_affine(q, type)));
      }
}

TEST_CASE("gpu: add_scaled with a gain for all, by row and by column", "[gpu]") {
  if (!testing::gpu_there()) return;
  for (const auto& [rows, columns] : {std::pair{1, 1}, {5, 160}, {37, 17}})
    for (const auto& gain : {std::vector<int64_t>{}, {rows, 1}, {1, columns}, {0}}) {
      const at::Tensor gains = gain == std::vector<int64_t>{0} ? at::Tensor() : normal(gain, "gain").to(at::kDouble);
      const at::Tensor x = normal({rows, columns}, "x");
      at::Tensor w = normal({rows, columns}, "w");
      at::Tensor w2 = w.to(gpu_device());
      add_scaled(w, 0.9, x, gains, -0.1);
      add_scaled(w2, 0.9, x.to(gpu_device()), gains.defined() ? gains.to(gpu_device()) : gains, -0.1);
      check_near(w2, w, 1e-6);
    }
}

TEST_CASE("gpu: add_outer, of weights in fp32 and in bf16", "[gpu]") {
  if (!testing::gpu_there()) return;
  for (const auto& [out, in, count] : {std::tuple{1, 1, 1}, {5, 160, 3}, {37, 17, 4}, {66, 264, 6}})
    for (const auto& [type, bound] : {std::pair{at::kFloat, 1e-6}, std::pair{at::kBFloat16, 2e-4}}) {
      const at::Tensor u = normal({count, out}, "u");
      const at::Tensor v = normal({count, in}, "v");
      at::Tensor w = normal({out, in}, "w", type);
      at::Tensor w2 = w.to(gpu_device());
      add_outer(w, u, v, 0.3, random_stream(1, "round"));
      add_outer(w2, u.to(gpu_device()), v.to(gpu_device()), 0.3, random_stream(1, "round"));
      check_near(w2, w, bound);
    }
}

TEST_CASE("gpu: square_norm, beyond fp32's range too", "[gpu]") {
  if (!testing::gpu_there()) return;
  for (const int64_t size : {1, 31, 70000}) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      const at::Tensor x = normal({size}, "x", type);
      check_near(square_norm(x.to(gpu_device())), square_norm(x), 1e-6);
    }
  }
  // Many tensors of two types in two launches.
  std::vector<at::Tensor> host;
  std::vector<at::Tensor> there;
  for (int64_t i = 0; i < 600; ++i) {
    const int64_t size = i % 97 == 0 ? 66000 + i : i % 13 * 11 + 1;
    host.push_back(normal({size}, std::to_string(i), i % 5 == 0 ? at::kBFloat16 : at::kFloat));
    there.push_back(host.back().to(gpu_device()));
  }
  const auto before = testing::gpu_launches();
  check_near(square_norm(there), square_norm(host), 1e-6);
  if (before) CHECK(*testing::gpu_launches() == *before + 2);
  CHECK(square_norm(at::full({3}, 1e30).to(gpu_device())).item<double>() == Approx(3e60));
}

TEST_CASE("gpu: square_norms of rows and columns, beyond fp32's range too", "[gpu]") {
  if (!testing::gpu_there()) return;
  for (const auto& [rows, columns] : {std::pair{1, 1}, {5, 160}, {131, 36}, {70, 517}})
    for (const double scale : {1.0, 1e-25, 1e25})
      for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
        const at::Tensor x = (normal({rows, columns}, "x") * scale).to(type);
        const auto before = testing::gpu_launches();
        for (const int64_t axis : {0, 1}) check_near(square_norms(x.to(gpu_device()), axis), square_norms(x, axis), 1e-6);
        if (before) CHECK(*testing::gpu_launches() == *before + 2);
      }
}

}  // namespace tersor::kernels
