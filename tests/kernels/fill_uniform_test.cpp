#include "kernels/fill_uniform.h"

#include "tests/support/catch.h"

namespace tersor {
namespace {

TEST_CASE("fill_uniform: the draws are uniform and within their bound", "[kernels]") {
  const at::Tensor x = at::empty({100001}, at::kFloat);
  kernels::fill_uniform(x, 2, random_stream(1, "u"));
  // Standard errors at this size: 0.004 of the mean, 0.002 of the deviation, 0.0014 of the share.
  CHECK(std::abs(x.mean().item<double>()) < 0.015);
  CHECK(std::abs(x.std().item<double>() - 2 / std::sqrt(3.0)) < 0.008);
  CHECK(std::abs(x.gt(1).to(at::kFloat).mean().item<double>() - 0.25) < 0.006);
  CHECK(x.abs().max().item<double>() <= 2);
  CHECK(x.abs().max().item<double>() > 1.999);
}

TEST_CASE("fill_uniform: numbers depend on the stream alone", "[kernels]") {
  const at::Tensor x = at::empty({40000}, at::kDouble);
  const at::Tensor y = at::empty({200, 200}, at::kDouble);
  kernels::fill_uniform(x, 1, random_stream(1, "u"));
  kernels::fill_uniform(y, 1, random_stream(1, "u"));
  CHECK(at::equal(x, y.view({-1})));
  kernels::fill_uniform(y, 1, random_stream(2, "u"));
  CHECK_FALSE(at::equal(x, y.view({-1})));
}

}  // namespace
}  // namespace tersor
