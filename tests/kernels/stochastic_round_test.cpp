#include "kernels/stochastic_round.h"

#include "tests/support/catch.h"

namespace tersor {
namespace {

at::Tensor rounded(const at::Tensor& x, uint64_t seed) {
  at::Tensor y = at::empty(x.sizes(), x.options().dtype(at::kBFloat16));
  kernels::stochastic_round(x, y, random_stream(seed, "test"));
  return y;
}

TEST_CASE("stochastic_round: the mean is the number that was rounded", "[kernels]") {
  // Between the neighbors 1 and 1 + 2⁻⁷; the standard error of the mean of n draws is at most 2⁻⁸/√n.
  constexpr int64_t kDraws = 1 << 18;
  for (const double share : {0.0, 0.1, 0.5, 0.9}) {
    const double x = 1 + share / 128;
    const double mean = rounded(at::full({kDraws}, x, at::kFloat), 1).to(at::kDouble).mean().item<double>();
    CHECK(std::abs(mean - x) < 5.0 / 256 / std::sqrt(kDraws) + 1e-7);
  }
}

TEST_CASE("stochastic_round: what bf16 holds exactly is kept, and so is what is not finite", "[kernels]") {
  const float inf = std::numeric_limits<float>::infinity();
  const at::Tensor x = at::tensor({0.0f, -0.0f, 1.5f, -3.0f, inf, -inf, 1e-40f * 0, 256.0f});
  CHECK(at::equal(rounded(x, 3).to(at::kFloat), x));
  const at::Tensor nan = at::full({5}, std::numeric_limits<float>::quiet_NaN());
  CHECK(rounded(nan, 3).isnan().all().item<bool>());
}

TEST_CASE("stochastic_round: a draw depends on the stream and the index alone", "[kernels]") {
  const at::Tensor x = at::linspace(-2, 2, 100003, at::kFloat);
  const at::Tensor y = rounded(x, 9);
  CHECK(at::equal(y, rounded(x, 9)));
  CHECK_FALSE(at::equal(y, rounded(x, 10)));
  CHECK(at::equal(rounded(x.slice(0, 0, 17).contiguous(), 9), y.slice(0, 0, 17)));
  CHECK((y.to(at::kFloat) - x).abs().max().item<float>() <= 1.0f / 64);
}

}  // namespace
}  // namespace tersor
