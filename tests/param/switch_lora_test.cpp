#include <cmath>
#include <set>

#include "tests/support/catch.h"
#include "tests/support/weights.h"

namespace tersor {
namespace {

using testing::make_weight;
using testing::normal_double;
using testing::part_of;
using testing::weight_shape;

constexpr int64_t kFreeze = 5;

std::vector<ForgottenSlices> switch_at(Parameterization& weight, double expected, int64_t step, int64_t freeze = kFreeze) {
  const RandomStream random = random_stream(1, "switch", "w", static_cast<uint64_t>(step));
  return dynamic_cast<VectorSwitching&>(weight).switch_vectors(expected, freeze, random);
}

TEST_CASE("switch_lora: begins as the dense weight, with a product of the size of a uniform layer", "[param]") {
  const auto weight = make_weight("{type: switch_lora, rank: 32}", weight_shape(96, 160));
  const at::Tensor dense = make_weight("dense", weight_shape(96, 160))->materialize();
  CHECK(at::allclose(weight->materialize(), dense, 1e-12, 1e-14));
  const double gain = 1 / std::sqrt(3.0);
  const at::Tensor product = dense - part_of(*weight, "w.base");
  CHECK(product.std().item<double>() == Approx(gain / std::sqrt(160)).epsilon(0.03));
  const double of_a = std::pow(std::sqrt(96) * 32 / std::pow(160, 1.5), 0.25) * std::sqrt(gain);
  const double of_b = std::pow(32 / std::sqrt(96 * 160), 0.25) * std::sqrt(gain);
  for (const auto& [part, std] : {std::pair{"w.A", of_a}, {"w.candidates_A", of_a}, {"w.B", of_b}, {"w.candidates_B", of_b}}) {
    CHECK(part_of(*weight, part).std().item<double>() == Approx(std).epsilon(0.03));
    CHECK(part_of(*weight, part).abs().max().item<double>() <= std * std::sqrt(3.0) * (1 + 1e-6));
  }
}

// One factor's vectors and its unused candidates, sorted. They are only moved, never computed, so their bits stay the same.
std::vector<std::vector<double>> vectors(Parameterization& weight, const std::string& factor) {
  const at::Tensor value = part_of(weight, "w." + factor);
  const at::Tensor rows = factor == "A" ? value : value.t();
  const at::Tensor candidates = part_of(weight, "w.candidates_" + factor);
  const at::Tensor slots = part_of(weight, "w.slots_" + factor);
  at::Tensor spare = at::ones({candidates.size(0)}, at::kBool);
  spare.index_fill_(0, slots, false);
  const at::Tensor all = at::cat({rows, candidates.index({spare})}).contiguous();
  std::vector<std::vector<double>> found;
  for (int64_t i = 0; i < all.size(0); ++i) {
    const double* first = all[i].const_data_ptr<double>();
    found.emplace_back(first, first + all.size(1));
  }
  std::sort(found.begin(), found.end());
  return found;
}

TEST_CASE("switch_lora: switches leave W as it is and lose no vector", "[param]") {
  for (const auto& [out, in, rank] : {std::tuple{20, 14, 6}, {14, 21, 7}, {9, 30, 2}, {30, 13, 12}}) {
    INFO(out << " x " << in << ", rank " << rank);
    const auto weight = make_weight(fmt::format("{{type: switch_lora, rank: {}}}", rank), weight_shape(out, in));
    const at::Tensor before = weight->materialize();
    const at::Tensor base = part_of(*weight, "w.base").clone();
    const auto of_a = vectors(*weight, "A");
    const auto of_b = vectors(*weight, "B");
    CHECK(of_a.size() == static_cast<size_t>(std::min(out, in)));
    size_t switched = 0;
    for (int64_t step = 1; step <= 60; ++step) {
      for (const ForgottenSlices& forgotten : switch_at(*weight, 1.7, step, 1)) switched += forgotten.slices.size();
      REQUIRE(at::allclose(weight->materialize(), before, 0, 1e-10));
    }
    CHECK(switched > 3 * of_a.size());  // each factor has cycled through its candidates, and its vectors, more than once
    CHECK((part_of(*weight, "w.base") - base).abs().max().item<double>() > 1e-3);
    CHECK(vectors(*weight, "A") == of_a);
    CHECK(vectors(*weight, "B") == of_b);
  }
}

TEST_CASE("switch_lora: no candidates to spare, or a single vector: nothing is switched", "[param]") {
  for (const auto& [out, in, rank] : {std::tuple{1, 1, 4}, {6, 9, 6}, {6, 9, 100}, {6, 9, 1}}) {
    const auto weight = make_weight(fmt::format("{{type: switch_lora, rank: {}}}", rank), weight_shape(out, in));
    const at::Tensor a = weight->params()[0].value.detach().clone();
    for (int64_t step = 1; step <= 20; ++step) CHECK(switch_at(*weight, 2.5, step).empty());
    CHECK(at::equal(weight->params()[0].value, a));
    CHECK(weight->params()[0].mask.all().item<bool>());
  }
}

TEST_CASE("switch_lora: as many vectors are switched as are expected", "[param]") {
  constexpr int64_t kSteps = 2000;
  for (const double expected : {0.37, 2.6}) {
    const auto weight = make_weight("{type: switch_lora, rank: 64}", weight_shape(80, 90, at::kFloat));
    std::map<std::string, int64_t> counts;
    for (int64_t step = 1; step <= kSteps; ++step)
      for (const ForgottenSlices& forgotten : switch_at(*weight, expected, step))
        counts[forgotten.param] += static_cast<int64_t>(forgotten.slices.size());
    const double share = expected - std::floor(expected);
    const double deviation = std::sqrt(kSteps * share * (1 - share));
    for (const char* name : {"w.A", "w.B"})
      CHECK(static_cast<double>(counts[name]) == Approx(expected * kSteps).margin(3 * deviation));
  }
}

// Follows the paper's text: which vectors may be switched next, derived from what was frozen when.
TEST_CASE("switch_lora: in turn, half a turn apart, never a vector that stands still, at most the spare candidates", "[param]") {
  for (const auto& [rank, spare] : {std::pair{8, 20}, {9, 20}, {16, 2}}) {
    INFO("rank " << rank << ", spare " << spare);
    const auto weight = make_weight(fmt::format("{{type: switch_lora, rank: {}}}", rank), weight_shape(rank + spare, rank + spare + 3));
    int64_t next_a = 0, next_b = rank / 2;
    std::vector<std::pair<int64_t, int64_t>> recent;  // step and how many were switched
    int64_t most = 0, taken = 0;
    for (int64_t step = 1; step <= 200; ++step) {
      std::erase_if(recent, [&](const auto& entry) { return entry.first + kFreeze <= step; });
      int64_t standing = 0;
      for (const auto& [when, many] : recent) standing += many;
      const auto modulo = [r = static_cast<int64_t>(rank)](int64_t x) { return ((x % r) + r) % r; };
      const int64_t cap = std::min({modulo(next_a - standing - next_b), modulo(next_b - standing - next_a), static_cast<int64_t>(spare)});
      const auto forgotten = switch_at(*weight, 100, step);  // as many as possible
      if (cap == 0) {
        CHECK(forgotten.empty());
        continue;
      }
      REQUIRE(forgotten.size() == 2);
      std::vector<int64_t> rows, columns;
      for (int64_t i = 0; i < cap; ++i) rows.push_back(modulo(next_a + i)), columns.push_back(modulo(next_b + i));
      CHECK(forgotten[0].param == "w.B");  // counterparts of A's rows
      CHECK(forgotten[0].slices == rows);
      CHECK(forgotten[1].param == "w.A");
      CHECK(forgotten[1].slices == columns);
      for (int64_t i = 0; i < cap; ++i) {  // candidates in turn too, from the first
        const int64_t slot = (taken + i) % (rank + spare);
        CHECK(part_of(*weight, "w.slots_A")[rows[static_cast<size_t>(i)]].item<int64_t>() == slot);
        CHECK(part_of(*weight, "w.slots_B")[columns[static_cast<size_t>(i)]].item<int64_t>() == slot);
      }
      taken += cap;
      next_a = modulo(next_a + cap), next_b = modulo(next_b + cap);
      recent.emplace_back(step, cap);
      most = std::max(most, cap);
    }
    CHECK(most == std::min<int64_t>(rank / 2, spare));
  }
}

TEST_CASE("switch_lora: gradients that are used are those of before the switch", "[param]") {
  const auto weight = make_weight("{type: switch_lora, rank: 8}", weight_shape(20, 25));
  const at::Tensor x = normal_double({7, 25}, "x");
  const auto gradients = [&] {
    std::vector<at::Tensor> found;
    for (const Param& param : weight->params()) {
      param.value.mutable_grad() = at::Tensor();
      found.push_back(param.value);
    }
    weight->forward(x).sin().sum().backward();
    for (at::Tensor& value : found) value = value.grad().clone();
    return found;
  };
  for (int64_t step = 1; step <= 30; ++step) {
    const auto before = gradients();
    const auto forgotten = switch_at(*weight, 0.9, step);
    const auto after = gradients();
    const std::vector<Param> params = weight->params();
    for (size_t i = 0; i < 2; ++i) {
      const at::Tensor difference = (after[i] - before[i]).abs();
      CHECK((difference * params[i].mask).max().item<double>() < 1e-10);
      for (const ForgottenSlices& f : forgotten)
        if (f.param == params[i].name)
          for (const int64_t slice : f.slices) CHECK(difference.select(*params[i].slice_axis, slice).max().item<double>() > 1e-6);
    }
  }
}

struct Watched {
  Param param;
  std::map<int64_t, int64_t> held_until;  // slice to the last step in which it is frozen
  at::Tensor before;
  at::Tensor slice(const at::Tensor& x, int64_t index) const { return x.select(*param.slice_axis, index); }
};

// Trains for 40 steps with switches until step 25; forgetting, the action's part, is done here.
void train_and_watch(double weight_decay, const std::function<void(const Watched&, const Slots&, int64_t step)>& look) {
  constexpr double kLr = 0.01;
  const auto weight = make_weight("{type: switch_lora, rank: 8, alpha: 8}", weight_shape(20, 25, at::kFloat));
  const auto optimizer = testing::adamw_for(*weight, "fp32", fmt::format(", weight_decay: {}", weight_decay));
  const at::Tensor x = normal_double({7, 25}, "x").to(at::kFloat);
  const at::Tensor mix = normal_double({7, 20}, "mix").to(at::kFloat) * 100;  // ε is negligible beside the gradients
  std::vector<Watched> watched;
  for (const Param& param : weight->params()) watched.push_back({param});
  for (int64_t step = 1; step <= 40; ++step) {
    for (const ForgottenSlices& f : switch_at(*weight, step <= 25 ? 0.7 : 0, step)) {
      optimizer->state().reset(f.param, {.slices = f.slices});
      for (Watched& w : watched)
        if (w.param.name == f.param)
          for (const int64_t slice : f.slices) w.held_until[slice] = step + kFreeze - 1;
    }
    for (Watched& w : watched) w.before = w.param.value.detach().clone();
    optimizer->begin_step({step, step * 10, (step - 1) * 10, 100, 1000}, kLr, 1);
    optimizer->begin_micro_batch();
    (weight->forward(x) * mix).sum().backward();
    REQUIRE(optimizer->finish_step().finite);
    for (const Watched& w : watched) look(w, optimizer->state().open(w.param.name), step);
  }
}

TEST_CASE("switch_lora: counterparts stand still for exactly the steps asked for, and remember nothing", "[param]") {
  std::map<std::string, std::set<int64_t>> ever;
  train_and_watch(0.5, [&](const Watched& w, const Slots& slots, int64_t step) {
    INFO(w.param.name << " at step " << step);
    const at::Tensor moved = (w.param.value.detach() - w.before).abs();
    for (int64_t i = 0; i < 8; ++i) {
      const auto held = w.held_until.find(i);
      const bool still = held != w.held_until.end() && step <= held->second;
      if (still) ever[w.param.name].insert(i);
      CHECK((w.slice(moved, i).max().item<double>() == 0) == still);
      CHECK((w.slice(slots["v"], i).max().item<double>() == 0) == still);
      CHECK((w.slice(slots["m"], i).abs().max().item<double>() == 0) == still);
      // The step count starts over at the switch and goes on while frozen.
      const int64_t since = held == w.held_until.end() ? 0 : held->second - kFreeze;
      CHECK(w.slice(slots["t"], i).item<double>() == static_cast<double>(step - since));
    }
  });
  for (const char* name : {"w.A", "w.B"}) CHECK(ever[name].size() == 8);  // none was left out
}

TEST_CASE("switch_lora: the first step after standing still is 0.522 of a rate", "[param]") {
  // m = 0.1·g and v = 0.001·g² with the bias corrections of step 6.
  const double expected = 0.1 / (1 - std::pow(0.9, 6)) / std::sqrt(0.001 / (1 - std::pow(0.999, 6)));
  REQUIRE(expected == Approx(0.522).margin(0.0005));
  int64_t seen = 0;
  train_and_watch(0, [&](const Watched& w, const Slots&, int64_t step) {
    for (const auto& [slice, last] : w.held_until) {
      if (step != last + 1) continue;
      ++seen;
      const at::Tensor moved = w.slice((w.param.value.detach() - w.before).abs(), slice) / 0.01;
      CHECK(at::allclose(moved, at::full_like(moved, expected), 0, 2e-4));  // weights of order 1 are spaced by 1e-7; the steps are 0.005
    }
  });
  CHECK(seen > 20);
}

TEST_CASE("switch_lora: without freezing, vectors are forgotten and go on learning", "[param]") {
  const auto weight = make_weight("{type: switch_lora, rank: 8}", weight_shape(20, 25));
  CHECK(switch_at(*weight, 3, 1, 0).size() == 2);
  for (const Param& param : weight->params()) CHECK(param.mask.all().item<bool>());
}

TEST_CASE("switch_lora: a copy goes on as the original does, with what stands still", "[param]") {
  const auto weight = make_weight("{type: switch_lora, rank: 8}", weight_shape(20, 25));
  for (int64_t step = 1; step <= 9; ++step) (void)switch_at(*weight, 1.4, step);
  const auto copy = make_weight("{type: switch_lora, rank: 8}", weight_shape(20, 25));
  const std::vector<Param> params = copy->params();  // as an optimizer got them earlier
  copy_weight(*weight, *copy);
  for (int64_t step = 10; step <= 40; ++step) {
    for (size_t i = 0; i < 2; ++i) {
      CHECK(at::equal(params[i].mask, weight->params()[i].mask));
      CHECK(at::equal(params[i].value, weight->params()[i].value));
    }
    (void)switch_at(*weight, 1.4, step);
    (void)switch_at(*copy, 1.4, step);
  }
}

TEST_CASE("switch_lora: changes smaller than the spacing of a bf16 base are taken on average", "[param]") {
  const auto weight = make_weight("{type: switch_lora, rank: 8, alpha: 0.002}", weight_shape(128, 160, at::kBFloat16));
  weight->params()[0].value.detach().fill_(3);  // the switched rows change by 3 − c, c within ±0.6
  weight->params()[1].value.detach().fill_(1);
  weight->assign(at::full({128, 160}, 1.5));
  const at::Tensor before = part_of(*weight, "w.base").to(at::kDouble);
  const auto product = [&] {
    return part_of(*weight, "w.B").to(at::kDouble).mm(part_of(*weight, "w.A").to(at::kDouble)) * (0.002 / 8);
  };
  const at::Tensor old = product();
  REQUIRE(switch_at(*weight, 2, 1).size() == 2);
  const double exact = (old - product()).mean().item<double>();
  CHECK(std::abs(exact) < 0.0039);  // half a spacing: rounded to nearest, nothing would change
  // 20480 entries, each rounded to one of two neighbors 0.0078 apart: the mean's standard deviation is at most 0.00003.
  CHECK((part_of(*weight, "w.base").to(at::kDouble) - before).mean().item<double>() == Approx(exact).margin(1e-4));
}

TEST_CASE("switch_lora: on the device as much as LoRA and a count a vector; candidates in host memory", "[param]") {
  CHECK(testing::mebibytes("{type: switch_lora, rank: 512}", 2048, 2048, "candidates") == Approx(24).margin(0.03));
  CHECK(testing::mebibytes("{type: switch_lora, rank: 512}", 5461, 2048, "candidates") == Approx(50.66).margin(0.03));
  CHECK(testing::mebibytes("{type: switch_lora, rank: 1024}", 11008, 4096, "candidates") == Approx(204).margin(0.04));
  for (const auto& [out, in, rank, mebibytes] : {std::tuple{2048, 2048, 512, 16.0}, {5461, 2048, 512, 29.33}, {11008, 4096, 1024, 118.0}}) {
    const std::string method = fmt::format("{{type: switch_lora, rank: {}}}", rank);
    CHECK(testing::mebibytes(method, out, in) - testing::mebibytes(method, out, in, "candidates") == Approx(mebibytes).margin(0.01));
  }
}

}  // namespace
}  // namespace tersor
