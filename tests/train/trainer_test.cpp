#include "core/data/token_file.h"
#include "core/train/checkpoint.h"
#include "core/train/evaluate.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_run.h"
#include "tests/support/warnings.h"
#include "tests/support/worst.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using testing::checkpoint_sums;
using testing::keep_worst;
using testing::records;
using testing::TemporaryFolder;
using testing::tiny_config;

std::vector<double> losses(const fs::path& run) {
  std::vector<double> all;
  for (const auto& [step, record] : records(run, "step")) all.push_back(record["train/loss"].get<double>());
  return all;
}

// Losses of a run with these overrides.
std::vector<double> run_losses(const std::vector<std::string>& overrides) {
  const TemporaryFolder folder;
  const RunConfig config = tiny_config(folder.path(), overrides);
  REQUIRE(testing::train(config) == kExitDone);
  return losses(config.folder());
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) keep_worst(worst, std::abs(a[i] - b[i]) / std::abs(a[i]));
  return worst;
}

TEST_CASE("trainer: the synthetic language is learnt", "[train]") {
  const std::vector<double> all = run_losses({"train.steps=120", "evaluation.every=never", "optimizer.lr=0.02"});
  CHECK(all.front() > 4.0);  // log 64 = 4.16
  CHECK(all.back() < 2.6);
}

TEST_CASE("trainer: how a batch is cut into micro-batches does not matter", "[train]") {
  // fp32 sums in a different order: a relative error of 1e-6 per step, growing slowly.
  const std::vector<double> whole = run_losses({"train.micro_batch_size=8"});
  CHECK(largest_difference(whole, run_losses({"train.micro_batch_size=1"})) < 2e-5);
  CHECK(largest_difference(whole, run_losses({"train.loss_chunk=1000000"})) < 2e-5);
}

TEST_CASE("trainer: updating during backward gives the same run, bit for bit", "[train]") {
  const std::vector<std::string> base{"optimizer.clip_norm=~"};
  CHECK(run_losses(base) == run_losses({"optimizer.clip_norm=~", "optimizer.update=during_backward"}));
}

TEST_CASE("trainer: the seed decides the run, and nothing else does", "[train]") {
  CHECK(run_losses({}) == run_losses({}));
  CHECK(run_losses({}) != run_losses({"run.seed=7"}));
}

TEST_CASE("trainer: bf16 follows fp32", "[train]") {
  const std::vector<double> exact = run_losses({"train.steps=40"});
  // bf16 carries 8 bits through each layer; after 40 steps the curves are at most a few percent apart.
  CHECK(largest_difference(exact, run_losses({"train.steps=40", "run.dtype=bf16"})) < 0.05);
}

TEST_CASE("trainer: a gradient that is not finite stops the run before weights change, or is skipped", "[train]") {
  const TemporaryFolder folder;
  const std::vector<std::string> broken{"optimizer.lr=1e30", "optimizer.clip_norm=~", "evaluation.every=never", "schedule={type: constant, warmup: 0}"};
  CHECK(testing::train(tiny_config(folder.path(), broken)) == kExitFailed);
  CHECK(records(folder / "tiny", "end").begin()->second["status"] == "failed");
}

// Makes a weight infinite at its first step, and restores it at the next.
class Poison final : public Action {
 public:
  struct Config {
    void fields(FieldVisitor&) {}
  };
  explicit Poison(const Config&) {}
  [[nodiscard]] Phase phase() const override { return Phase::kBeforeUpdate; }
  std::string run(RunContext& context) const override {
    const at::NoGradGuard no_grad;
    const at::Tensor value = context.model.params().back().value.flatten()[0];
    const at::Tensor was = value.clone();
    value.copy_(kept_.defined() ? kept_ : at::full({}, std::numeric_limits<double>::infinity()));
    kept_ = was;
    return "";
  }

 private:
  mutable at::Tensor kept_;  // kept from step to step, which no real action may do
};
const bool registered = actions().add<Poison>("poison_of_a_test", "no source");

