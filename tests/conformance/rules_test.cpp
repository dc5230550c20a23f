// What every update rule must do, in every state format. A new method is under these the moment its file exists.
#include "optim/optimizer.h"
#include "tests/support/catch.h"

namespace tersor {
namespace {

// A small "network" whose loss is ½ Σ‖W − T‖² over tensors of every shape that rules meet.
struct Quadratic {
  std::vector<Param> params;
  std::vector<at::Tensor> targets;

  explicit Quadratic(at::ScalarType dtype = at::kFloat) {
    const std::vector<std::pair<std::string, std::vector<int64_t>>> shapes = {
        {"one", {1, 1}}, {"wide", {5, 160}}, {"odd", {217, 25}}, {"row", {1, 33}}, {"vector", {7}}};
    int64_t index = 0;
    for (const auto& [name, shape] : shapes) {
      const at::Tensor ramp = at::arange(at::empty(shape).numel(), at::kFloat).reshape(shape);
      at::Tensor value = (ramp * 0.37 + static_cast<double>(index)).sin().to(dtype).requires_grad_(true);
      targets.push_back((ramp * 0.11).cos());
      params.push_back({name, value, shape.size() == 1 ? Role::kVector : Role::kMatrix, std::nullopt});
      ++index;
    }
  }
  at::Tensor loss(double weight = 1) const {
    at::Tensor sum = at::zeros({});
    for (size_t i = 0; i < params.size(); ++i)
      sum = sum + (params[i].value.to(at::kFloat) - targets[i]).square().sum() * (0.5 * weight);
    return sum;
  }
};

// `rule` for all that it takes, AdamW for the rest.
std::string groups_for(const std::string& rule, const std::string& format, const std::vector<Param>& params) {
  Diagnostics out;
  Choice<update_rules> choice;
  choice.read(*parse_config("rule: " + rule, "test", out).find("rule"), out);
  out.throw_if_any();
  const auto built = choice.build();
  std::vector<std::string> taken;
  for (const Param& param : params)
    if (!built->refuses(param)) taken.push_back(param.name);
  const std::string rest = taken.size() == params.size() ? "" : fmt::format(", {{match: any, rule: adamw, state: {}}}", format);
  return fmt::format("[{{match: {{name: [{}]}}, rule: {}, state: {}}}{}]", fmt::join(taken, ", "), rule, format, rest);
}

OptimizerConfig configuration(const std::string& rule, const std::string& format, const std::string& more = "",
                              const std::vector<Param>& params = Quadratic().params) {
  Diagnostics out;
  const ConfigNode node =
      parse_config(fmt::format("{{groups: {}{}}}", groups_for(rule, format, params), more), "test", out);
  OptimizerConfig config;
  read_fields(config, node, out);
  out.throw_if_any();
  return config;
}

Progress at_step(int64_t step) { return {step, step * 10, (step - 1) * 10, 100, 1000}; }

StepOutcome take_step(Optimizer& optimizer, const Quadratic& problem, int64_t step, double lr, int64_t parts) {
  const double weight = 1.0 / static_cast<double>(parts);
  optimizer.begin_step(at_step(step), lr, parts);
  for (int64_t i = 0; i < parts; ++i) {
    optimizer.begin_micro_batch();
    problem.loss(weight).backward();
  }
  if (optimizer.begin_second_pass()) problem.loss(weight).backward();
  return optimizer.finish_step();
}

// Takes steps first, …, last, each from `parts` micro-batches of equal weight.
void train(Optimizer& optimizer, const Quadratic& problem, int64_t first, int64_t last, double lr, int64_t parts = 1) {
  for (int64_t step = first; step <= last; ++step) REQUIRE(take_step(optimizer, problem, step, lr, parts).finite);
}

std::vector<at::Tensor> weights(const Quadratic& problem) {
  std::vector<at::Tensor> copies;
  for (const Param& param : problem.params) copies.push_back(param.value.detach().clone());
  return copies;
}

void check_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) CHECK(at::equal(a[i], b[i]));
}

