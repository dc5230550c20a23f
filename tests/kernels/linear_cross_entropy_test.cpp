#include "kernels/linear_cross_entropy.h"

#include "kernels/fill_normal.h"
#include "tests/support/catch.h"
#include "tests/support/gradcheck.h"

namespace tersor {
namespace {

struct Problem {
  at::Tensor hidden, weight, targets;
  Problem(int64_t rows, int64_t width, int64_t vocab, at::ScalarType dtype) {
    hidden = at::empty({rows, width});
    weight = at::empty({vocab, width});
    kernels::fill_normal(hidden, 1, random_stream(1, "hidden"));
    kernels::fill_normal(weight, 0.5, random_stream(1, "weight"));
    hidden = hidden.to(dtype).requires_grad_(true);
    weight = weight.to(dtype).requires_grad_(true);
    targets = at::arange(rows).mul(7).remainder(vocab);
    if (rows > 2) targets[1] = -100;
  }
  at::Tensor composed(double scale) const {
    const at::Tensor logits = at::linear(hidden, weight);
    return at::cross_entropy_loss(logits.to(logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat), targets, {},
                                  at::Reduction::Sum) * scale;
  }
};

TEST_CASE("linear_cross_entropy: equals the composition for any chunk", "[kernels]") {
  const Problem p(13, 6, 29, at::kDouble);
  const at::Tensor expected = p.composed(0.3);
  const auto expected_grads = torch::autograd::grad({expected}, {p.hidden, p.weight});
  for (const int64_t chunk : {1, 5, 13, 100}) {
    const at::Tensor loss = kernels::linear_cross_entropy(p.hidden, p.weight, p.targets, 0.3, chunk);
    const auto grads = torch::autograd::grad({loss}, {p.hidden, p.weight});
    CHECK(at::allclose(loss, expected, 1e-12, 1e-12));
    CHECK(at::allclose(grads[0], expected_grads[0], 1e-10, 1e-12));
    CHECK(at::allclose(grads[1], expected_grads[1], 1e-10, 1e-12));
    const at::NoGradGuard no_grad;
    CHECK(at::allclose(kernels::linear_cross_entropy(p.hidden, p.weight, p.targets, 0.3, chunk), expected, 1e-12, 1e-12));
  }
}

TEST_CASE("linear_cross_entropy: derivatives agree with differences", "[kernels]") {
  const Problem p(5, 4, 7, at::kDouble);
  const auto f = [&] { return kernels::linear_cross_entropy(p.hidden, p.weight, p.targets, 0.7, 2); };
  CHECK(testing::gradient_error(f, {p.hidden, p.weight}) < 1e-8);
}

TEST_CASE("linear_cross_entropy: soft targets, against their formula and differences", "[kernels]") {
  const Problem p(9, 5, 11, at::kDouble);
  at::Tensor drawn = at::empty({9, 11});
  kernels::fill_normal(drawn, 2, random_stream(1, "teacher"));
  const at::Tensor q = at::softmax(drawn.to(at::kDouble), 1);
  for (const double w : {0.3, 1.0})
    for (const double t : {1.0, 2.5}) {
      const kernels::SoftTargets soft{.weight = w, .temperature = t, .probabilities = [&](int64_t begin, int64_t end) { return q.slice(0, begin, end); }};
      const at::Tensor logits = at::linear(p.hidden, p.weight);
      const at::Tensor rows = p.targets.ge(0).to(at::kDouble);
      const at::Tensor divergence = (q * (q.log() - at::log_softmax(logits / t, 1))).sum(1).dot(rows);
      const at::Tensor expected = 0.7 * ((1 - w) * at::cross_entropy_loss(logits, p.targets, {}, at::Reduction::Sum) + w * t * t * divergence);
      const auto expected_grads = torch::autograd::grad({expected}, {p.hidden, p.weight});
      for (const int64_t chunk : {2, 100}) {
        const at::Tensor loss = kernels::linear_cross_entropy(p.hidden, p.weight, p.targets, 0.7, chunk, &soft);
        const auto grads = torch::autograd::grad({loss}, {p.hidden, p.weight});
        CHECK(at::allclose(loss, expected, 1e-12, 1e-12));
        for (size_t i = 0; i < 2; ++i) CHECK(at::allclose(grads[i], expected_grads[i], 1e-10, 1e-12));
      }
    }
}

TEST_CASE("linear_cross_entropy: an upstream factor reaches the gradients", "[kernels]") {
  const Problem p(5, 4, 7, at::kDouble);
  const auto once = torch::autograd::grad({kernels::linear_cross_entropy(p.hidden, p.weight, p.targets, 1, 2)}, {p.weight});
  const auto thrice = torch::autograd::grad({kernels::linear_cross_entropy(p.hidden, p.weight, p.targets, 1, 2) * 3}, {p.weight});
  CHECK(at::allclose(thrice[0], once[0] * 3));
}

TEST_CASE("linear_cross_entropy: bf16 stays near fp32", "[kernels]") {
  const Problem exact(33, 16, 50, at::kFloat);
  const Problem low(33, 16, 50, at::kBFloat16);
  const at::Tensor a = kernels::linear_cross_entropy(exact.hidden, exact.weight, exact.targets, 1.0 / 32, 8);
  const at::Tensor b = kernels::linear_cross_entropy(low.hidden, low.weight, low.targets, 1.0 / 32, 8);
  CHECK(b.scalar_type() == at::kFloat);
  // Inputs and logits carry 8 bits: relative errors of 2⁻⁸ each.
  CHECK(std::abs(a.item<double>() - b.item<double>()) < 0.02 * a.item<double>());
  const auto grads = torch::autograd::grad({b}, {low.weight});
  const auto reference = torch::autograd::grad({a}, {exact.weight});
  CHECK((grads[0].to(at::kFloat) - reference[0]).norm().item<double>() < 0.03 * reference[0].norm().item<double>());
}

TEST_CASE("linear_cross_entropy: all targets ignored give zero loss and gradients", "[kernels]") {
  Problem p(4, 3, 5, at::kFloat);
  p.targets.fill_(-100);
  const at::Tensor loss = kernels::linear_cross_entropy(p.hidden, p.weight, p.targets, 1, 3);
  CHECK(loss.item<float>() == 0);
  CHECK(torch::autograd::grad({loss}, {p.weight})[0].abs().max().item<float>() == 0);
}

}  // namespace
}  // namespace tersor
