// The ops of a transformer block against their formulas in LibTorch's operators.
#include <ATen/Parallel.h>

#include "core/base/error.h"
#include "kernels/fill_normal.h"
#include "kernels/rms_norm.h"
#include "kernels/rotary.h"
#include "kernels/scalar_math.h"
#include "kernels/swiglu.h"
#include "tests/support/catch.h"
#include "tests/support/gradcheck.h"
#include "tests/support/worst.h"

namespace tersor {
namespace {

using Op = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

std::vector<at::Tensor> draws(const std::vector<std::vector<int64_t>>& shapes, at::ScalarType dtype) {
  std::vector<at::Tensor> all;
  for (const auto& shape : shapes) {
    at::Tensor x = at::empty(shape);
    kernels::fill_normal(x, 1.5, random_stream(7, "block", std::to_string(all.size())));
    all.push_back(x.to(dtype).requires_grad_(true));
  }
  return all;
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b.to(at::kDouble)).norm() / b.to(at::kDouble).norm().clamp_min(1e-30)).item<double>();
}

// The op in one type against the formula in double, on the same numbers: the result and all gradients.
void check_op(const Op& op, const Op& formula, const std::vector<std::vector<int64_t>>& shapes) {
  for (const auto& [dtype, bound] : {std::pair{at::kFloat, 2e-6}, std::pair{at::kBFloat16, 8e-3}, std::pair{at::kDouble, 1e-13}}) {
    const std::vector<at::Tensor> leaves = draws(shapes, dtype);
    std::vector<at::Tensor> exact;
    for (const at::Tensor& leaf : leaves) exact.push_back(leaf.detach().to(at::kDouble).requires_grad_(true));
    const at::Tensor y = op(leaves);
    const at::Tensor expected = formula(exact);
    const at::Tensor direction = at::linspace(-1, 1, y.numel(), y.options().dtype(at::kDouble).requires_grad(false)).view(y.sizes());
    const auto grads = torch::autograd::grad({y}, leaves, {direction.to(dtype)});
    const auto expected_grads = torch::autograd::grad({expected}, exact, {direction.to(dtype).to(at::kDouble)});
    INFO(at::toString(dtype) << " " << fmt::format("{}", fmt::join(shapes[0], "x")));
    CHECK(y.scalar_type() == dtype);
    CHECK(distance(y, expected) < bound);
    for (size_t i = 0; i < grads.size(); ++i) CHECK(distance(grads[i], expected_grads[i]) < bound);
  }
}

at::Tensor norm_formula(const at::Tensor& x, const at::Tensor& gain) { return gain * x * (x.square().mean({-1}, true) + 1e-5).rsqrt(); }

TEST_CASE("rms_norm: the formula and its derivatives, at even and odd sizes", "[kernels]") {
  const Op op = [](const auto& t) { return kernels::rms_norm(t[0], t[1], 1e-5); };
  const Op formula = [](const auto& t) { return norm_formula(t[0], t[1]); };
  for (const auto& [rows, width] : {std::pair{1, 3}, std::pair{3, 7}, std::pair{65, 64}, std::pair{130, 131}})
    check_op(op, formula, {{rows, width}, {width}});
  check_op(op, formula, {{2, 5, 17}, {17}});
}

TEST_CASE("rms_norm: what goes around meets what goes through", "[kernels]") {
  const Op op = [](const auto& t) {
    const auto [around, normed] = kernels::residual_rms_norm(t[0], t[1], 1e-5);
    return (normed * 2).add_(around);
  };
  check_op(op, [](const auto& t) { return t[0] + 2 * norm_formula(t[0], t[1]); }, {{37, 19}, {19}});
  const auto t = draws({{3, 4}, {4}}, at::kFloat);
  const auto [around, normed] = kernels::residual_rms_norm(t[0], t[1], 1e-5);
  CHECK(around.data_ptr() == t[0].data_ptr());  // not a copy
  CHECK(at::equal(torch::autograd::grad({around.sum()}, {t[0]})[0], at::ones({3, 4})));  // even if only one of the two is used
}

TEST_CASE("rms_norm: no result depends on the number of threads", "[kernels]") {
  const auto t = draws({{333, 48}, {48}}, at::kFloat);
  const auto gain_gradient = [&] { return torch::autograd::grad({kernels::rms_norm(t[0], t[1], 1e-5).square().sum()}, {t[1]})[0]; };
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor alone = gain_gradient();
  at::set_num_threads(3);
  CHECK(at::equal(gain_gradient(), alone));
  at::set_num_threads(threads);
}