void for_each_combination(const std::function<void(const std::string& rule, const std::string& format)>& run) {
  std::vector<std::string> rules = update_rules().names();
  // Methods whose options lead down other paths.
  for (const char* variant :
       {"{type: galore, rank: 3, refresh: every 2, moments: rotate}", "{type: galore, rank: 3, refresh: every 2, side: full, scale: 1}",
        "{type: galore, rank: 3, refresh: every 2, decomposition: subspace, stagger: true, moments: reset}",
        "{type: galore, rank: 3, refresh: every 2, side: reverse, decomposition: randomized, lazy: {window: 2}, inner: lion, scale: 1}",
        "{type: galore, rank: 4, refresh: every 2, scale: 1, inner: {type: galore, rank: 2, refresh: every 2, scale: 1}}", "{type: fira, rank: 3, refresh: every 2, form: paper, scale: 1}",
        "{type: apollo, rank: 1, scaling: tensor, refresh: every 2}", "{type: apollo, rank: 3, projection: svd, refresh: every 2}",
        "{type: sgd, momentum: 0.9, nesterov: true}", "{type: scale, momentum: 0.9, axis: output}",
        "{type: adafactor, beta1: 0.9}", "{type: muon, scale: spectral}"})
    rules.emplace_back(variant);
  for (const std::string& rule : rules)
    for (const char* format : {"fp32", "bf16", "int8", "{type: int8, min_size: 0}"})
      DYNAMIC_SECTION(rule << " with " << format << " state") { run(rule, format); }
}

TEST_CASE("rules: a quadratic is descended", "[optim][conformance]") {
  for_each_combination([](const std::string& rule, const std::string& format) {
    const Quadratic problem;
    Optimizer optimizer(problem.params, configuration(rule, format), 1);
    const double before = problem.loss().item<double>();
    train(optimizer, problem, 1, 100, 0.05);
    CHECK(problem.loss().item<double>() < 0.85 * before);
  });
}

TEST_CASE("rules: the bytes that are declared are the bytes that are held", "[optim][conformance]") {
  for_each_combination([](const std::string& rule, const std::string& format) {
    const Quadratic problem;
    const OptimizerConfig config = configuration(rule, format);
    const Optimizer optimizer(problem.params, config, 1);
    int64_t declared = 0;
    for (const Param& param : problem.params) {
      const GroupConfig& group = config.groups[config.groups[0].match.matches(param) ? 0 : 1];
      for (const SlotSpec& spec : group.rule.build()->slots({param.value.sizes().vec(), param.slice_axis})) {
        const bool exact = spec.kind == SlotKind::kExact || spec.kind == SlotKind::kHost || spec.kind == SlotKind::kProjector;
        declared += exact ? at::empty(spec.shape).numel() * 4 : group.state.build()->bytes(spec.shape, spec.kind);
      }
    }
    CHECK(optimizer.state().bytes() == declared);
  });
}

TEST_CASE("rules: every declared slot is used", "[optim][conformance]") {
  for_each_combination([](const std::string& rule, const std::string& format) {
    const Quadratic problem;
    const OptimizerConfig config = configuration(rule, format);
    Optimizer optimizer(problem.params, config, 1);
    train(optimizer, problem, 1, 12, 0.01);
    std::map<std::string, float> largest;  // of a slot, over parameters: a residual, say, is zero where r is the short side
    for (size_t i = 0; i < problem.params.size(); ++i) {
      const GroupConfig& group = config.groups[config.groups[0].match.matches(problem.params[i]) ? 0 : 1];
      const Slots slots = optimizer.state().open(problem.params[i].name);
      for (const SlotSpec& spec : group.rule.build()->slots({problem.params[i].value.sizes().vec(), std::nullopt}))
        largest[spec.name] = std::max(largest[spec.name], slots[spec.name].abs().max().item<float>());
    }
    for (const auto& [slot, value] : largest) {
      INFO(slot);
      CHECK((value > 0 || slot == "period"));  // which grows only once a basis has settled
    }
  });
}

