// What a step costs: every rule of the registry through the driver, on one matrix, against LibTorch's own AdamW, and the ways
// to find a basis. scripts/bench runs it, followed by the authors' packages on the same matrices.
//
// A step is the driver's: from the gradient's arrival (its norm) to the changed weight, without the backward pass and without
// autograd's copy of the gradient. ns_per_param is the mean of one repetition, and ns_finish_step the part of it that
// optimizer.step() does in torch, without the norm. Of several repetitions, `min` is the one least disturbed by other work on the
// machine. Projected rules are timed without a refresh of the basis; ns_amortised includes one in 200 steps. bytes_per_param is the
// least that must pass between processor and memory, counted from the algorithm, not measured: the weight read and written, the
// gradient once for each pass over it, the state read and written.
#include <ATen/ops/_fused_adamw.h>
#include <benchmark/benchmark.h>
#include <torch/csrc/autograd/variable.h>

#include <chrono>

#include "optim/subspace.h"
#include "tests/support/single_param.h"

namespace tersor {
namespace {

using testing::normal;

constexpr double kLr = 0.001;
constexpr double kRefreshPeriod = 200;
constexpr double kWeightBytes = 8;  // read and written

class Stopwatch {
 public:
  [[nodiscard]] double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

struct Shape {
  int64_t rows;
  int64_t columns;
  int64_t rank;
  [[nodiscard]] double numbers() const { return static_cast<double>(rows * columns); }
  [[nodiscard]] std::string name() const { return fmt::format("/{}x{}", rows, columns); }
};

// One step of a rule on a matrix.
class Stepper {
 public:
  Stepper(const std::string& rule, const std::string& state, const Shape& shape)
      : weight_(normal({shape.rows, shape.columns}, "w", 0.02).requires_grad_(true)),
        gradient_(normal({shape.rows, shape.columns}, "g", 0.001)) {
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
    weight_.mutable_grad() = gradient_;  // as autograd does at the end of a backward pass
    (*torch::autograd::impl::post_acc_grad_hooks(weight_))(weight_);
    const Stopwatch watch;
    (void)optimizer_->finish_step();
    finishing_ += watch.seconds();
  }
  // Seconds that finish_step has taken since the last call: all but the norm, which is taken when the gradient arrives.
  double take_finishing() { return std::exchange(finishing_, 0); }
  [[nodiscard]] double state_bytes() const { return static_cast<double>(optimizer_->state().bytes()); }

