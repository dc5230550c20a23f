// A problem with parameters of every shape that rules meet, steps on it, and the list of rules and formats that the
// conformance tests run over.
#pragma once

#include <cstdlib>

#include "optim/optimizer.h"
#include "tests/support/catch.h"

namespace tersor::testing {

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

// `rule` for all parameters that it accepts, AdamW for the rest.
inline std::string groups_for(const std::string& rule, const std::string& format, const std::vector<Param>& params) {
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

inline OptimizerConfig configuration(const std::string& rule, const std::string& format, const std::string& more = "",
                              const std::vector<Param>& params = Quadratic().params) {
  Diagnostics out;
  const ConfigNode node =
      parse_config(fmt::format("{{groups: {}{}}}", groups_for(rule, format, params), more), "test", out);
  OptimizerConfig config;
  read_fields(config, node, out);
  out.throw_if_any();
  return config;
}

inline Progress at_step(int64_t step) { return {step, step * 10, (step - 1) * 10, 100, 1000}; }

inline StepOutcome take_step(Optimizer& optimizer, const Quadratic& problem, int64_t step, double lr, int64_t parts) {
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
inline void train(Optimizer& optimizer, const Quadratic& problem, int64_t first, int64_t last, double lr, int64_t parts = 1) {
  for (int64_t step = first; step <= last; ++step) REQUIRE(take_step(optimizer, problem, step, lr, parts).finite);
}

inline std::vector<at::Tensor> weights(const Quadratic& problem) {
  std::vector<at::Tensor> copies;
  for (const Param& param : problem.params) copies.push_back(param.value.detach().clone());
  return copies;
}

inline void check_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) CHECK(at::equal(a[i], b[i]));
}

// Every rule, and variants whose options take other code paths; or only the one that TERSOR_RULE names, with or without options.
inline std::vector<std::string> rules_to_try() {
  if (const char* only = std::getenv("TERSOR_RULE")) return {only};
  std::vector<std::string> rules = update_rules().names();
  for (const char* variant :
       {"{type: galore, rank: 3, refresh: every 2, moments: rotate}", "{type: galore, rank: 3, refresh: every 2, side: full, scale: 1}",
        "{type: galore, rank: 3, refresh: every 2, decomposition: subspace, stagger: true, moments: reset}",
        "{type: galore, rank: 3, refresh: every 2, side: reverse, decomposition: randomized, lazy: {window: 2}, inner: lion, scale: 1}",
        "{type: galore, rank: 4, refresh: every 2, scale: 1, inner: {type: galore, rank: 2, refresh: every 2, scale: 1}}", "{type: fira, rank: 3, refresh: every 2, form: paper, scale: 1}",
        "{type: apollo, rank: 1, scaling: tensor, refresh: every 2}", "{type: apollo, rank: 3, projection: svd, refresh: every 2}",
        "{type: sgd, momentum: 0.9, nesterov: true}", "{type: scale, momentum: 0.9, axis: output}",
        "{type: adafactor, beta1: 0.9}", "{type: muon, scale: spectral}"})
    rules.emplace_back(variant);
  return rules;
}

inline void for_each_combination(const std::function<void(const std::string& rule, const std::string& format)>& run) {
  for (const std::string& rule : rules_to_try())
    for (const char* format : {"fp32", "bf16", "int8", "{type: int8, min_size: 0}"})
      DYNAMIC_SECTION(rule << " with " << format << " state") { run(rule, format); }
}

}  // namespace tersor::testing
