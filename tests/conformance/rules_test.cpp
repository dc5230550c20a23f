// What every update rule must do, in every state format. A new method is tested here as soon as its file exists.
#include "core/memory/ledger.h"
#include "tests/support/quadratic.h"
#include "tests/support/single_param.h"

namespace tersor {
namespace {

using namespace testing;

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
      for (const SlotSpec& spec : group.rule.build()->slots(shape_of(param))) {
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
    std::map<std::string, float> largest;  // per slot, over parameters: a residual, say, is zero where r is the short side
    for (size_t i = 0; i < problem.params.size(); ++i) {
      const GroupConfig& group = config.groups[config.groups[0].match.matches(problem.params[i]) ? 0 : 1];
      const Slots slots = optimizer.state().open(problem.params[i].name);
      for (const SlotSpec& spec : group.rule.build()->slots({problem.params[i].value.sizes().vec(), std::nullopt})) {
        largest[spec.name] = std::max(largest[spec.name], slots[spec.name].abs().max().item<float>());
        INFO(spec.name << " is declared as kNonNegative, which formats of few bits rely on");
        if (spec.kind == SlotKind::kNonNegative) CHECK(slots[spec.name].min().item<float>() >= 0);
      }
    }
    for (const auto& [slot, value] : largest) {
      INFO(slot);
      CHECK((value > 0 || slot == "period"));  // the period grows only once a basis has settled
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
    if (format != "fp32") return;  // rounding the other way changes an 8-bit code
    for (const int64_t parts : {1, 4}) {
      const Quadratic whole;
      const Quadratic compressed;
      Optimizer one(whole.params, configuration(rule, format, ", accumulate: full"), 1);
      Optimizer other(compressed.params, configuration(rule, format, ", accumulate: compressed, update: during_backward"), 1);
      for (int64_t step = 1; step <= 3; ++step) {
        const StepOutcome a = take_step(one, whole, step, 0.003, parts);
        const StepOutcome b = take_step(other, compressed, step, 0.003, parts);
        CHECK_FALSE(a.norm_is_estimate);
        // For matrices as small as these, an estimate from a sketch of four rows is accurate to a quarter.
        CHECK(std::abs(a.grad_norm - b.grad_norm) < (b.norm_is_estimate ? 0.25 : 1e-5) * a.grad_norm);
      }
      const auto a = weights(whole);
      const auto b = weights(compressed);
      // One is a product of a sum, the other a sum of products: they differ by fp32 rounding, which Adam's normalization may magnify.
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
    // The same operations in another order; with 8-bit state, rounding may choose the neighboring code.
    const double tolerance = format.find("int8") != std::string::npos ? 2e-3 : 2e-6;
    for (size_t i = 0; i < a.size(); ++i) CHECK(at::allclose(a[i], b[i], tolerance, tolerance));
  });
}

TEST_CASE("rules: a fused step of a weight in bf16 is the plain step, rounded by the same draws", "[optim][conformance]") {
  for (const std::string& rule : update_rules().names())
    for (const std::string format : {"fp32", "{type: int8, min_size: 0}"}) {
      INFO(rule << " " << format);
      const auto trained = [&](bool fused) {
        const at::Tensor w = normal({37, 300}, "w").to(at::kBFloat16).requires_grad_(true);
        const std::vector<Param> params{{"w", w, Role::kMatrix, std::nullopt}};
        Optimizer optimizer(params, configuration(rule, format, ", clip_norm: 3, weight_decay: 0.1", params), 1);
        optimizer.set_fused(fused);
        for (int64_t step = 1; step <= 3; ++step) {
          optimizer.begin_step(at_step(step), 0.01, 1);
          optimizer.begin_micro_batch();
          (w * normal({37, 300}, fmt::format("g{}", step))).sum().backward();
          REQUIRE(optimizer.finish_step().finite);
        }
        return w.detach().to(at::kFloat);
      };
      const at::Tensor a = trained(true);
      const at::Tensor b = trained(false);
      CHECK(a.ne(b).sum().item<int64_t>() <= a.numel() / 50);  // an fp32 sum in another order sometimes rounds the other way
      CHECK(at::allclose(a, b, 1.0 / 64, 1e-6));
    }
}

TEST_CASE("rules: a matrix that is updated by parts steps as its parts do", "[optim][conformance]") {
  constexpr int64_t kRows = 1024;  // a multiple of rows_at_once(kColumns)
  constexpr int64_t kColumns = 1024;
  const at::Tensor start = normal({kRows + 300, kColumns}, "start");
  for (const std::string& rule : update_rules().names()) {
    if (!update_rules().find(rule)->build()->elementwise()) continue;
    for (const std::string format : {"fp32", "int8"}) {
      INFO(rule << " " << format);
      const auto trained = [&](int64_t begin, int64_t end) {
        SingleParam part(start.slice(0, begin, end), fmt::format("{}, state: {}", rule, format), 0.01, ", weight_decay: 0.1");
        part.set_fused(false);
        for (int step = 1; step <= 2; ++step) part.step(normal({kRows + 300, kColumns}, fmt::format("gradient {}", step)).slice(0, begin, end));
        return part.weight();
      };
      CHECK(at::equal(trained(0, kRows + 300), at::cat({trained(0, kRows), trained(kRows, kRows + 300)})));
    }
  }
}

TEST_CASE("rules: one that says it is elementwise steps each number by itself", "[optim][conformance]") {
  for (const std::string& name : update_rules().names()) {
    const std::unique_ptr<UpdateRule> rule = update_rules().find(name)->build();
    if (!rule->elementwise()) continue;
    INFO(name);
    const auto slots_of = [&](int64_t rows) {
      Slots slots;
      for (const SlotSpec& spec : rule->slots({{rows, 300}, std::nullopt})) slots.add(spec.name, at::zeros(spec.shape));
      return slots;
    };
    Slots whole = slots_of(6);
    Slots upper = slots_of(2);
    Slots lower = slots_of(4);
    for (int64_t step = 1; step <= 3; ++step) {
      const at::Tensor grad = normal({6, 300}, fmt::format("g{}", step));
      const StepInfo info{.progress = at_step(step), .seed = 1, .param = "w"};
      const auto step_of = [&](const at::Tensor& part, Slots& slots) {
        const Direction d = rule->direction(part, slots, info);
        return d.gain.defined() ? d.value * d.gain : d.value.clone();
      };
      CHECK(at::equal(step_of(grad, whole), at::cat({step_of(grad.slice(0, 0, 2), upper), step_of(grad.slice(0, 2, 6), lower)})));
    }
  }
}

TEST_CASE("rules: a large matrix in bf16 needs room for a part of it alone", "[optim][conformance][memory]") {
  for (const std::string format : {"fp32", "bf16", "int8"}) {
    const at::Tensor w = at::zeros({8192, 1024}, at::kBFloat16).requires_grad_(true);
    const std::vector<Param> params{{"w", w, Role::kEmbedding, std::nullopt}};
    Optimizer optimizer(params, configuration("adamw", format, "", params), 1);
    optimizer.begin_step(at_step(1), 0.1, 1);
    optimizer.begin_micro_batch();
    w.sum().backward();
    reset_memory_peak();
    const int64_t before = memory_now().total;
    REQUIRE(optimizer.finish_step().finite);
    INFO(format);
    CHECK(memory_peak().whole.total - before < 5 * (int64_t{4} << 20) + 1024);  // weight, gradient, moments, step: up to 2²⁰ numbers each
    CHECK(w[8191][1023].item<float>() < -0.09);
  }
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
    const Quadratic same;
    for (size_t i = 0; i < same.params.size(); ++i) same.params[i].value.detach().copy_(problem.params[i].value.detach());
    Optimizer fresh(same.params, configuration(rule, format), 1);
    for (Optimizer* each : {&optimizer, &fresh}) train(*each, each == &fresh ? same : problem, 4, 5, 0.01);
    CHECK(at::equal(problem.params[1].value, same.params[1].value));
  });
}

TEST_CASE("rules: bf16 weights move by less than bf16 can hold", "[optim][conformance]") {
  // Steps of 5e-4 on weights just below 1 are an eighth of bf16's spacing there: rounded to nearest, nothing would move.
  for_each_combination([](const std::string& rule, const std::string& format) {
    const Quadratic problem(at::kBFloat16);
    Optimizer optimizer(problem.params, configuration(rule, format), 1);
    const double before = problem.loss().item<double>();
    train(optimizer, problem, 1, 60, 0.0005);
    CHECK(problem.loss().item<double>() < before);
    CHECK(problem.params[1].value.scalar_type() == at::kBFloat16);
  });
}

}  // namespace
}  // namespace tersor