 private:
  at::Tensor weight_;
  at::Tensor gradient_;
  std::unique_ptr<Optimizer> optimizer_;
  int64_t step_ = 0;
  double finishing_ = 0;
};

// Passes of a step over the gradient, including the one for its norm; two more if it is projected and measured by row.
double gradient_passes(const std::string& rule) { return rule == "galore" || rule == "adamw" ? 2 : rule == "fira" || rule == "apollo" ? 4 : 0; }

std::string with_options(const std::string& rule, const Shape& shape, const std::string& refresh) {
  const bool projected = rule == "galore" || rule == "fira" || rule == "apollo";
  return projected ? fmt::format("{{type: {}, rank: {}, refresh: {}}}", rule, shape.rank, refresh) : rule;
}

// Seconds of a step with a refresh.
double refresh_seconds(const std::string& rule, const std::string& format, const Shape& shape) {
  Stepper stepper(with_options(rule, shape, "every 1"), format, shape);
  double least = 1e30;
  for (int i = 0; i < (shape.numbers() < 1e7 ? 5 : 1); ++i) {
    const Stopwatch watch;
    stepper.step();
    least = std::min(least, watch.seconds());
  }
  return least;
}

void run_rule(benchmark::State& state, const std::string& rule, const std::string& format, const Shape& shape, bool refreshes) {
  Stepper stepper(with_options(rule, shape, "never"), format, shape);
  stepper.step();  // the first step finds a basis
  (void)stepper.take_finishing();
  const Stopwatch watch;
  for (auto _ : state) stepper.step();
  const double step = watch.seconds() / static_cast<double>(state.iterations());
  state.counters["ns_per_param"] = step * 1e9 / shape.numbers();
  state.counters["ns_finish_step"] = stepper.take_finishing() / static_cast<double>(state.iterations()) * 1e9 / shape.numbers();
  const double state_bytes = stepper.state_bytes() / shape.numbers();
  state.counters["state_bytes_per_param"] = state_bytes;
  if (gradient_passes(rule) > 0)
    state.counters["bytes_per_param"] = kWeightBytes * (rule == "fira" ? 2 : 1) + 4 * gradient_passes(rule) + 2 * state_bytes;
  if (!refreshes) return;
  static std::map<std::string, double> known;  // measured once, not once per repetition
  const std::string key = rule + format + shape.name();
  if (!known.contains(key)) known[key] = refresh_seconds(rule, format, shape);
  state.counters["refresh_ms"] = (known[key] - step) * 1e3;
  state.counters["ns_amortised"] = (step + std::max(0.0, known[key] - step) / kRefreshPeriod) * 1e9 / shape.numbers();
}

// The reference: LibTorch's fused AdamW on the tensors alone, without a norm and without a driver.
void run_libtorch(benchmark::State& state, const Shape& shape) {
  const at::NoGradGuard no_grad;
  const std::vector<int64_t> sizes{shape.rows, shape.columns};
  std::vector<at::Tensor> w{normal(sizes, "w", 0.02)}, g{normal(sizes, "g", 0.001)};
  std::vector<at::Tensor> m{at::zeros(sizes)}, v{at::zeros(sizes)}, t{at::ones({})};
  const Stopwatch watch;
  for (auto _ : state) at::_fused_adamw_(w, g, m, v, {}, t, kLr, 0.9, 0.999, 0, 1e-8, false, false);
  state.counters["ns_per_param"] = watch.seconds() / static_cast<double>(state.iterations()) * 1e9 / shape.numbers();
  state.counters["state_bytes_per_param"] = 8;
  state.counters["bytes_per_param"] = kWeightBytes + 4 + 2 * 8;
}

// A gradient with singular values of about i^−0.7, as random factors make them.
at::Tensor decaying(const Shape& shape) {
  const at::Tensor spectrum = at::pow(at::arange(1, shape.rows + 1, at::kFloat), -0.7);
  return (normal({shape.rows, shape.rows}, "u", 1 / std::sqrt(static_cast<double>(shape.rows))) * spectrum)
      .mm(normal({shape.rows, shape.columns}, "v"));
}

double energy(const at::Tensor& basis, const at::Tensor& g) { return (basis.mm(g).norm() / g.norm()).square().item<double>(); }

void run_basis(benchmark::State& state, Decomposition how, const Shape& shape) {
  const at::Tensor g = decaying(shape);
  const RandomStream random = random_stream(1, "bench");
  at::Tensor previous;
  if (how == Decomposition::kSubspace) {
    const at::Tensor noise = normal(g.sizes(), "older", 0.1 * g.norm().item<double>() / std::sqrt(shape.numbers()));  // 10 % apart
    previous = left_basis(g + noise, shape.rank, Decomposition::kRandomized, {}, random);
  }
  at::Tensor basis;
  for (auto _ : state) basis = left_basis(g, shape.rank, how, previous, random);
  state.counters["energy"] = energy(basis, g);
}

void run_lapack(benchmark::State& state, const Shape& shape) {
  const at::Tensor g = decaying(shape);
  at::Tensor u;
  for (auto _ : state) u = std::get<0>(at::linalg_svd(g, false));
  state.counters["energy"] = energy(u.slice(1, 0, shape.rank).t(), g);
}

template <class Run>
benchmark::internal::Benchmark* add(const std::string& name, Run run) {
  return benchmark::RegisterBenchmark(name.c_str(), run)->UseRealTime()->ComputeStatistics("min", [](const std::vector<double>& v) {
    return *std::min_element(v.begin(), v.end());
  });
}

void add_all() {
  for (const Shape& shape : {Shape{512, 1376, 128}, Shape{1376, 512, 128}, Shape{4096, 11008, 512}}) {
    add("libtorch_fused_adamw" + shape.name(), [=](benchmark::State& s) { run_libtorch(s, shape); });
    for (const std::string& rule : update_rules().names())
      for (const std::string format : {"fp32", "bf16", "int8"}) {
        const bool refreshes = (rule == "galore" || rule == "fira") && format == "fp32";
        add(rule + "/" + format + shape.name(), [=](benchmark::State& s) { run_rule(s, rule, format, shape, refreshes); });
      }
  }
  for (const Shape& shape : {Shape{512, 1376, 128}, Shape{4096, 11008, 512}, Shape{4096, 11008, 1024}}) {
    const std::string size = fmt::format("{}/rank:{}", shape.name(), shape.rank);
    for (const auto& [how, name] : EnumNames<Decomposition>::values)
      add(fmt::format("basis/{}{}", name, size), [=, h = how](benchmark::State& s) { run_basis(s, h, shape); })->Unit(benchmark::kMillisecond);
    add("basis/lapack_svd" + size, [=](benchmark::State& s) { run_lapack(s, shape); })->Unit(benchmark::kMillisecond);
  }
}

}  // namespace
}  // namespace tersor

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  tersor::add_all();
  benchmark::RunSpecifiedBenchmarks();
}