TEST_CASE("trainer: a step whose gradient is not finite is skipped, and the run goes on", "[train]") {
  const TemporaryFolder folder;
  for (const std::string update : {"after_backward", "during_backward"}) {
    INFO(update);
    const std::vector<std::string> options{"optimizer.update=" + update, "run.name=" + update, "optimizer.on_nonfinite=skip", "checkpoint.every=never"};
    const RunConfig clean = tiny_config(folder / "clean", options);
    REQUIRE(testing::train(clean) == kExitDone);
    std::vector<std::string> poisoned = options;
    poisoned.emplace_back("timeline=[{do: poison_of_a_test, when: every 1 from 3 until 4}]");
    const RunConfig config = tiny_config(folder / "poisoned", poisoned);
    REQUIRE(testing::train(config) == kExitDone);
    const auto steps = records(config.folder(), "step");
    const auto expected = records(clean.folder(), "step");
    for (const auto& [step, record] : steps) CHECK(record.contains("skipped") == (step == 3));
    CHECK(steps.at(2)["train/loss"] == expected.at(2)["train/loss"]);
    CHECK(steps.at(3)["train/loss"].is_null());
    CHECK(steps.at(6)["train/loss"].get<double>() == Approx(expected.at(6)["train/loss"].get<double>()).epsilon(0.1));
  }
}

TEST_CASE("trainer: a run that ends by weights that are not finite names one", "[train]") {
  const TemporaryFolder folder;
  testing::Warnings warnings;
  CHECK(testing::train(tiny_config(folder.path(), {"timeline=[{do: poison_of_a_test, when: at 3}]", "checkpoint.every=never"})) == kExitFailed);
  CHECK_THAT(warnings.take(), Catch::Contains("is not finite either"));
}

class Breaks final : public Action {
 public:
  struct Config {
    void fields(FieldVisitor&) {}
  };
  explicit Breaks(const Config&) {}
  std::string run(RunContext&) const override { throw std::runtime_error("it broke"); }
};
const bool breaks_registered = actions().add<Breaks>("breaks_of_a_test", "no source");

// Replaces a weight's tensors without telling the optimizer.
class Forgets final : public Action {
 public:
  struct Config {
    void fields(FieldVisitor&) {}
  };
  explicit Forgets(const Config&) {}
  std::string run(RunContext& context) const override {
    context.model.linears().front()->reparameterize(Choice<parameterizations>("dense"));
    return "done";
  }
};
const bool forgets_registered = actions().add<Forgets>("forgets_of_a_test", "no source");

TEST_CASE("trainer: an action whose parameters would never learn is told", "[train]") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(testing::train(tiny_config(folder.path(), {"timeline=[{do: forgets_of_a_test, when: at 3}]"})),
                    Catch::Contains("action 'forgets_of_a_test', step 3: 'model.layers.0.self_attn.q_proj.weight' is no longer what the optimizer updates"));
}

TEST_CASE("trainer: a run that an error ends is recorded as failed, once, and the error is told", "[train]") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(testing::train(tiny_config(folder.path(), {"timeline=[{do: breaks_of_a_test, when: at 3}]"})), Catch::Contains("it broke"));
  const std::string metrics = read_text(folder / "tiny" / "metrics.jsonl");
  const std::string end = "\"type\":\"end\"";
  REQUIRE(metrics.find(end) != std::string::npos);
  CHECK(metrics.find(end) == metrics.rfind(end));
  CHECK(records(folder / "tiny", "end").at(2)["status"] == "failed");
}

TEST_CASE("trainer: ten skipped steps in a row end the run", "[train]") {
  const TemporaryFolder folder;
  const RunConfig config = tiny_config(folder.path(), {"optimizer.on_nonfinite=skip", "train.steps=30", "timeline=[{do: poison_of_a_test, when: at 3}]", "checkpoint.every=every 2"});
  CHECK(testing::train(config) == kExitFailed);
  CHECK(records(config.folder(), "step").rbegin()->first == 12);
  CHECK(CheckpointStore(config.folder() / "checkpoints", 9).latest()->filename() == "step-00000002");
}