TEST_CASE("rules: stopping and going on from saved state changes nothing", "[optim][conformance]") {
  for_each_combination([](const std::string& rule, const std::string& format) {
    const OptimizerConfig config = configuration(rule, format);
    const Quadratic whole;
    Optimizer straight(whole.params, config, 1);
    train(straight, whole, 1, 10, 0.01);

    const Quadratic first;
    Optimizer before(first.params, config, 1);
    train(before, first, 1, 5, 0.01);
    const Quadratic second;
    Optimizer after(second.params, config, 1);
    std::map<std::string, at::Tensor> saved;
    before.state().visit([&](const std::string& name, const at::Tensor& value) { saved[name] = value.clone(); });
    after.state().visit([&](const std::string& name, const at::Tensor& value) { value.copy_(saved.at(name)); });
    for (size_t i = 0; i < first.params.size(); ++i) second.params[i].value.detach().copy_(first.params[i].value.detach());
    train(after, second, 6, 10, 0.01);
    check_equal(weights(second), weights(whole));
  });
}

TEST_CASE("rules: updating during backward gives the weights of updating after it", "[optim][conformance]") {
  for_each_combination([](const std::string& rule, const std::string& format) {
    for (const int64_t parts : {1, 4}) {
      const Quadratic after;
      const Quadratic during;
      Optimizer one(after.params, configuration(rule, format), 1);
      Optimizer other(during.params, configuration(rule, format, ", update: during_backward, accumulate: full"), 1);
      train(one, after, 1, 5, 0.01, parts);
      train(other, during, 1, 5, 0.01, parts);
      check_equal(weights(after), weights(during));
    }
  });
}

TEST_CASE("rules: clipping while updating during backward is exact", "[optim][conformance]") {
  for_each_combination([](const std::string& rule, const std::string& format) {
    for (const int64_t parts : {1, 4}) {
      const Quadratic after;
      const Quadratic during;
      Optimizer one(after.params, configuration(rule, format, ", clip_norm: 0.7"), 1);
      Optimizer other(during.params, configuration(rule, format, ", clip_norm: 0.7, update: during_backward, accumulate: full"), 1);
      for (int64_t step = 1; step <= 5; ++step) {
        const StepOutcome a = take_step(one, after, step, 0.01, parts);
        const StepOutcome b = take_step(other, during, step, 0.01, parts);
        CHECK(a.grad_norm == b.grad_norm);
        CHECK(a.clip_factor < 1);
        CHECK(a.clip_factor == b.clip_factor);
      }
      check_equal(weights(after), weights(during));
    }
  });
}

TEST_CASE("rules: compressed gradients add up to the same steps", "[optim][conformance]") {
  for_each_combination([](const std::string& rule, const std::string& format) {
    if (format != "fp32") return;  // a rounding that falls the other way moves an 8-bit code
    for (const int64_t parts : {1, 4}) {
      const Quadratic whole;
      const Quadratic compressed;
      Optimizer one(whole.params, configuration(rule, format, ", accumulate: full"), 1);
      Optimizer other(compressed.params, configuration(rule, format, ", accumulate: compressed, update: during_backward"), 1);
      for (int64_t step = 1; step <= 3; ++step) {
        const StepOutcome a = take_step(one, whole, step, 0.003, parts);
        const StepOutcome b = take_step(other, compressed, step, 0.003, parts);
        CHECK_FALSE(a.norm_is_estimate);
        // An estimate from a sketch of four rows, in matrices as small as these, is good to a quarter.
        CHECK(std::abs(a.grad_norm - b.grad_norm) < (b.norm_is_estimate ? 0.25 : 1e-5) * a.grad_norm);
      }
      const auto a = weights(whole);
      const auto b = weights(compressed);
      // One is a product of a sum, the other a sum of products: fp32 roundings, which Adam's normalization may magnify.
      for (size_t i = 0; i < a.size(); ++i) CHECK(at::allclose(a[i], b[i], 1e-3, 1e-4));
    }
  });
}

