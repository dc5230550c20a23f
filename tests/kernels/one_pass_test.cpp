#include <ATen/Parallel.h>

#include <limits>

#include "kernels/add_outer.h"
#include "kernels/add_scaled.h"
#include "kernels/quantize_blockwise.h"
#include "kernels/square_norm.h"
#include "kernels/stochastic_round.h"
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
    // Rounding errors of fp32 in lanes of at most 64 numbers.
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

class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }

 private:
  int before_;
};

#ifndef __SANITIZE_THREAD__  // under which loops run on one thread: see CMakeLists.txt
TEST_CASE("kernels: loops run on all threads", "[kernels]") {
  const Threads threads(3);
  std::array<int, 3> seen{-1, -1, -1};
  at::parallel_for(0, 3, 1, [&](int64_t begin, int64_t) { seen[static_cast<size_t>(begin)] = at::get_thread_num(); });
  CHECK(seen == std::array<int, 3>{0, 1, 2});
}
#endif

TEST_CASE("add_outer: equals a product that is added, and what rounds it", "[kernels]") {
  for (const auto& [out, in, count] : {std::tuple{1, 1, 1}, {5, 160, 3}, {37, 1030, 8}, {33, 2500, 13}, {4, 7, 0}}) {
    const at::Tensor u = normal({count, out}, "u");
    const at::Tensor v = normal({count, in}, "v");
    at::Tensor w = normal({out, in}, "w");
    at::Tensor half = w.to(at::kBFloat16);
    const at::Tensor expected = (w.to(at::kDouble) + 0.3 * u.to(at::kDouble).t().mm(v.to(at::kDouble))).to(at::kFloat);
    const at::Tensor wide = half.to(at::kFloat);
    at::Tensor sum = wide.clone();
    kernels::add_outer(w, u, v, 0.3, random_stream(1, "unused"));
    CHECK(at::allclose(w, expected, 1e-5, 1e-5));
    kernels::add_outer(sum, u, v, 0.3, random_stream(1, "unused"));
    kernels::add_outer(half, u, v, 0.3, random_stream(1, "round"));
    at::Tensor rounded = at::empty_like(half);
    kernels::stochastic_round(sum, rounded, random_stream(1, "round"));
    CHECK(at::equal(half, rounded));
  }
}

TEST_CASE("kernels: the number of threads changes no bit", "[kernels]") {
  const auto results = [](int count) {
    const Threads threads(count);
    std::vector<at::Tensor> all;
    const at::Tensor x = normal({301, 1030}, "x");
    at::Tensor w = normal({301, 1030}, "w");
    for (const at::Tensor& norm : {kernels::square_norm(x), kernels::square_norms(x, 0), kernels::square_norms(x, 1)}) all.push_back(norm);
    kernels::add_scaled(w, 0.9, x, normal({301, 1}, "rows"), -0.1);
    at::Tensor half = at::empty_like(x, at::kBFloat16);
    kernels::stochastic_round(x, half, random_stream(1, "round"));
    at::Tensor codes = at::empty_like(x, at::kByte);
    at::Tensor scales = at::empty(kernels::block_scales_shape(x.sizes()), at::kFloat);
    kernels::quantize_blockwise(x, kernels::dynamic_map(true), codes, scales);
    at::Tensor outer = half.clone();
    kernels::add_outer(outer, normal({6, 301}, "u"), normal({6, 1030}, "v"), 0.1, random_stream(1, "outer"));
    for (const at::Tensor& result : {x, w, half, codes, scales, outer}) all.push_back(result);
    return all;
  };
  const std::vector<at::Tensor> one = results(1);
  const std::vector<at::Tensor> three = results(3);
  for (size_t i = 0; i < one.size(); ++i) CHECK(at::equal(one[i], three[i]));
}

}  // namespace
}  // namespace tersor
