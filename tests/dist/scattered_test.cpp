// Weights that are scattered over processes, with threads in place of processes.
#include "core/interop/hugging_face.h"
#include "core/train/scattered_weights.h"
#include "core/train/step_memory.h"
#include "core/train/training_step.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_run.h"
#include "tests/support/world.h"

namespace tersor {
namespace {

using testing::World;

RunConfig config_of(const std::vector<std::string>& more) {
  std::vector<std::string> words{"train.global_batch_size=8", "train.micro_batch_size=2", "train.loss_chunk=512", "model.num_hidden_layers=3"};
  words.insert(words.end(), more.begin(), more.end());
  return testing::tiny_config("/nowhere", words);
}

int64_t weight_bytes(const Llama& model) { return model.bytes(); }

}  // namespace

TEST_CASE("scattered: a model is never whole, and what each process has adds up to one", "[dist]") {
  const RunConfig config = config_of({"parameterization={targets: ['*.mlp.*'], method: {type: lora, rank: 4}}"});
  const auto whole = build_model(config);
  std::map<std::string, at::Tensor> expected;
  int64_t everywhere = 0;
  for (const PackedPart& part : whole->tensors()) {
    expected[part.name] = part.value.detach();
    const bool table = part.name == "model.embed_tokens.weight" || part.name == "lm_head.weight";
    if (table || !rests_at_owner(part.value)) everywhere += static_cast<int64_t>(part.value.nbytes());
  }
  World world(3);
  std::vector<int64_t> bytes(3);
  world.run([&](Communicator& comm) {
    ScatteredWeights scattered(shapes_of(config), comm);
    const auto model = build_model(config, at::kCPU, &scattered);
    scattered.attach(*model);
    bytes[static_cast<size_t>(comm.rank())] = weight_bytes(*model);
    for (const PackedPart& part : model->tensors())
      if (is_here(part.value)) TERSOR_CHECK(at::equal(part.value, expected.at(part.name)), "{}", part.name);
    scattered.gather();
    TERSOR_CHECK(weight_bytes(*model) == weight_bytes(*whole), "whole");
    for (const PackedPart& part : model->tensors()) TERSOR_CHECK(at::equal(part.value, expected.at(part.name)), "{}", part.name);
    scattered.attach(*model);
    TERSOR_CHECK(weight_bytes(*model) == bytes[static_cast<size_t>(comm.rank())], "scattered again");
  });
  CHECK(bytes[0] + bytes[1] + bytes[2] == weight_bytes(*whole) + 2 * everywhere);
  for (const int64_t own : bytes)
    CHECK(static_cast<double>(own - everywhere) < 0.4 * static_cast<double>(weight_bytes(*whole) - everywhere));
}

TEST_CASE("scattered: large vectors are loaded as everything is", "[dist]") {
  const RunConfig config = config_of({"model={intermediate_size: 20000, mlp_bias: true, hidden_size: 8, num_attention_heads: 4}"});
  const auto whole = build_model(config);
  const testing::TemporaryFolder folder;
  for (const auto& linear : whole->linears()) linear->bias().defined() ? linear->bias().detach().fill_(3) : at::Tensor();
  (void)write_safetensors(folder / "model.safetensors", dense_weights(*whole));
  World world(2);
  world.run([&](Communicator& comm) {
    ScatteredWeights scattered(shapes_of(config), comm);
    const auto model = build_model(config, at::kCPU, &scattered);
    load_weights(folder.path(), *model);
    scattered.attach(*model);
    TERSOR_CHECK(model->bytes() < whole->bytes(), "not scattered");
    scattered.gather();
    const auto expected = whole->tensors();
    const auto all = model->tensors();
    for (size_t i = 0; i < all.size(); ++i) TERSOR_CHECK(at::equal(all[i].value, expected[i].value), "{}", all[i].name);
  });
}

TEST_CASE("scattered: steps are those of one process, whatever is frozen, tied or computed again", "[dist]") {
  World world(2);
  for (const std::string more : {"train.recompute=none", "train.recompute=block", "train.recompute=mlp", "model.tie_word_embeddings=true", "frozen"})
    for (const std::string update : {"after_backward", "during_backward"}) {
      INFO(more << " " << update);
      const bool frozen = more == "frozen";
      const RunConfig config = config_of({frozen ? "run.seed=2" : more, "optimizer.update=" + update, "optimizer.accumulate=full"});
      const auto train = [&](Llama& model, const Processes& processes) {
        Optimizer optimizer(model.params(), config.optimizer, 1, processes);
        if (frozen) optimizer.set_frozen("model.embed_tokens.weight", true);
        model.set_recompute(config.train.recompute);
        for (int64_t step = 1; step <= 3; ++step) {
          const auto read = [&](int64_t i) {
            const at::Tensor tokens = at::arange(2 * 17, at::kLong).mul(3 + 2 * i + step).remainder(64).view({2, 17});
            return Batch{tokens.slice(1, 0, 16).contiguous(), tokens.slice(1, 1, 17).contiguous()};
          };
          const auto done = training_step(model, optimizer, {.progress = {.step = step, .tokens = 64 * step, .tokens_before = 64 * (step - 1), .total_steps = 3},
                                                             .lr = 0.01, .num_micro_batches = 2, .num_targets = 64, .read = read});
          TERSOR_CHECK(done->outcome.finite, "finite");
        }
      };
      const auto whole = build_model(config);
      train(*whole, {});
      world.run([&](Communicator& comm) {
        ScatteredWeights scattered(shapes_of(config), comm);
        const auto model = build_model(config, at::kCPU, &scattered);
        scattered.attach(*model);
        const int64_t bytes = weight_bytes(*model);
        train(*model, {.comm = &comm, .shard = Shard::kWeights});
        scattered.rest();
        TERSOR_CHECK(weight_bytes(*model) == bytes, "weights were left behind");
        scattered.gather();
        const auto expected = whole->tensors();
        const auto all = model->tensors();
        for (size_t i = 0; i < all.size(); ++i) TERSOR_CHECK(at::equal(all[i].value, expected[i].value), "{}", all[i].name);
      });
    }
}

TEST_CASE("scattered: the plan has one copy of the weights, and two blocks at a time", "[dist][plan]") {
  RunConfig config = config_of({"model.num_hidden_layers=40", "train.global_batch_size=64", "train.micro_batch_size=1", "optimizer.groups=[{match: any, rule: sgd}]"});
  const auto peak = [&](Shard shard) {
    const auto comm = on_paper(0, 8);
    Llama shapes = shapes_of(config);
    return step_memory(config, shapes, {.comm = comm.get(), .shard = shard}).largest();
  };
  const Llama shapes = shapes_of(config);
  const auto weights = static_cast<double>(shapes.bytes());
  const double tables = 2 * 64 * 32 * 4;
  CHECK(static_cast<double>(peak(Shard::kGradients).most_of(Segment::kWeights)) == Approx(weights));
  const double block = (weights - tables) / 40;
  CHECK(static_cast<double>(peak(Shard::kWeights).most_of(Segment::kWeights)) < tables + 40 * block / 8 + 3 * block);
}

}  // namespace tersor