TEST_CASE("rules: a fused step is the plain step", "[optim][conformance]") {
  for_each_combination([](const std::string& rule, const std::string& format) {
    const Quadratic fused;
    const Quadratic plain;
    const std::string more = ", clip_norm: 3, weight_decay: 0.1";
    Optimizer one(fused.params, configuration(rule, format, more), 1);
    Optimizer other(plain.params, configuration(rule, format, more), 1);
    other.set_fused(false);
    train(one, fused, 1, 3, 0.01);
    train(other, plain, 1, 3, 0.01);
    const auto a = weights(fused);
    const auto b = weights(plain);
    // The same operations in another order; with 8-bit state a rounding may choose the neighbouring code.
    const double tolerance = format.find("int8") != std::string::npos ? 2e-3 : 2e-6;
    for (size_t i = 0; i < a.size(); ++i) CHECK(at::allclose(a[i], b[i], tolerance, tolerance));
  });
}

TEST_CASE("rules: a gradient that is not finite leaves weights and state alone", "[optim][conformance]") {
  for_each_combination([](const std::string& rule, const std::string& format) {
    const Quadratic problem;
    Optimizer optimizer(problem.params, configuration(rule, format), 1);
    train(optimizer, problem, 1, 2, 0.01);
    const std::vector<at::Tensor> before = weights(problem);
    std::vector<at::Tensor> state_before;
    optimizer.state().visit([&](const std::string&, const at::Tensor& v) { state_before.push_back(v.clone()); });
    optimizer.begin_step(at_step(3), 0.01, 1);
    optimizer.begin_micro_batch();
    (problem.loss() + problem.params[2].value.sum() * std::numeric_limits<double>::infinity()).backward();
    CHECK_FALSE(optimizer.finish_step().finite);
    check_equal(weights(problem), before);
    std::vector<at::Tensor> state_after;
    optimizer.state().visit([&](const std::string&, const at::Tensor& v) { state_after.push_back(v.clone()); });
    check_equal(state_after, state_before);
  });
}

TEST_CASE("rules: a reset parameter goes on as a fresh one and the others are untouched", "[optim][conformance]") {
  for_each_combination([](const std::string& rule, const std::string& format) {
    const Quadratic problem;
    Optimizer optimizer(problem.params, configuration(rule, format), 1);
    train(optimizer, problem, 1, 3, 0.01);
    std::map<std::string, at::Tensor> before;
    optimizer.state().visit([&](const std::string& name, const at::Tensor& v) { before[name] = v.clone(); });
    optimizer.state().reset("wide");
    optimizer.state().visit([&](const std::string& name, const at::Tensor& v) {
      INFO(name);
      if (!name.starts_with("wide/")) CHECK(at::equal(v, before.at(name)));
    });
    const Slots slots = optimizer.state().open("wide");
    optimizer.state().visit([&](const std::string& name, const at::Tensor&) {
      const std::string slot = name.substr(5, name.find('/', 5) - 5);
      if (name.starts_with("wide/")) CHECK(slots[slot].abs().max().item<float>() == 0);
    });
  });
}

TEST_CASE("rules: bf16 weights move by less than bf16 can hold", "[optim][conformance]") {
  // Steps of 1e-4 on weights near 1 are a hundredth of bf16's spacing there: rounded to nearest, nothing would move.
  for_each_combination([](const std::string& rule, const std::string& format) {
    const Quadratic problem(at::kBFloat16);
    Optimizer optimizer(problem.params, configuration(rule, format), 1);
    const double before = problem.loss().item<double>();
    train(optimizer, problem, 1, 60, 0.0005);
    CHECK(problem.loss().item<double>() < before);
    CHECK(problem.params[1].value.scalar_type() == at::kBFloat16);
  });
}

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

// torch.optim.AdamW(lr=0.1, betas=(0.8, 0.99), eps=0.01, weight_decay=0.1), float64, on w=[1,-2], gradients
// [0.5,-0.001], [-0.25, 0.002], [1, 0]: w after each step, worked from the formulas in adamw.cpp.
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
