// What every parameterization must do.
#include "core/param/parameterization.h"

#include "kernels/fill_normal.h"
#include "tests/support/catch.h"
#include "tests/support/gradcheck.h"
#include "tests/support/weights.h"

namespace tersor {
namespace {

using testing::make_weight;
using testing::normal_double;
using testing::weight_shape;

// Every method, and variants whose options take other code paths.
std::vector<std::string> all_methods() {
  std::vector<std::string> all = parameterizations().names();
  for (const char* variant : {"{type: sltrain, rank: 2, density: 0.3, alpha: 3}", "{type: masked, sparsity: 0}",
                              "{type: masked, sparsity: 0.5, structure: two_of_four}", "{type: masked, sparsity: 0.6, structure: block, block: 3}",
                              "{type: masked, sparsity: 0.6, structure: block}",
                              "{type: low_rank, rank: 2, alpha: 3}", "{type: low_rank, rank: 3, activation: silu}",
                              "{type: lora, rank: 2, alpha: 3}", "{type: lora, rank: 3, base: int8}", "{type: lora, rank: 1, base: int4}",
                              "{type: switch_lora, rank: 2, alpha: 3}", "{type: switch_lora, rank: 1}",
                              "{type: svd, rank: 2}", "{type: svd, rank: 1, base: int8}"})
    all.emplace_back(variant);
  return all;
}

TEST_CASE("parameterizations: forward applies what is materialized", "[param][conformance]") {
  for (const std::string& name : all_methods()) {
    for (const auto& [out, in] : {std::pair{1, 1}, {5, 16}, {21, 7}}) {
      INFO(name << " " << out << " x " << in);
      const auto weight = make_weight(name, weight_shape(out, in));
      if (!weight->linear()) continue;
      testing::disturb(*weight);
      const at::Tensor x = normal_double({2, 3, in}, "x");
      CHECK(at::allclose(weight->forward(x), at::matmul(x, weight->materialize().t()), 1e-10, 1e-12));
    }
  }
}

TEST_CASE("parameterizations: what is assigned is held as near as can be, and what it holds comes back", "[param][conformance]") {
  for (const std::string& name : all_methods()) {
    INFO(name);
    const auto weight = make_weight(name, weight_shape(6, 9));
    if (!weight->linear()) continue;
    const at::Tensor target = normal_double({6, 9}, "target");
    weight->assign(target);
    const at::Tensor held = weight->materialize().clone();
    CHECK((held - target).norm().item<double>() < target.norm().item<double>());
    weight->assign(held);
    const std::vector<PackedPart> parts = tensors_of(*weight);
    const bool packed = std::any_of(parts.begin(), parts.end(), [](const PackedPart& part) { return part.value.scalar_type() == at::kByte; });
    CHECK(at::allclose(weight->materialize(), held, 1e-6, packed ? 0.02 : 1e-9));  // a grid of codes may move by its spacing
    weight->assign(at::zeros({6, 9}, at::kDouble));
    CHECK(weight->materialize().abs().max().item<double>() < 1e-12);
  }
}

TEST_CASE("parameterizations: derivatives agree with differences", "[param][conformance]") {
  for (const std::string& name : all_methods()) {
    INFO(name);
    const auto weight = make_weight(name, weight_shape(4, 5));
    testing::disturb(*weight, 0.1);
    const at::Tensor x = normal_double({3, 5}, "x").requires_grad_(true);
    const at::Tensor mix = normal_double({3, 4}, "mix");
    std::vector<at::Tensor> leaves{x};
    for (const Param& param : weight->params())
      if (!param.packed) leaves.push_back(param.value);
    CHECK(testing::gradient_error([&] { return (weight->forward(x).sin() * mix).sum(); }, leaves) < 1e-8);
  }
}

TEST_CASE("parameterizations: copies hold the same weight, and what is saved is all there is", "[param][conformance]") {
  for (const std::string& name : all_methods()) {
    INFO(name);
    const auto weight = make_weight(name, weight_shape(12, 9));
    testing::disturb(*weight);
    const auto other = make_weight(name, {.name = "other", .out = 12, .in = 9, .options = at::TensorOptions(at::kDouble), .seed = 4});
    copy_weight(*weight, *other);
    const at::Tensor x = normal_double({3, 9}, "x");
    CHECK(at::equal(weight->forward(x), other->forward(x)));
  }
}

TEST_CASE("parameterizations: initial weights depend on seed and name alone", "[param][conformance]") {
  for (const std::string& name : all_methods()) {
    WeightShape s = weight_shape(40, 30, at::kFloat);
    if (!make_weight(name, s)->linear()) continue;
    const at::Tensor first = make_weight(name, s)->materialize();
    CHECK(at::equal(first, make_weight(name, s)->materialize()));
    s.seed = 9;
    CHECK_FALSE(at::equal(first, make_weight(name, s)->materialize()));
    if (name == "dense" || name == "int8") CHECK(std::abs(first.std().item<double>() - 0.5) < 0.05);
  }
}

TEST_CASE("parameterizations: a packed weight receives the gradient of the dense one", "[param][conformance]") {
  for (const std::string& name : all_methods()) {
    const auto weight = make_weight(name, weight_shape(4, 5));
    if (!weight->params()[0].packed) continue;
    const at::Tensor x = normal_double({3, 5}, "x");
    const at::Tensor mix = normal_double({3, 4}, "mix");
    (weight->forward(x).sin() * mix).sum().backward();
    const at::Tensor dense = weight->materialize().clone().requires_grad_(true);
    (at::linear(x, dense).sin() * mix).sum().backward();
    CHECK(at::allclose(weight->params()[0].value.grad(), dense.grad(), 1e-10, 1e-12));
  }
}

TEST_CASE("int8: steps smaller than the spacing of codes are taken on average", "[param]") {
  const auto weight = make_weight("int8", weight_shape(16, 256, at::kFloat));
  const at::Tensor before = weight->materialize();
  const auto packed = weight->params()[0].packed;
  for (uint64_t step = 0; step < 50; ++step)  // the spacing is about 0.012
    packed->pack(packed->unpack() + 0.001, random_stream(1, "round", {}, step));
  CHECK(std::abs((weight->materialize() - before).mean().item<double>() - 0.05) < 0.005);
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
