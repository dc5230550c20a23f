#include "tests/support/quadratic.h"

namespace tersor {
namespace {

using namespace testing;

TEST_CASE("optimizer: clipping scales the whole gradient and reports its norm", "[optim]") {
  const Quadratic problem;
  Optimizer optimizer(problem.params, configuration("sgd", "fp32", ", clip_norm: 0.5"), 1);
  const std::vector<at::Tensor> before = weights(problem);
  optimizer.begin_step(at_step(1), 0.1, 1);
  optimizer.begin_micro_batch();
  problem.loss().backward();
  const StepOutcome outcome = optimizer.finish_step();
  double squares = 0;
  double moved = 0;
  const std::vector<at::Tensor> after = weights(problem);
  for (size_t i = 0; i < before.size(); ++i) {
    squares += (before[i] - problem.targets[i]).square().sum().item<double>();
    moved += (after[i] - before[i]).square().sum().item<double>();
  }
  CHECK(std::abs(outcome.grad_norm - std::sqrt(squares)) < 1e-5 * outcome.grad_norm);
  CHECK(std::abs(std::sqrt(moved) - 0.1 * 0.5) < 1e-5);
}

TEST_CASE("optimizer: groups must cover all parameters and take some", "[optim]") {
  const Quadratic problem;
  const auto message = [&](const std::string& groups) {
    Diagnostics out;
    const ConfigNode node = parse_config("groups: " + groups, "x.yaml", out);
    OptimizerConfig config;
    read_fields(config, node, out);
    out.throw_if_any();
    try {
      check_groups({problem.params}, config.groups);
    } catch (const UserError& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(message("[{match: {role: matrix}}, {match: any}]").empty());
  CHECK(message("[{match: {role: matrix}}]").find("no group matches 'vector' (vector): end with") != std::string::npos);
  CHECK(message("[{match: any}, {match: {name: 'w*'}}]").find("x.yaml:1:32: optimizer.groups[1].match: matches no") == 0);
}

// Compares with the formulas at the top of adamw.cpp, in double, over three steps of two numbers.
TEST_CASE("adamw: follows the published update", "[optim][golden]") {
  const double gradients[3][2] = {{0.5, -0.001}, {-0.25, 0.002}, {1, 0}};
  for (const std::string at : {"corrected", "uncorrected"}) {
    const at::Tensor w = at::tensor({1.0f, -2.0f}).requires_grad_(true);
    const std::vector<Param> params{{"w", w, Role::kVector, std::nullopt}};
    Optimizer optimizer(params, configuration(fmt::format("{{type: adamw, beta1: 0.8, beta2: 0.99, epsilon: 0.01, epsilon_at: {}}}", at),
                                              "fp32", ", weight_decay: 0.1", params), 1);
    double m[2] = {}, v[2] = {}, expected[2] = {1, -2};
    for (int t = 1; t <= 3; ++t) {
      optimizer.begin_step(at_step(t), 0.1, 1);
      optimizer.begin_micro_batch();
      (w * at::tensor({gradients[t - 1][0], gradients[t - 1][1]}, at::kFloat)).sum().backward();
      REQUIRE(optimizer.finish_step().finite);
      for (int i = 0; i < 2; ++i) {
        const double g = gradients[t - 1][i];
        m[i] = 0.8 * m[i] + 0.2 * g;
        v[i] = 0.99 * v[i] + 0.01 * g * g;
        const double c1 = 1 - std::pow(0.8, t), c2 = 1 - std::pow(0.99, t);
        const double step = at == "corrected" ? m[i] / c1 / (std::sqrt(v[i] / c2) + 0.01)
                                              : std::sqrt(c2) / c1 * m[i] / (std::sqrt(v[i]) + 0.01);
        expected[i] = expected[i] * (1 - 0.1 * 0.1) - 0.1 * step;
        CHECK(std::abs(w[i].item<double>() - expected[i]) < 2e-6);
      }
    }
  }
}

}  // namespace
}  // namespace tersor