TEST_CASE("swiglu: the formula and its derivatives, at even and odd sizes", "[kernels]") {
  // Multiplying by one protects the leaves: the backward pass overwrites its inputs.
  const Op op = [](const auto& t) { return kernels::swiglu(t[0] * 1, t[1] * 1); };
  const Op formula = [](const auto& t) { return at::silu(t[0]) * t[1]; };
  for (const auto& [rows, width] : {std::pair{1, 1}, std::pair{3, 7}, std::pair{64, 128}, std::pair{129, 333}})
    check_op(op, formula, {{rows, width}, {rows, width}});
}

TEST_CASE("swiglu: gradients take the place of gate and up, once", "[kernels]") {
  const auto t = draws({{5, 8}, {5, 8}}, at::kFloat);
  const at::Tensor gate = t[0] * 1;
  const at::Tensor up = t[1] * 1;
  const at::Tensor y = kernels::swiglu(gate, up);
  const auto grads = torch::autograd::grad({y.sum()}, {gate, up}, {}, /*retain_graph=*/true);
  CHECK(grads[0].data_ptr() == gate.data_ptr());
  CHECK(grads[1].data_ptr() == up.data_ptr());
  CHECK_THROWS_AS(torch::autograd::grad({y.sum()}, {gate}), InternalError);
}

TEST_CASE("rotary: the formula and its derivatives", "[kernels]") {
  const auto angles = [](const at::Tensor& x) {
    const at::Tensor angle = at::outer(at::arange(x.size(1), at::kDouble), at::linspace(1, 0.1, x.size(3) / 2, at::kDouble));
    return angle.repeat({1, 2});
  };
  const Op op = [&](const auto& t) { return kernels::rotary(t[0], angles(t[0]).cos().to(t[0].scalar_type()), angles(t[0]).sin().to(t[0].scalar_type())); };
  const Op formula = [&](const auto& t) {
    const auto halves = t[0].chunk(2, -1);
    const at::Tensor cos = angles(t[0]).cos().unsqueeze(1);
    const at::Tensor sin = angles(t[0]).sin().unsqueeze(1);
    return t[0] * cos + at::cat({halves[1].neg(), halves[0]}, -1) * sin;
  };
  for (const auto& shape : std::vector<std::vector<int64_t>>{{1, 1, 1, 2}, {2, 5, 3, 6}, {3, 33, 4, 64}}) check_op(op, formula, {shape});
}

TEST_CASE("exponential: within a unit in the last place of fp32, and NaN stays", "[kernels]") {
  double worst = 0;
  for (int i = -8730; i <= 8800; ++i) {
    const float x = static_cast<float>(i) * 0.01f;
    const double exact = std::exp(static_cast<double>(x));
    testing::keep_worst(worst, std::abs(kernels::exponential(x) - exact) / exact);
  }
  CHECK(worst < 0x1p-22);
  CHECK(std::isnan(kernels::exponential(std::numeric_limits<float>::quiet_NaN())));
  CHECK(std::isnan(kernels::exponential(std::bit_cast<float>(0x7fc00001U))));
  CHECK(kernels::exponential(-std::numeric_limits<float>::infinity()) < 2e-38f);
  CHECK(kernels::exponential(0.0f) == 1.0f);
}

TEST_CASE("bf16: stored to the nearest even, as LibTorch does", "[kernels]") {
  at::Tensor x = at::empty({4096});
  kernels::fill_normal(x, 3, random_stream(2, "round"));
  x[0] = std::numeric_limits<float>::quiet_NaN();
  x[1] = std::numeric_limits<float>::infinity();
  const at::Tensor expected = x.to(at::kBFloat16);
  at::Tensor own = at::empty_like(expected);
  for (int64_t i = 0; i < x.numel(); ++i) kernels::store(own.data_ptr<c10::BFloat16>()[i], x.const_data_ptr<float>()[i]);
  CHECK(at::equal(own.slice(0, 1), expected.slice(0, 1)));
  CHECK(std::isnan(own[0].item<float>()));
}

}  // namespace
}  // namespace tersor
