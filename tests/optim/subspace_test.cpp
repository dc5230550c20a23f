#include "optim/subspace.h"

#include "core/memory/ledger.h"
#include "tests/support/catch.h"
#include "tests/support/single_param.h"

namespace tersor {
namespace {

using testing::normal;
using testing::SingleParam;

double energy(const at::Tensor& basis, const at::Tensor& matrix) {
  return (basis.mm(matrix).norm() / matrix.norm()).square().item<double>();
}

TEST_CASE("subspace: bases are orthonormal and hold the energy of the best one", "[optim]") {
  const at::Tensor spectrum = at::pow(at::arange(1, 81, at::kFloat), -0.7);
  const at::Tensor g = (normal({80, 80}, "u") * spectrum).mm(normal({80, 150}, "v"));
  const RandomStream random = random_stream(1, "test");
  const auto [u, s, vh] = at::linalg_svd(g, false);
  const double best = energy(u.t().slice(0, 0, 10), g);
  at::Tensor previous;
  for (const Decomposition how : {Decomposition::kSvd, Decomposition::kRandomized, Decomposition::kSubspace}) {
    const at::Tensor basis = left_basis(g, 10, how, previous, random);
    CHECK(at::allclose(basis.mm(basis.t()), at::eye(10), 1e-5, 1e-5));
    CHECK(energy(basis, g) > 0.99 * best);
    CHECK(energy(basis, g) < best * (1 + 1e-5));
    const at::Tensor place = basis.abs().argmax(1, true);
    CHECK(basis.gather(1, place).min().item<double>() > 0);
    previous = left_basis(g + 0.1 * normal({80, 150}, "older"), 10, Decomposition::kSvd, {}, random);
  }
}

TEST_CASE("subspace: any rule runs inside, with whatever its step is made of", "[optim]") {
  for (const std::string outer : {"galore", "fira", "apollo", "frugal"})
    for (const MethodInfo& inner : all_registries().at("update rule")->methods()) {
      INFO(outer << " " << inner.name);
      SingleParam param(normal({12, 20}, "w"), fmt::format("{{type: {}, rank: 6, inner: {}}}", outer, inner.name), 0.1);
      const at::Tensor before = param.weight().clone();
      for (int i = 0; i < 2; ++i) param.step(normal({12, 20}, "g"));
      CHECK(param.weight().isfinite().all().item<bool>());
      CHECK_FALSE(at::equal(param.weight(), before));
    }
  // Fira inside GaLore, where nothing is lost: at full rank Fira's rest is zero, and at rank 1 it supplies what the subspace lacks.
  const auto step_of = [](int rank) {
    SingleParam param(at::zeros({8, 8}), fmt::format("{{type: galore, rank: 8, scale: 1, inner: {{type: fira, rank: {}, scale: 1, inner: sgd}}}}", rank), 1);
    param.step(normal({8, 8}, "g"));
    return -param.weight();
  };
  CHECK(at::allclose(step_of(8), normal({8, 8}, "g"), 1e-4, 1e-4));
  CHECK(at::allclose(step_of(1), normal({8, 8}, "g"), 1e-4, 1e-4));
}

TEST_CASE("subspace: degenerate gradients have orthonormal bases too", "[optim]") {
  const RandomStream random = random_stream(1, "test");
  for (const Decomposition how : {Decomposition::kSvd, Decomposition::kRandomized, Decomposition::kSubspace, Decomposition::kRandom}) {
    for (const at::Tensor& g : {at::zeros({30, 40}), at::ones({30, 40}), normal({1, 7}, "row"), normal({7, 1}, "column")}) {
      const int64_t r = std::min<int64_t>(3, g.size(0));
      const at::Tensor basis = left_basis(g, r, how, {}, random);
      CHECK(at::allclose(basis.mm(basis.t()), at::eye(r), 1e-4, 1e-4));
    }
  }
}

TEST_CASE("galore: at full rank it is Adam in turned coordinates, whatever the side", "[optim]") {
  for (const std::string side : {"std", "reverse", "left", "right", "full"}) {
    SingleParam param(at::zeros({9, 9}), fmt::format("{{type: galore, rank: 50, scale: 1, side: {}, inner: sgd}}", side), 1);
    const at::Tensor g = normal({9, 9}, "g");
    param.step(g);
    CHECK(at::allclose(param.weight(), -g, 1e-4, 1e-5));
  }
}

TEST_CASE("galore: refreshes fall on the steps that are asked for, the first one always", "[optim]") {
  const auto refresh_steps = [](const std::string& options, int steps) {
    SingleParam param(at::zeros({6, 9}), fmt::format("{{type: galore, rank: 2, {}}}", options), 0.01);
    std::vector<int> found;
    float before = 0;
    for (int step = 1; step <= steps; ++step) {
      param.step(normal({6, 9}, "same"));
      const float now = param.slots()["refreshes"].item<float>();
      if (now > before) found.push_back(step);
      before = now;
    }
    return found;
  };
  CHECK(refresh_steps("refresh: every 4", 10) == std::vector<int>{1, 5, 9});
  CHECK(refresh_steps("refresh: never", 10) == std::vector<int>{1});
  // Q-GaLore's fastest schedule: refreshes at 0, T, …, 5T, where the period doubles, and each later refresh doubles it again.
  CHECK(refresh_steps("refresh: every 2, lazy: {}", 70) == std::vector<int>{1, 3, 5, 7, 9, 11, 13, 17, 33, 65});
}

TEST_CASE("galore: moments are kept, turned or dropped at a refresh", "[optim]") {
  const at::Tensor first = normal({6, 9}, "first");
  const at::Tensor second = normal({6, 9}, "second");
  for (const std::string moments : {"keep", "rotate", "reset"}) {
    SingleParam param(at::zeros({6, 9}), fmt::format("{{type: galore, rank: 3, refresh: every 1, moments: {}}}", moments), 0.01);
    param.step(first);
    const at::Tensor old_basis = param.slots()["left"].clone();
    const at::Tensor old_m = param.slots()["inner.m"].clone();
    param.step(second);
    const at::Tensor basis = param.slots()["left"];
    const at::Tensor carried = moments == "keep" ? old_m : moments == "reset" ? at::zeros_like(old_m) : basis.mm(old_basis.t()).mm(old_m);
    CHECK(at::allclose(param.slots()["inner.m"], 0.9 * carried + 0.1 * basis.mm(second), 1e-4, 1e-5));
  }
}

TEST_CASE("galore: a gradient in bf16 is projected as it is, and is never whole in fp32", "[optim]") {
  install_memory_ledger();
  const at::Tensor g = normal({512, 4096}, "g").to(at::kBFloat16);
  for (const std::string when : {"after_backward", "during_backward"}) {
    SingleParam param(at::zeros({512, 4096}, at::kBFloat16), "{type: galore, rank: 8, refresh: never}", 0.01, ", update: " + when);
    param.step(g);  // finds the basis, for which the gradient is copied
    reset_memory_peak();
    const int64_t before = memory_now().of(Segment::kTemporary);
    param.step(g);
    CHECK(memory_peak().most_of(Segment::kTemporary) - before < g.numel() * 4);
    const at::Tensor exact = 0.19 * param.slots()["left"].mm(g.to(at::kFloat));  // after two steps of β₁ = 0.9
    CHECK((param.slots()["inner.m"] - exact).norm().item<double>() < 3e-3 * exact.norm().item<double>());
  }
}

TEST_CASE("galore: the norm of compressed sums is estimated without bias", "[optim]") {
  double sum = 0;
  const at::Tensor start = at::zeros({20, 90});
  constexpr int kSteps = 60;
  const at::Tensor weight = start.clone().requires_grad_(true);
  Diagnostics out;
  OptimizerConfig config;
  const ConfigNode node = parse_config("{update: during_backward, groups: [{rule: {type: galore, rank: 4, refresh: never}}]}", "test", out);
  read_fields(config, node, out);
  Optimizer optimizer({{"w", weight, Role::kMatrix, std::nullopt}}, config, 1);
  const std::vector<at::Tensor> parts{normal({20, 90}, "a"), normal({20, 90}, "b"), normal({20, 90}, "c")};
  const double exact = (parts[0] + parts[1] + parts[2]).norm().item<double>();
  for (int step = 1; step <= kSteps + 1; ++step) {
    optimizer.begin_step({step, step, step - 1, 100, 100}, 0, 3);
    for (const at::Tensor& part : parts) {
      optimizer.begin_micro_batch();
      (weight * part).sum().backward();
    }
    const StepOutcome outcome = optimizer.finish_step();
    CHECK(outcome.norm_is_estimate == (step > 1));  // the first step needs the whole gradient for its basis
    CHECK(std::abs(outcome.grad_norm / exact - 1) < (step == 1 ? 1e-5 : 0.25));
    if (step > 1) sum += outcome.grad_norm * outcome.grad_norm;
  }
  CHECK(sum / kSteps / (exact * exact) == Approx(1).margin(0.03));
}

}  // namespace
}  // namespace tersor
