// The ledger counts live bytes, and what they are for.
#include "core/memory/ledger.h"

#include "tests/support/catch.h"
#include "tests/support/tiny_run.h"

namespace tersor {
namespace {

TEST_CASE("ledger: allocations are counted where they belong, and no longer when they are gone", "[memory]") {
  const MemoryUse before = memory_now();
  {
    const MemoryScope scope(Segment::kWeights);
    const at::Tensor w = at::empty({1000}, at::kFloat);
    const MemoryUse with = memory_now();
    CHECK(with.of(Segment::kWeights) - before.of(Segment::kWeights) == 4000);
    CHECK(with.total - before.total == 4000);
    book(w.slice(0, 0, 10), Segment::kGradients);  // the whole storage moves, whichever view is given
    CHECK(memory_now().of(Segment::kGradients) - before.of(Segment::kGradients) == 4000);
    CHECK(memory_now().of(Segment::kWeights) == before.of(Segment::kWeights));
  }
  CHECK(memory_now().total == before.total);
  CHECK(memory_now().of(Segment::kGradients) == before.of(Segment::kGradients));
}

TEST_CASE("ledger: the peak is remembered as it was", "[memory]") {
  reset_memory_peak();
  const int64_t before = memory_peak().whole.total;
  { const at::Tensor large = at::empty({1 << 20}, at::kByte); }
  const at::Tensor small = at::empty({100}, at::kByte);
  CHECK(memory_peak().whole.total - before == 1 << 20);
  reset_memory_peak();
  CHECK(memory_peak().whole.total - before == 100);
}

TEST_CASE("ledger: a run's weights and state are what the run says they are, and gradients are freed as they should be", "[memory]") {
  const testing::TemporaryFolder folder;
  const auto step = [&](const std::string& name, std::vector<std::string> more) {
    more.insert(more.end(), {"run.name=" + name, "evaluation.every=never", "train.micro_batch_size=8"});
    const RunConfig config = testing::tiny_config(folder.path(), more);
    REQUIRE(testing::train(config) == kExitDone);
    Json all = testing::records(config.folder(), "step").at(4);
    all.update(testing::records(config.folder(), "memory").at(0));
    return all;
  };
  const Json after = step("after", {"optimizer.clip_norm=~"});
  CHECK(after["mem/at_peak/weights"] == after["mem/weights_bytes"]);
  CHECK(after["mem/at_peak/optimizer"] == after["mem/optimizer_bytes"]);

  const Json bf16 = step("bf16", {"run.dtype=bf16"});
  CHECK(bf16["mem/weights_bytes"].get<int64_t>() * 2 == after["mem/weights_bytes"].get<int64_t>());
  CHECK(bf16["mem/at_peak/weights"] == bf16["mem/weights_bytes"]);

  const Json during = step("during", {"optimizer.clip_norm=~", "optimizer.update=during_backward"});
  CHECK(during["mem/allocated_peak_bytes"].get<int64_t>() <= after["mem/allocated_peak_bytes"].get<int64_t>());

  const Json block = step("block", {"optimizer.clip_norm=~", "train.recompute=block", "model.num_hidden_layers=6"});
  const Json none = step("none", {"optimizer.clip_norm=~", "model.num_hidden_layers=6"});
  CHECK(block["mem/at_peak/activations"].get<double>() < 0.5 * none["mem/at_peak/activations"].get<double>());
}

TEST_CASE("ledger: beginning, saving and going on need no more than a step", "[memory]") {
  const testing::TemporaryFolder folder;
  // Weights and state outweigh all else, so that a second copy of either would show.
  const std::vector<std::string> words{"model.vocab_size=4096", "model.hidden_size=64", "train.micro_batch_size=1", "train.global_batch_size=1",
                                       "train.loss_chunk=4", "evaluation.every=never", "checkpoint.every=every 2", "optimizer.clip_norm=~",
                                       "optimizer.update=during_backward"};
  const auto of_type = [&](const std::string& dtype) {
    std::vector<std::string> more = words;
    more.insert(more.end(), {"run.dtype=" + dtype, "run.name=" + dtype, "run.resume=auto"});
    return testing::tiny_config(folder.path(), more);
  };
  for (const std::string dtype : {"fp32", "bf16"}) {
    INFO(dtype);
    const RunConfig config = of_type(dtype);
    reset_memory_peak();
    const auto fresh = std::make_unique<Trainer>(config);
    const int64_t of_beginning = memory_peak().whole.total;
    REQUIRE(fresh->run() == kExitDone);  // every step resets the peak, so it covers the last step and the save after it
    const int64_t of_saving = memory_peak().whole.total;
    const auto of_step = testing::records(config.folder(), "step").at(6)["mem/allocated_peak_bytes"].get<int64_t>();
    CHECK(of_beginning <= of_step);
    CHECK(of_saving == of_step);
  }
  for (const std::string dtype : {"fp32", "bf16"}) {
    INFO(dtype);
    const RunConfig config = of_type(dtype);
    const int64_t before = memory_now().total;
    reset_memory_peak();
    const Trainer resumed(config);
    const int64_t of_loading = memory_peak().whole.total - before;
    const Json step = testing::records(config.folder(), "step").at(6);
    CHECK(of_loading <= step["mem/allocated_peak_bytes"].get<int64_t>());
    CHECK(of_loading >= step["mem/at_peak/weights"].get<int64_t>() + step["mem/at_peak/optimizer"].get<int64_t>());
  }
}

}  // namespace
}  // namespace tersor
