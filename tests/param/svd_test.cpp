#include "tests/support/catch.h"
#include "tests/support/weights.h"

namespace tersor {
namespace {

using testing::make_weight;
using testing::normal_double;
using testing::weight_shape;

TEST_CASE("svd: what is trained is added to the leading singular values, and to nothing else", "[param]") {
  const at::Tensor w = normal_double({12, 9}, "w");
  const auto weight = make_weight("{type: svd, rank: 4}", weight_shape(12, 9));
  weight->assign(w);
  CHECK(at::equal(weight->materialize(), w));
  REQUIRE(weight->params().size() == 1);
  const at::Tensor change = at::tensor({0.4, 0.3, 0.2, 0.1}, at::kDouble);  // keeps the order
  weight->params()[0].value.detach().copy_(change);
  const auto [u0, s0, v0] = at::linalg_svd(w, false);
  const auto [u1, s1, v1] = at::linalg_svd(weight->materialize(), false);
  CHECK(at::allclose(s1.narrow(0, 0, 4), s0.narrow(0, 0, 4) + change, 1e-10));
  CHECK(at::allclose(s1.slice(0, 4), s0.slice(0, 4), 1e-10));
  CHECK(at::allclose((u1 * u0).sum(0).abs(), at::ones({9}, at::kDouble), 1e-8));
}

TEST_CASE("svd: the gradient is the diagonal of UᵀGV", "[param]") {
  const auto weight = make_weight("{type: svd, rank: 4}", weight_shape(12, 9));
  const at::Tensor x = normal_double({7, 9}, "x");
  const at::Tensor dy = normal_double({7, 12}, "dy");
  (weight->forward(x) * dy).sum().backward();
  const auto [u, s, vh] = at::linalg_svd(weight->materialize(), false);
  const at::Tensor diagonal = u.t().mm(dy.t().mm(x)).mm(vh.t()).diagonal().narrow(0, 0, 4);
  CHECK(at::allclose(weight->params()[0].value.grad(), diagonal, 1e-9, 1e-10));
}

TEST_CASE("svd: a zero weight can still learn", "[param]") {
  const auto weight = make_weight("{type: svd, rank: 4}", weight_shape(12, 9));
  testing::disturb(*weight);
  weight->assign(at::zeros({12, 9}, at::kDouble));
  CHECK(weight->materialize().count_nonzero().item<int64_t>() == 0);
  weight->forward(normal_double({7, 9}, "x")).sum().backward();
  CHECK(weight->params()[0].value.grad().count_nonzero().item<int64_t>() == 4);
}

TEST_CASE("svd: training takes the weight and its bases once, and r numbers four times", "[param]") {
  CHECK(testing::mebibytes("{type: svd, rank: 512}", 2048, 2048) == Approx(8 + 4 + 512 * 8.0 / (1 << 20)).margin(1e-4));
}

}  // namespace
}  // namespace tersor
