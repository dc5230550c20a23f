#include "core/train/loaded_run.h"
#include "core/train/run_plan.h"
#include "core/train/teachers.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_run.h"

namespace tersor {
namespace {

using testing::records;
using testing::TemporaryFolder;
using testing::tiny_config;

double final_loss(const RunConfig& config) {
  REQUIRE(testing::train(config) == kExitDone);
  return records(config.folder(), "eval").rbegin()->second.at("val/loss").get<double>();
}

// 24 steps on the synthetic language, where a student sees few tokens and its teacher has seen many.
RunConfig student(const TemporaryFolder& folder, const std::string& name, std::vector<std::string> more = {}) {
  more.insert(more.end(), {"run.name=" + name, "train.steps=24", "data.source={type: synthetic, windows: 32}",
                           "data.validation={type: synthetic}"});
  return tiny_config(folder.path(), std::move(more));
}

TEST_CASE("distill: what teachers know helps on little data, and several are the mean of their probabilities", "[train]") {
  const TemporaryFolder folder;
  for (const std::string seed : {"1", "2"})
    (void)final_loss(tiny_config(folder.path(), {"run.name=teacher" + seed, "run.seed=" + seed, "data.source={type: synthetic, seed: 42}", "train.steps=150"}));
  const std::string from = (folder / "teacher1").string();
  const double without = final_loss(student(folder, "without"));
  const double with = final_loss(student(folder, "with", {"distill={from: " + from + ", weight: 0.9, temperature: 2}"}));
  CHECK(with < without - 0.02);

  const RunConfig both = student(folder, "both", {"distill={from: [" + from + ", " + (folder / "teacher2").string() + "]}"});
  const Teachers teachers(both, {}, at::kCPU);
  const at::Tensor tokens = at::arange(32).view({2, 16});
  const kernels::SoftTargets soft = teachers.of(tokens);
  at::Tensor mean = at::zeros({32, 64});
  for (const char* name : {"teacher1", "teacher2"}) mean += at::softmax(load_run(folder / name, at::kCPU).model->logits(tokens).flatten(0, 1).detach(), 1) / 2;
  CHECK(at::allclose(soft.probabilities(3, 20), mean.slice(0, 3, 20), 1e-5, 1e-6));
  CHECK(final_loss(both) < without);
}

TEST_CASE("distill: a teacher's memory and work are planned, and a stopped run goes on bit for bit", "[train]") {
  const TemporaryFolder folder;
  (void)final_loss(tiny_config(folder.path(), {"run.name=teacher", "model.hidden_size=64"}));
  const std::string distill = "distill.from=" + (folder / "teacher").string();
  const RunConfig config = tiny_config(folder.path(), {"run.name=whole", distill});
  const int64_t teacher = load_run(folder / "teacher", at::kMeta).model->bytes();
  CHECK(plan_run(config).largest().memory.peak() >= plan_run(tiny_config(folder.path())).largest().memory.peak() + teacher);
  const double forward = flops_per_token(tiny_config(folder.path(), {"model.hidden_size=64"}), 2) / 3;
  const auto tokens = static_cast<double>(config.total_steps() * config.tokens_per_step());
  CHECK(plan_run(config).flops() == Approx(plan_run(tiny_config(folder.path())).flops() + tokens * forward));
  (void)final_loss(config);
  const auto measured = static_cast<double>(step_memory(config, *build_model(config)).largest().whole.total);
  CHECK(static_cast<double>(plan_run(config).largest().memory.peak()) == Approx(measured).epsilon(0.05));
  const RunConfig again = tiny_config(folder.path(), {"run.name=again", distill, "run.resume=auto"});
  std::filesystem::create_directories(again.folder() / "checkpoints");
  std::filesystem::copy(config.folder() / "checkpoints" / "step-00000003", again.folder() / "checkpoints" / "step-00000003");
  (void)final_loss(again);
  CHECK(testing::checkpoint_sums(config.folder() / "checkpoints" / "step-00000006") == testing::checkpoint_sums(again.folder() / "checkpoints" / "step-00000006"));
}

TEST_CASE("distill: a teacher that cannot teach is refused, with the reason", "[train]") {
  const TemporaryFolder folder;
  (void)final_loss(tiny_config(folder.path(), {"run.name=teacher"}));
  const std::string distill = "distill.from=" + (folder / "teacher").string();
  const auto refusal = [&](std::vector<std::string> words) {
    words.emplace_back("run.name=student");
    return tiny_config(folder.path(), std::move(words));
  };
  CHECK_THROWS_WITH(Trainer(refusal({distill, "model.vocab_size=80"})), Catch::Contains("knows 64 tokens and this run 80"));
  CHECK_THROWS_WITH(Trainer(refusal({"distill.from=" + (folder / "nobody").string()})), Catch::Contains("does not exist"));
  CHECK_THROWS_WITH(Trainer(refusal({"distill.from=[]"})), Catch::Contains("needs a run to learn from"));
}

}  // namespace
}  // namespace tersor
