#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/weights.h"

namespace tersor {
namespace {

using testing::make_weight;
using testing::normal_double;
using testing::weight_shape;

TEST_CASE("low_rank: the entries of W begin with the standard deviation that is asked for", "[param]") {
  for (const auto& [method, std] : {std::pair{"{type: low_rank, rank: 24}", 0.5}, {"{type: low_rank, rank: 24, alpha: 3}", 0.5},
                                    {"{type: low_rank, rank: 24, alpha: 3, init: cola}", 1 / std::sqrt(500.0)}}) {
    const auto weight = make_weight(method, weight_shape(300, 200));
    // The variances of 7200 and of 4800 draws multiply: an error of 1.3 % in all.
    CHECK(weight->materialize().std().item<double>() == Approx(std).epsilon(0.05));
  }
}

TEST_CASE("low_rank: with init: kaiming each factor begins as a linear layer of its own", "[param]") {
  const auto weight = make_weight("{type: low_rank, rank: 24, alpha: 3, init: kaiming}", weight_shape(300, 200));
  for (const Param& factor : weight->params()) {
    const double bound = 1 / std::sqrt(static_cast<double>(factor.value.size(1)));
    INFO(factor.name);
    CHECK(factor.value.abs().max().item<double>() <= bound);
    CHECK(factor.value.std().item<double>() == Approx(bound / std::sqrt(3.0)).epsilon(0.03));
  }
}

TEST_CASE("low_rank: a weight becomes its truncated SVD", "[param]") {
  const at::Tensor w = normal_double({12, 9}, "w");
  const at::Tensor values = at::linalg_svdvals(w);
  for (const char* method : {"{type: low_rank, rank: 4}", "{type: low_rank, rank: 4, alpha: 9}"}) {
    const auto weight = make_weight(method, weight_shape(12, 9));
    weight->assign(w);
    const double left_out = at::linalg_vector_norm(values.slice(0, 4)).item<double>();
    CHECK((weight->materialize() - w).norm().item<double>() == Approx(left_out).epsilon(1e-10));
  }
}

TEST_CASE("low_rank: a zero weight zeroes B alone, and can still learn", "[param]") {
  const auto weight = make_weight("{type: low_rank, rank: 4}", weight_shape(12, 9));
  const at::Tensor a = weight->params()[0].value.detach().clone();
  weight->assign(at::zeros({12, 9}, at::kDouble));
  CHECK(at::equal(weight->params()[0].value, a));
  CHECK(weight->materialize().count_nonzero().item<int64_t>() == 0);
  weight->forward(normal_double({5, 9}, "x")).sum().backward();
  CHECK(weight->params()[1].value.grad().count_nonzero().item<int64_t>() > 0);
}

TEST_CASE("low_rank: refactorized factors are balanced and have the same product", "[param]") {
  const auto weight = make_weight("{type: low_rank, rank: 4, alpha: 2}", weight_shape(12, 9));
  const at::Tensor before = weight->materialize();
  const at::Tensor a = weight->params()[0].value.detach();
  const at::Tensor b = weight->params()[1].value.detach();
  CHECK_FALSE(at::allclose(b.t().mm(b), a.mm(a.t()), 1e-3));
  auto& factors = dynamic_cast<Refactorizable&>(*weight);
  REQUIRE(factors.refactorize());
  CHECK(at::allclose(weight->materialize(), before, 1e-10, 1e-12));
  CHECK(at::allclose(b.t().mm(b), a.mm(a.t()), 1e-10, 1e-12));
  b.zero_();
  const at::Tensor kept = a.clone();
  CHECK_FALSE(factors.refactorize());
  CHECK(at::equal(a, kept));
}

TEST_CASE("low_rank: with an activation between the factors there is no W", "[param]") {
  const auto weight = make_weight("{type: low_rank, rank: 4, activation: silu}", weight_shape(12, 9));
  const at::Tensor x = normal_double({5, 9}, "x");
  const at::Tensor h = x.mm(weight->params()[0].value.t());
  CHECK(at::allclose(weight->forward(x), (h / (1 + (-h).exp())).mm(weight->params()[1].value.t()), 1e-12, 1e-14));
  CHECK_FALSE(weight->linear());
  CHECK_THROWS_WITH(weight->materialize(), Catch::Contains("--keep-factors"));
  CHECK_THROWS_AS(weight->assign(normal_double({12, 9}, "w")), UserError);
  CHECK_THROWS_AS(dynamic_cast<Refactorizable&>(*weight).refactorize(), UserError);
  weight->assign(at::zeros({12, 9}, at::kDouble));
  CHECK(weight->forward(x).count_nonzero().item<int64_t>() == 0);
}

TEST_CASE("low_rank: training takes (out + in)·r numbers four times", "[param]") {
  // In MiB; each factor's step count takes 4 bytes.
  CHECK(testing::mebibytes("{type: low_rank, rank: 512}", 2048, 2048) == Approx(16).margin(1e-4));
  CHECK(testing::mebibytes("{type: low_rank, rank: 512}", 5461, 2048) == Approx(29.33).margin(0.01));
  CHECK(testing::mebibytes("{type: low_rank, rank: 1024}", 11008, 4096) == Approx(118).margin(1e-4));
  CHECK(testing::mebibytes("dense", 2048, 2048) == Approx(32).margin(1e-4));
}

}  // namespace
}  // namespace tersor