TEST_CASE("trainer: the timeline acts at its steps and is written down", "[train]") {
  const TemporaryFolder folder;
  const RunConfig config = tiny_config(folder.path(), {"timeline=[{do: {type: reset_moments, match: {role: matrix}}, when: every 2}]"});
  REQUIRE(testing::train(config) == kExitDone);
  const auto events = records(config.folder(), "event");
  REQUIRE(events.size() == 3);
  CHECK(events.contains(2));
  CHECK(events.at(2)["detail"].get<std::string>().find("14 of 21 parameters") != std::string::npos);
}

TEST_CASE("evaluate: the mean is over tokens, whatever the batch", "[train]") {
  const TemporaryFolder folder;
  const RunConfig config = tiny_config(folder.path());
  const auto model = build_model(config);
  const auto source = config.data.source->build(SourceInfo{.sequence_length = 16, .vocab_size = 64, .split = "validation", .seed = 1});
  const EvalReport whole = evaluate(loss_of(*model, 1000), *source, 11 * 16, 11, 16);
  const EvalReport parts = evaluate(loss_of(*model, 7), *source, 11 * 16, 4, 16);
  CHECK(whole.tokens == 176);
  CHECK(std::abs(whole.loss - parts.loss) < 1e-6 * whole.loss);
  // The method repositories divide the sum of batch means by the number of batches plus one.
  CHECK(std::abs(std::log(whole.ppl_legacy) - whole.loss / 2) < 1e-6);
  CHECK(parts.ppl_legacy < parts.ppl);
}

TEST_CASE("evaluate: an ensemble's loss is that of the mean of probabilities, padding left out", "[train]") {
  const TemporaryFolder folder;
  std::vector<std::shared_ptr<Llama>> models;
  for (const char* seed : {"run.seed=1", "run.seed=2", "run.seed=3"}) models.push_back(build_model(tiny_config(folder.path(), {seed})));
  Batch batch{at::arange(32).view({2, 16}), at::arange(1, 33).view({2, 16})};
  batch.targets[1].slice(0, 5).fill_(kPadding);
  const at::NoGradGuard no_grad;
  at::Tensor mean = at::zeros({2, 16, 64}, at::kDouble);
  for (const auto& model : models) mean += at::softmax(model->logits(batch.inputs).to(at::kDouble), 2) / 3;
  double expected = 0;
  for (int64_t row = 0; row < 2; ++row)
    for (int64_t i = 0; i < (row == 0 ? 16 : 5); ++i) expected -= std::log(mean[row][i][batch.targets[row][i].item<int64_t>()].item<double>());
  CHECK(loss_of_ensemble(models, 5)(batch).item<double>() == Approx(expected).epsilon(1e-6));
  CHECK(loss_of_ensemble({models[0]}, 100)(batch).item<double>() == Approx(loss_of(*models[0], 7)(batch).item<double>()).epsilon(1e-6));
}

TEST_CASE("trainer: documents of any length weigh by their tokens, however a step is portioned", "[train]") {
  const TemporaryFolder folder;
  TokenFileWriter writer(folder / "x_train.bin", 64);
  for (int32_t document = 0; document < 40; ++document) {
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i < 1 + (document * 7) % 23; ++i) tokens.push_back(2 + (document + i) % 60);
    tokens.push_back(1);
    writer.append(tokens);
  }
  writer.close();
  fs::copy(folder / "x_train.bin", folder / "x_val.bin");
  const std::string data = "data.source={type: documents, eos: 1, path: " + folder.path().string() + "}";
  const auto losses = [&](const std::string& name, const std::string& rows) {
    const RunConfig config = tiny_config(folder.path(), {data, "run.name=" + name, "train.micro_batch_size=" + rows, "train.steps=12"});
    REQUIRE(testing::train(config) == kExitDone);
    std::map<int64_t, double> all;
    for (const auto& [step, record] : records(config.folder(), "step")) all[step] = record["train/loss"].get<double>();
    return all;
  };
  const auto whole = losses("whole", "8");
  for (const auto& [step, loss] : losses("parts", "2")) CHECK(loss == Approx(whole.at(step)).epsilon(1e-4));
  CHECK(whole.at(1) == Approx(std::log(64)).epsilon(0.02));  // a mean over targets: padding would lower it
}

