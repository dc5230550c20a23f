// SLTrain and masked weights, alone and in runs.
#include "core/param/operations.h"
#include "tests/support/resume.h"
#include "tests/support/weights.h"

namespace tersor {
namespace {

using testing::make_weight;
using testing::weight_shape;

at::Tensor values_of(Parameterization& weight) { return weight.params().back().value.detach(); }

TEST_CASE("sltrain: sizes, support and first weight are those of the paper", "[param]") {
  const auto weight = make_weight("{type: sltrain, rank: 4, density: 0.03, alpha: 8}", weight_shape(200, 300));
  const std::vector<Param> params = weight->params();
  REQUIRE(params.size() == 3);
  CHECK(params[0].value.sizes() == at::IntArrayRef{4, 300});
  CHECK(params[1].value.sizes() == at::IntArrayRef{200, 4});
  CHECK(params[2].value.numel() == 1800);
  CHECK(params[1].value.count_nonzero().item<int64_t>() == 0);
  const at::Tensor w = weight->materialize();
  CHECK(w.count_nonzero().item<int64_t>() == 1800);
  // E w² = δ/(3·in), with the standard error of the mean of 1800 squared uniform numbers.
  const double mean = w.square().mean().item<double>();
  CHECK(std::abs(mean / (0.03 / (3 * 300.0)) - 1) < 3 * std::sqrt(0.8 / 1800));
  // A checkpoint holds no positions, and the positions of two weights differ.
  CHECK(weight->kept().size() == 1);
  CHECK(weight->kept()[0].value.numel() == 1);
  WeightShape other = weight_shape(200, 300);
  other.name = "other";
  CHECK_FALSE(at::equal(w != 0, make_weight("{type: sltrain, rank: 4}", other)->materialize() != 0));
}

TEST_CASE("masked: densities are exact, and nothing else exists", "[param]") {
  CHECK(values_of(*make_weight("{type: masked, sparsity: 0.75}", weight_shape(33, 41))).numel() == 338);  // floor(0.25 · 1353)
  const auto blocks = make_weight("{type: masked, sparsity: 0.5, structure: block, block: 4}", weight_shape(16, 32));
  CHECK(values_of(*blocks).numel() == 16 * 16);
  const at::Tensor pattern = (blocks->materialize() != 0).view({4, 4, 8, 4}).to(at::kLong).sum({1, 3});
  CHECK(((pattern == 0) | (pattern == 16)).all().item<bool>());
  const auto pairs = make_weight("{type: masked, structure: two_of_four}", weight_shape(16, 32));
  CHECK(((pairs->materialize() != 0).view({16, 8, 4}).to(at::kLong).sum(2) == 2).all().item<bool>());
  // Begins with the values of the dense weight.
  const at::Tensor dense = make_weight("dense", weight_shape(16, 32))->materialize();
  CHECK(at::equal(blocks->materialize(), dense * (blocks->materialize() != 0)));
  // 2 bytes per position, 4 per row.
  int64_t bytes = 0;
  for (const PackedPart& part : blocks->kept()) bytes += static_cast<int64_t>(part.value.nbytes());
  CHECK(bytes == 2 * 256 + 4 * 17);
}

TEST_CASE("masked: pruning keeps what it is told, and all comes back at zero", "[param]") {
  const auto weight = make_weight("{type: masked, sparsity: 0}", weight_shape(12, 10));
  auto& prunable = dynamic_cast<Prunable&>(*weight);
  const at::Tensor before = weight->materialize().clone();
  const at::Tensor large = prunable.magnitudes() > 0.3;
  const at::Tensor index = prunable.prune(large);
  CHECK(at::equal(weight->materialize(), before * large.view({12, 10})));
  CHECK(at::equal(values_of(*weight), before.flatten().index_select(0, index)));
  const at::Tensor again = prunable.prune(prunable.magnitudes() > 0.6);
  CHECK(again.numel() < index.numel());
  const at::Tensor sparse = weight->materialize().clone();
  const at::Tensor back = prunable.densify();
  CHECK(prunable.density() == 1);
  CHECK(at::equal(weight->materialize(), sparse));
  CHECK((back >= 0).sum().item<int64_t>() == again.numel());

  const auto blocks = make_weight("{type: masked, sparsity: 0.25, structure: block, block: 4}", weight_shape(16, 16));
  auto& by_block = dynamic_cast<Prunable&>(*blocks);
  const at::Tensor scores = by_block.magnitudes();
  CHECK(scores.numel() == 12);
  (void)by_block.prune(scores > scores.median());
  CHECK(values_of(*blocks).numel() == 16 * (scores > scores.median()).sum().item<int64_t>());
}

TEST_CASE("masked: what is missing stays zero in training, and learns after densify", "[param][resume]") {
  const std::string timeline = "timeline=[{do: {type: densify}, when: at 4}]";
  const auto events = testing::check_resumes_from_every_step({"parameterization.method={type: masked, sparsity: 0.5}", "optimizer.weight_decay=0.1", timeline});
  CHECK(events == std::vector<std::string>{"4 densify: every entry of 14 weights is trained again"});
}

TEST_CASE("prune: global density follows its schedule, state goes along, and runs resume", "[param][resume]") {
  for (const std::string scope : {"global", "layer"}) {
    const auto events = testing::check_resumes_from_every_step(
        {"parameterization.method={type: masked, sparsity: 0}", "optimizer.groups=[{match: any, rule: adamw, state: {type: int8, min_size: 0}}]",
         fmt::format("timeline=[{{do: {{type: prune, sparsity: 0.75, scope: {}}}, when: every 2 from 2 until 4}}]", scope)});
    REQUIRE(events.size() == 2);
    CHECK(events[0].starts_with("2 prune: 50.0"));
    CHECK(events[1].starts_with("4 prune: 25.0"));
  }
}

const std::vector<std::string> kBlocks{"model.hidden_size=128", "model.intermediate_size=200", "train.global_batch_size=4", "train.micro_batch_size=2",
                                       "parameterization.method={type: masked, sparsity: 0.5, structure: block, block: 64}"};

TEST_CASE("masked: of blocks no positions are kept, at their edges neither", "[param]") {
  const auto weight = make_weight("{type: masked, sparsity: 0.5, structure: block, block: 64}", weight_shape(200, 300));
  const at::Tensor there = (weight->materialize() != 0);
  CHECK(values_of(*weight).numel() == there.sum().item<int64_t>());
  const at::Tensor counts = at::constant_pad_nd(there.to(at::kLong), {0, 20, 0, 56}).view({4, 64, 5, 64}).sum({1, 3});
  CHECK((counts > 0).sum().item<int64_t>() == 10);
  CHECK(((counts == 0) | (counts == 64 * 64) | (counts == 8 * 64) | (counts == 64 * 44) | (counts == 8 * 44)).all().item<bool>());
  int64_t bytes = 0;
  for (const PackedPart& part : weight->kept()) bytes += static_cast<int64_t>(part.value.nbytes());
  CHECK(bytes == 4 * 10);
  const at::Tensor x = testing::normal_double({3, 300}, "x");
  CHECK(at::allclose(weight->forward(x), x.mm(weight->materialize().t()), 1e-10, 1e-12));
  auto& prunable = dynamic_cast<Prunable&>(*weight);
  const at::Tensor scores = prunable.magnitudes();
  REQUIRE(scores.numel() == 10);
  const at::Tensor before = weight->materialize().clone();
  int64_t block = 0;
  for (int64_t row = 0; row < 200; row += 64) {
    for (int64_t column = 0; column < 300; column += 64) {
      const at::Tensor own = before.slice(0, row, row + 64).slice(1, column, column + 64);
      if ((own != 0).any().item<bool>()) CHECK(scores[block++].item<double>() == Approx(own.square().mean().sqrt().item<double>()));
    }
  }
  (void)prunable.prune(scores > scores.median());
  CHECK(at::allclose(weight->forward(x), x.mm(weight->materialize().t()), 1e-10, 1e-12));
  CHECK(at::equal(weight->materialize(), before * (weight->materialize() != 0)));
  const at::Tensor sparse = weight->materialize().clone();
  (void)prunable.densify();
  CHECK(at::equal(weight->materialize(), sparse));
  CHECK(weight->kept()[0].value.numel() == 0);
}

TEST_CASE("masked: runs with blocks go on from any step, pruned further and trained whole again", "[param][resume]") {
  std::vector<std::string> overrides = kBlocks;
  overrides.emplace_back("timeline=[{do: {type: prune, sparsity: 0.7, scope: layer}, when: at 2}, {do: densify, when: at 4}]");
  const auto events = testing::check_resumes_from_every_step(overrides);
  REQUIRE(events.size() == 2);
  CHECK(events[0].starts_with("2 prune: "));
  CHECK(events[1].starts_with("4 densify: "));
}

TEST_CASE("sltrain: runs go on from any step, before and after the factors are balanced", "[param][resume]") {
  const std::vector<std::string> method{"parameterization.method={type: sltrain, rank: 4, density: 0.1}"};
  for (const std::string dtype : {"fp32", "bf16"}) {
    std::vector<std::string> overrides = method;
    overrides.insert(overrides.end(), {"run.dtype=" + dtype, "timeline=[{do: refactorize, when: at 3}]", "optimizer.update=during_backward"});
    const auto events = testing::check_resumes_from_every_step(overrides);
    CHECK(events == std::vector<std::string>{"3 refactorize: refactorized 14 of 14 weights"});
  }
}

}  // namespace
}  // namespace tersor
