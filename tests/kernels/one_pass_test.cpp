#include <limits>

#include "kernels/add_scaled.h"
#include "kernels/square_norm.h"
#include "tests/support/catch.h"
#include "tests/support/single_param.h"

namespace tersor {
namespace {

using testing::normal;

const std::vector<std::vector<int64_t>> kShapes{{1, 1}, {3, 64}, {1, 9001}, {700, 3}, {130, 1030}};

double distance(const at::Tensor& a, const at::Tensor& b) { return ((a - b).abs() / b.abs()).max().item<double>(); }

TEST_CASE("square_norm: is the sum of squares in double, of all, of rows and of columns", "[kernels]") {
  for (const auto& shape : kShapes) {
    const at::Tensor x = normal(shape, "x");
    const at::Tensor squares = x.to(at::kDouble).square();
    // Roundings of fp32 in lanes of at most 64 numbers.
    CHECK(distance(kernels::square_norm(x), squares.sum()) < 1e-6);
    CHECK(distance(kernels::square_norms(x, 0), squares.sum(0, true)) < 2e-6);
    CHECK(distance(kernels::square_norms(x, 1), squares.sum(1, true)) < 2e-6);
    const at::Tensor half = x.to(at::kBFloat16);
    CHECK(distance(kernels::square_norm(half), half.to(at::kDouble).square().sum()) < 1e-6);
    CHECK(distance(kernels::square_norm(x.t()), squares.sum()) < 1e-6);
  }
  CHECK(kernels::square_norm(at::zeros({0, 5})).item<double>() == 0);
}

TEST_CASE("square_norm: numbers whose squares leave fp32 are measured, and those that are none are seen", "[kernels]") {
  for (const double size : {1e-30, 1e30}) {
    const at::Tensor x = at::full({5, 200}, size, at::kFloat);
    for (const at::Tensor& norm : {kernels::square_norm(x) / 1000, kernels::square_norms(x, 0) / 5, kernels::square_norms(x, 1) / 200})
      CHECK(norm.sqrt().div(size).sub(1).abs().max().item<double>() < 1e-6);
  }
  for (const double bad : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    at::Tensor x = at::ones({9, 1000});
    x[8][999] = bad;
    CHECK_FALSE(std::isfinite(kernels::square_norm(x).item<double>()));
    CHECK_FALSE(std::isfinite(kernels::square_norm(x.to(at::kBFloat16)).item<double>()));
    CHECK(kernels::square_norms(x, 0).isfinite().sum().item<int64_t>() == 999);
    CHECK(kernels::square_norms(x, 1).isfinite().sum().item<int64_t>() == 8);
  }
}

TEST_CASE("add_scaled: equals LibTorch's operations for every form of gain", "[kernels]") {
  for (const auto& shape : kShapes) {
    const at::Tensor x = normal(shape, "x");
    for (const at::Tensor& gain : {at::Tensor(), at::full({}, 0.3), normal({shape[0], 1}, "rows"), normal({1, shape[1]}, "columns").to(at::kDouble),
                                   normal(shape, "each")}) {
      for (const double keep : {1.0, 0.9}) {
        at::Tensor w = normal(shape, "w");
        const at::Tensor expected = keep * w.to(at::kDouble) - 0.5 * (gain.defined() ? gain * x.to(at::kDouble) : x);
        kernels::add_scaled(w, keep, x, gain, -0.5);
        CHECK(at::allclose(w.to(at::kDouble), expected, 1e-6, 1e-6));
        at::Tensor turned = normal(shape, "w").t().contiguous().t();  // not contiguous: LibTorch's path
        kernels::add_scaled(turned, keep, x, gain, -0.5);
        CHECK(at::allclose(turned.to(at::kDouble), expected, 1e-6, 1e-6));
      }
    }
  }
}

}  // namespace
}  // namespace tersor