TEST_CASE("checkpoint.at_end: a run of which records alone are wanted saves nothing that was not due", "[train]") {
  const TemporaryFolder folder;
  REQUIRE(testing::train(tiny_config(folder.path(), {"checkpoint={every: at 2, at_end: false}"})) == kExitDone);
  CHECK(newest_of(folder / "tiny").filename() == "step-00000002");
  CHECK(records(folder / "tiny", "end").rbegin()->second["status"] == "done");
}

TEST_CASE("log.profile: what the chosen steps spend their time on is written down, and changes nothing", "[train]") {
  const TemporaryFolder folder;
  const RunConfig plain = tiny_config(folder.path(), {"run.name=plain"});
  const RunConfig profiled = tiny_config(folder.path(), {"run.name=profiled", "log.profile=every 2 until 4"});
  REQUIRE(testing::train(plain) == kExitDone);
  REQUIRE(testing::train(profiled) == kExitDone);
  CHECK(checkpoint_sums(plain.folder() / "checkpoints" / "step-00000006") == checkpoint_sums(profiled.folder() / "checkpoints" / "step-00000006"));
  CHECK_FALSE(fs::exists(plain.folder() / "profile"));
  CHECK_FALSE(fs::exists(profiled.folder() / "profile" / "step-00000006.txt"));
  for (const std::string name : {"step-00000002", "step-00000004"}) {
    std::set<std::string> traced;
    const Json trace = Json::parse(read_text(profiled.folder() / "profile" / (name + ".json")));
    for (const Json& event : trace.at("traceEvents"))
      if (event.contains("name")) traced.insert(event["name"].get<std::string>());
    for (const std::string part : {"read", "forward", "backward", "update", "aten::mm"}) CHECK(traced.contains(part));
    // Times without what is called add up to no more than the whole.
    std::istringstream table(read_text(profiled.folder() / "profile" / (name + ".txt")));
    double whole = 0;
    double sum = 0;
    table >> whole;
    for (std::string line; std::getline(table, line);) {
      std::istringstream row(line);
      if (double ms = 0; row >> ms) sum += ms;
    }
    CHECK(sum > 0.5 * whole);
    CHECK(sum < 1.01 * whole);
  }
}

TEST_CASE("lr_schedule: rates at chosen steps", "[train]") {
  const auto factor = [](ScheduleType type, int64_t step) {
    const ScheduleConfig schedule{.type = type, .warmup = {10, Span::Unit::kSteps}, .decay = {0.2, Span::Unit::kFraction}, .min_ratio = 0.1};
    return schedule_factor(schedule, Progress{.step = step, .total_steps = 110, .total_tokens = 1100});
  };
  for (const ScheduleType type : {ScheduleType::kCosine, ScheduleType::kLinear, ScheduleType::kWsd, ScheduleType::kConstant}) {
    CHECK(factor(type, 1) == Approx(0.1));
    CHECK(factor(type, 10) == Approx(1.0));
    CHECK(factor(type, 110) == Approx(type == ScheduleType::kConstant ? 1.0 : 0.1));
  }
  CHECK(factor(ScheduleType::kCosine, 60) == Approx(0.55));
  CHECK(factor(ScheduleType::kLinear, 60) == Approx(0.55));
  CHECK(factor(ScheduleType::kWsd, 88) == Approx(1.0));
  CHECK(factor(ScheduleType::kWsd, 99) == Approx(0.55));
}

}  // namespace
}  // namespace tersor
