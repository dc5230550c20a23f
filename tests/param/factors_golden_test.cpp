// Factored weights against trajectories computed from their equations in double: tests/golden/factors.txt, made by
// scripts/make_goldens.py. The initial values are rebuilt here from the same formula; the optimizer trains in fp32.
#include <fstream>
#include <sstream>

#include "tests/support/catch.h"
#include "tests/support/source_dir.h"
#include "tests/support/weights.h"

namespace tersor {
namespace {

constexpr int64_t kOut = 6, kIn = 5, kTokens = 7, kRank = 2;
constexpr int64_t kSteps = 16;
constexpr double kRate = 0.01;
// Weights of order 1, rounded by up to 6e-8 in each of 16 steps.
constexpr double kBound = 1e-6;

// ((31 i² + 17 i + 101 k) mod 1009 − 504) / 2048: exact in fp32.
at::Tensor matrix(int64_t k, at::IntArrayRef shape) {
  at::Tensor x = at::empty(shape, at::kFloat);
  for (int64_t i = 0; i < x.numel(); ++i)
    x.view({-1})[i] = static_cast<double>((31 * i * i + 17 * i + 101 * k) % 1009 - 504) / 2048;
  return x;
}

// Lines "method key numbers…".
std::map<std::string, std::vector<double>> read_golden(const std::string& method) {
  std::ifstream file(testing::source_dir() + "/tests/golden/factors.txt");
  REQUIRE(file);
  std::map<std::string, std::vector<double>> found;
  for (std::string text; std::getline(file, text);) {
    std::istringstream line(text);
    std::string name, key;
    line >> name >> key;
    if (name != method) continue;
    std::vector<double> numbers;
    for (double number = 0; line >> number;) numbers.push_back(number);
    if (key == "loss") key = fmt::format("loss {}", numbers.at(0));
    found[key] = numbers;
  }
  REQUIRE(found.size() == kSteps + 3);
  return found;
}

// The positions of the values are part of the golden data: they follow from the seed, and a change would break every checkpoint.
constexpr std::array<int64_t, 9> kSupport{0, 1, 6, 9, 10, 13, 22, 27, 28};

void set_values(Parameterization& weight) {
  const at::Tensor values = weight.params()[2].value.detach();
  weight.params()[1].value.detach().zero_();
  values.fill_(1);
  const at::Tensor support = at::tensor(at::ArrayRef<int64_t>(kSupport.data(), kSupport.size()), at::kLong);
  REQUIRE(at::equal(weight.materialize().view({-1}).nonzero().view({-1}), support));
  values.copy_(matrix(5, {values.numel()}));
}

void check_trajectory(const std::string& golden_name, const std::string& method, const at::Tensor& b, int64_t merge_after) {
  INFO(golden_name);
  const auto golden = read_golden(golden_name);
  const auto weight = testing::make_weight(method, testing::weight_shape(kOut, kIn, at::kFloat));
  const at::Tensor value_a = weight->params()[0].value.detach();
  const at::Tensor value_b = weight->params()[1].value.detach();
  if (golden_name == "lora") weight->assign(matrix(2, {kOut, kIn}));
  if (golden_name == "sltrain") set_values(*weight);
  value_a.copy_(matrix(3, {kRank, kIn}));
  value_b.copy_(b);
  const auto optimizer = testing::adamw_for(*weight);
  const at::Tensor x = matrix(0, {kTokens, kIn});
  const at::Tensor target = x.mm(matrix(1, {kOut, kIn}).t());
  for (int64_t step = 1; step <= kSteps; ++step) {
    optimizer->begin_step({step, step, step - 1, kSteps, kSteps}, kRate, 1);
    optimizer->begin_micro_batch();
    const at::Tensor loss = 0.5 * (weight->forward(x) - target).square().sum();
    loss.backward();
    CHECK(loss.item<double>() == Approx(golden.at(fmt::format("loss {}", step)).at(1)).epsilon(kBound));
    (void)optimizer->finish_step();
    if (step != merge_after) continue;
    dynamic_cast<Mergeable&>(*weight).merge(random_stream(1, "merge"));
    value_a.copy_(matrix(6, {kRank, kIn}));
    for (const Param& param : optimizer->params()) (void)optimizer->state().reset(param.name);
  }
  for (const PackedPart& part : tensors_of(*weight)) {
    INFO(part.name);
    if (part.name == "w.support") continue;  // a key
    const at::Tensor expected = at::tensor(golden.at(part.name.substr(2)), at::kDouble).view(part.value.sizes());
    CHECK((part.value.to(at::kDouble) - expected).abs().max().item<double>() < kBound);
  }
}

TEST_CASE("low_rank, lora, sltrain: train as their equations say, over a merge too", "[param][golden]") {
  check_trajectory("low_rank", "{type: low_rank, rank: 2}", matrix(4, {kOut, kRank}), 0);
  check_trajectory("low_rank_alpha", "{type: low_rank, rank: 2, alpha: 3}", matrix(4, {kOut, kRank}), 0);
  check_trajectory("lora", "{type: lora, rank: 2, alpha: 4}", at::zeros({kOut, kRank}), 8);
  check_trajectory("sltrain", "{type: sltrain, rank: 2, alpha: 3, density: 0.3}", matrix(4, {kOut, kRank}), 0);
}

}  // namespace
}  // namespace tersor
