// What a step costs: every rule of the registry through the driver, on one matrix, beside LibTorch's own AdamW, and the ways
// to find a basis. scripts/bench runs it, and the authors' packages on the same matrices after it.
#include <ATen/ops/_fused_adamw.h>
#include <benchmark/benchmark.h>
#include <torch/csrc/autograd/autograd.h>

#include "optim/subspace.h"
#include "tests/support/single_param.h"

namespace tersor {
namespace {

using testing::normal;

constexpr double kLr = 0.001;

// One step of a rule on a matrix (rows, columns); the gradient comes from a backward pass that does nothing else.
class Stepper {
 public:
  Stepper(const std::string& rule, const std::string& state, int64_t rows, int64_t columns)
      : weight_(normal({rows, columns}, "w", 0.02).requires_grad_(true)), gradient_(normal({rows, columns}, "g", 0.001)) {
    Diagnostics out;
    OptimizerConfig config;
    const ConfigNode node = parse_config(fmt::format("{{groups: [{{rule: {}, state: {}}}]}}", rule, state), "bench", out);
    read_fields(config, node, out);
    out.throw_if_any();
    optimizer_ = std::make_unique<Optimizer>(std::vector<Param>{{"w", weight_, Role::kMatrix, std::nullopt}}, config, 1);
  }
  void step() {
    ++step_;
    optimizer_->begin_step({step_, step_, step_ - 1, 1000000, 1000000}, kLr, 1);
    optimizer_->begin_micro_batch();
    torch::autograd::backward({weight_}, {gradient_});
    (void)optimizer_->finish_step();
  }
  [[nodiscard]] int64_t state_bytes() const { return optimizer_->state().bytes(); }

 private:
  at::Tensor weight_;
  at::Tensor gradient_;
  std::unique_ptr<Optimizer> optimizer_;
  int64_t step_ = 0;
};

void count(benchmark::State& state, int64_t rows, int64_t columns) {
  const auto numbers = static_cast<double>(rows * columns);
  state.counters["ns_per_param"] =
      benchmark::Counter(numbers * 1e-9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void run_rule(benchmark::State& state, const std::string& rule, const std::string& format, int64_t rows, int64_t columns) {
  Stepper stepper(rule, format, rows, columns);
  stepper.step();  // the first one finds a basis
  for (auto _ : state) stepper.step();
  count(state, rows, columns);
  state.counters["state_bytes_per_param"] = static_cast<double>(stepper.state_bytes()) / static_cast<double>(rows * columns);
}

// The lower bound of every driver: LibTorch's fused AdamW on the tensors alone.
void run_libtorch(benchmark::State& state, int64_t rows, int64_t columns) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> w{normal({rows, columns}, "w", 0.02)}, g{normal({rows, columns}, "g", 0.001)};
  std::vector<at::Tensor> m{at::zeros({rows, columns})}, v{at::zeros({rows, columns})}, t{at::ones({})};
  for (auto _ : state) at::_fused_adamw_(w, g, m, v, {}, t, kLr, 0.9, 0.999, 0, 1e-8, false, false);
  count(state, rows, columns);
}

void run_basis(benchmark::State& state, Decomposition how, int64_t rows, int64_t columns, int64_t rank) {
  const at::Tensor spectrum = at::pow(at::arange(1, rows + 1, at::kFloat), -0.7);
  const at::Tensor g = (normal({rows, rows}, "u", 1 / std::sqrt(static_cast<double>(rows))) * spectrum).mm(normal({rows, columns}, "v"));
  const RandomStream random = random_stream(1, "bench");
  const at::Tensor older = g + 0.1 * g.norm() / std::sqrt(static_cast<double>(g.numel())) * normal({rows, columns}, "older");
  const at::Tensor previous = how == Decomposition::kSubspace ? leading_left_vectors(older, rank, Decomposition::kRandomized, {}, random) : at::Tensor();
  at::Tensor basis;
  for (auto _ : state) basis = leading_left_vectors(g, rank, how, previous, random);
  state.counters["energy"] = (basis.mm(g).norm() / g.norm()).square().item<double>();
}

void run_lapack(benchmark::State& state, int64_t rows, int64_t columns, int64_t rank) {
  const at::Tensor spectrum = at::pow(at::arange(1, rows + 1, at::kFloat), -0.7);
  const at::Tensor g = (normal({rows, rows}, "u", 1 / std::sqrt(static_cast<double>(rows))) * spectrum).mm(normal({rows, columns}, "v"));
  at::Tensor u;
  for (auto _ : state) u = std::get<0>(at::linalg_svd(g, false));
  state.counters["energy"] = (u.slice(1, 0, rank).t().mm(g).norm() / g.norm()).square().item<double>();
}

void add_all() {
  const std::vector<std::array<int64_t, 2>> shapes{{512, 1376}, {2048, 5461}};
  for (const auto& [rows, columns] : shapes) {
    const std::string size = fmt::format("/{}x{}", rows, columns);
    const int64_t r = rows;
    const int64_t c = columns;
    benchmark::RegisterBenchmark(("libtorch_fused_adamw" + size).c_str(), [r, c](benchmark::State& s) { run_libtorch(s, r, c); });
    for (const std::string& name : update_rules().names()) {
      const bool projected = name == "galore" || name == "fira" || name == "apollo";
      const std::string rule = projected ? fmt::format("{{type: {}, rank: {}, refresh: never}}", name, rows / 4) : name;
      for (const std::string format : {"fp32", "int8"})
        benchmark::RegisterBenchmark((name + "/" + format + size).c_str(),
                                     [=](benchmark::State& s) { run_rule(s, rule, format, r, c); });
    }
  }
  const auto add_basis = [](int64_t rows, int64_t columns, int64_t rank) {
    const std::string size = fmt::format("/{}x{}/rank:{}", rows, columns, rank);
    for (const auto& [how, name] : EnumNames<Decomposition>::values)
      benchmark::RegisterBenchmark(("basis/" + std::string(name) + size).c_str(), [=, h = how](benchmark::State& s) {
        run_basis(s, h, rows, columns, rank);
      })->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("basis/lapack_svd" + size).c_str(), [=](benchmark::State& s) { run_lapack(s, rows, columns, rank); })
        ->Unit(benchmark::kMillisecond);
  };
  add_basis(512, 1376, 128);
  add_basis(4096, 11008, 128);
}

}  // namespace
}  // namespace tersor

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  tersor::add_all();
  benchmark::RunSpecifiedBenchmarks();
}
