// What every parameterization must do.
#include "core/param/parameterization.h"

#include "kernels/fill_normal.h"
#include "tests/support/catch.h"
#include "tests/support/gradcheck.h"

namespace tersor {
namespace {

at::Tensor normal(at::IntArrayRef shape, const std::string& name) {
  const at::Tensor x = at::empty(shape, at::kDouble);
  kernels::fill_normal(x, 1, random_stream(1, name));
  return x;
}

WeightShape shape(int64_t out, int64_t in, at::ScalarType type = at::kDouble) {
  return {.name = "w", .out = out, .in = in, .options = at::TensorOptions(type), .init_std = 0.5, .seed = 3};
}

std::unique_ptr<Parameterization> make(const std::string& name, const WeightShape& s) {
  return parameterizations().find(name)->build(s);
}

TEST_CASE("parameterizations: forward applies what is materialized", "[param][conformance]") {
  for (const std::string& name : parameterizations().names()) {
    for (const auto& [out, in] : {std::pair{1, 1}, {5, 16}, {21, 7}}) {
      const auto weight = make(name, shape(out, in));
      const at::Tensor x = normal({2, 3, in}, "x");
      CHECK(at::allclose(weight->forward(x), at::matmul(x, weight->materialize().t()), 1e-10, 1e-12));
    }
  }
}

TEST_CASE("parameterizations: a weight that it can hold comes back", "[param][conformance]") {
  for (const std::string& name : parameterizations().names()) {
    const auto weight = make(name, shape(6, 9));
    const auto other = make(name, {.name = "other", .out = 6, .in = 9, .options = at::TensorOptions(at::kDouble), .seed = 4});
    weight->assign(other->materialize());
    CHECK(at::allclose(weight->materialize(), other->materialize(), 1e-10, 1e-12));
  }
}

TEST_CASE("parameterizations: derivatives agree with differences", "[param][conformance]") {
  for (const std::string& name : parameterizations().names()) {
    const auto weight = make(name, shape(4, 5));
    const at::Tensor x = normal({3, 5}, "x").requires_grad_(true);
    const at::Tensor mix = normal({3, 4}, "mix");
    std::vector<at::Tensor> leaves{x};
    for (const Param& param : weight->params()) leaves.push_back(param.value);
    CHECK(testing::gradient_error([&] { return (weight->forward(x).sin() * mix).sum(); }, leaves) < 1e-8);
  }
}

TEST_CASE("parameterizations: initial weights depend on seed and name alone", "[param][conformance]") {
  for (const std::string& name : parameterizations().names()) {
    WeightShape s = shape(40, 30, at::kFloat);
    const at::Tensor first = make(name, s)->materialize();
    CHECK(at::equal(first, make(name, s)->materialize()));
    s.seed = 9;
    CHECK_FALSE(at::equal(first, make(name, s)->materialize()));
    CHECK(std::abs(first.std().item<double>() - 0.5) < 0.05);
  }
}

TEST_CASE("initialize: the draws are normal", "[param]") {
  const at::Tensor x = at::empty({100001}, at::kFloat);
  kernels::fill_normal(x, 2, random_stream(1, "n"));
  // Standard errors of the moments at this size: 0.006, 0.005, and 0.001 for the share beyond two deviations.
  CHECK(std::abs(x.mean().item<double>()) < 0.03);
  CHECK(std::abs(x.std().item<double>() - 2) < 0.025);
  CHECK(std::abs(x.abs().gt(4).to(at::kFloat).mean().item<double>() - 0.0455) < 0.004);
}

}  // namespace
}  // namespace tersor
