#include "kernels/fill_normal.h"

#include <numbers>

#include "tests/support/catch.h"

namespace tersor {
namespace {

TEST_CASE("fill_normal: is Box and Muller's formula over the stream's draws, to the last bit of fp32", "[kernels][golden]") {
  for (const int64_t n : {1, 2, 511, 512, 100001}) {
    const RandomStream random = random_stream(5, "normal");
    const at::Tensor x = at::empty({n}, at::kFloat);
    kernels::fill_normal(x, 0.7, random);
    const at::Tensor expected = at::empty({n}, at::kDouble);
    for (int64_t i = 0; i < n; ++i) {
      const auto pair = static_cast<uint64_t>(i / 2);
      const double radius = 0.7 * std::sqrt(-2 * std::log(1 - random.uniform(2 * pair)));
      const double angle = 2 * std::numbers::pi * random.uniform(2 * pair + 1);
      expected.data_ptr<double>()[i] = radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
    }
    // Another formula for logarithm and sine may round one number in millions the other way.
    CHECK((x != expected.to(at::kFloat)).sum().item<int64_t>() <= 1);
    CHECK(at::allclose(x.to(at::kDouble), expected, 1e-7, 1e-14));
  }
}

}  // namespace
}  // namespace tersor
