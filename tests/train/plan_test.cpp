// Plans match runs: to the byte where plans are exact, and within stated bounds where they are estimates.
#include "core/growth/growth.h"
#include "core/train/run_plan.h"
#include "tests/support/catch.h"
#include "tests/support/methods.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryFolder;
using testing::tiny_config;

int64_t folder_bytes(const fs::path& folder) {
  int64_t total = 0;
  for (const auto& entry : fs::directory_iterator(folder)) total += static_cast<int64_t>(entry.file_size());
  return total;
}

TEST_CASE("plan: weights and optimizer state are those of the run, for every method", "[plan][conformance]") {
  for (const fs::path& file : testing::shipped("method")) {
    INFO(file.string());
    const TemporaryFolder folder;
    const RunConfig config = testing::tiny_method(folder, file, {"train.steps=3", "run.dtype=bf16"});
    const RunPlan plan = plan_run(config);
    REQUIRE(testing::train(config) == kExitDone);
    const Json memory = testing::records(config.folder(), "memory").at(0);
    CHECK(plan.stages.front().memory.weight_bytes() == memory["mem/weights_bytes"].get<int64_t>());
    CHECK(plan.stages.front().memory.state_bytes() == memory["mem/optimizer_bytes"].get<int64_t>());

    // Pruning, which a plan does not follow, leaves less; and three steps of spdf end just after its weights were made dense.
    if (file.stem() == "pruning" || file.stem() == "spdf") continue;
    const MemoryPlan& last = plan.stages.back().memory;
    int64_t tensors = 0;
    for (const WeightBytes& row : last.weights) tensors += row.tensors;
    for (const StateBytes& row : last.state) tensors += 2 * row.tensors;
    const int64_t saved = folder_bytes(config.folder() / "checkpoints/step-00000003");
    CHECK(saved > last.checkpoint_bytes());
    CHECK(saved < last.checkpoint_bytes() + 250 * tensors + 32768);
  }
}

TEST_CASE("plan: entries that come back in training are counted from then on", "[plan][timeline]") {
  const TemporaryFolder folder;
  const RunConfig config = tiny_config(folder.path(), {"parameterization={method: {type: masked, sparsity: 0.75}}", "train.steps=8",
                                                       "timeline=[{do: {type: densify}, when: at 4}]"});
  const RunPlan plan = plan_run(config);
  REQUIRE(plan.stages.size() == 2);
  REQUIRE(testing::train(config) == kExitDone);
  const auto steps = testing::records(config.folder(), "step");
  // The increase, as the process may hold other tensors, too.
  const auto more = [&](const std::string& segment) {
    const std::string key = "mem/at_peak/" + segment;
    return steps.at(7)[key].get<int64_t>() - steps.at(3)[key].get<int64_t>();
  };
  CHECK(more("weights") == plan.stages[1].memory.weight_bytes() - plan.stages[0].memory.weight_bytes());
  CHECK(more("optimizer") == plan.stages[1].memory.state_bytes() - plan.stages[0].memory.state_bytes());
  CHECK(more("optimizer") > 0);
  CHECK(plan.stages[1].memory.peak() > plan.stages[0].memory.peak());
}

TEST_CASE("plan: the state of every rule in every format is counted as its format counts", "[plan][conformance]") {
  for (const std::string& rule : update_rules().names()) {
    for (const std::string& format : state_formats().names()) {
      const auto built = state_formats().find(format)->build();
      const std::string moments = built->refuses(SlotKind::kSigned) ? "fp32" : format;
      INFO(rule << " " << format);
      const RunConfig config =
          tiny_config("unused", {fmt::format("optimizer.groups=[{{match: {{role: matrix}}, rule: {}, state: {}, projector: {}}}, "
                                             "{{match: any, rule: adamw, state: {}}}]",
                                             rule, moments, format, moments)});
      const MemoryPlan plan = plan_run(config).stages.front().memory;
      const auto model = build_model(config);
      const Optimizer real(model->params(), config.optimizer, 1);
      CHECK(plan.state_bytes() == real.state().bytes());

      const std::vector<GroupMethods> groups = build_methods(config.optimizer.groups);
      const auto exact = state_formats().find("fp32")->build();
      int64_t declared = 0;
      for (const Param& param : model->params()) {
        const GroupMethods& group = groups[param.role == Role::kMatrix ? 0 : 1];
        for (const SlotSpec& spec : group.rule->slots(shape_of(param))) {
          const bool never_rounded = spec.kind == SlotKind::kExact || spec.kind == SlotKind::kHost;
          const StateFormat& used = never_rounded ? *exact : spec.kind == SlotKind::kProjector ? *group.projector : *group.state;
          declared += used.bytes(spec.shape, spec.kind);
        }
      }
      CHECK(plan.state_bytes() == declared);
    }
  }
}

const std::vector<std::string> kWider{"model.hidden_size=64", "model.intermediate_size=172", "model.num_hidden_layers=4",
                                      "model.vocab_size=512", "data.sequence_length=64",     "train.loss_chunk=64",
                                      "optimizer.clip_norm=~"};

RunConfig wider(std::vector<std::string> words) {
  words.insert(words.begin(), kWider.begin(), kWider.end());
  return tiny_config("unused", words);
}

// The relative error of a plan against the same steps on real tensors.
double off(const RunConfig& config) {
  const auto planned = static_cast<double>(plan_run(config).stages.front().memory.peak());
  const auto measured = static_cast<double>(step_memory(config, *build_model(config)).largest().whole.total);
  return std::abs(planned - measured) / measured;
}

constexpr double kBound = 0.05;

TEST_CASE("plan: the peak is the measured one, for every method, recompute mode and type", "[plan][conformance]") {
  for (const fs::path& file : testing::shipped("method")) {
    const TemporaryFolder folder;
    for (const std::string again : {"none", "attention", "mlp", "block"}) {
      for (const std::string dtype : {"fp32", "bf16"}) {
        INFO(file.stem().string() << " " << again << " " << dtype);
        std::vector<std::string> words = kWider;
        words.insert(words.end(), {"train.recompute=" + again, "run.dtype=" + dtype});
        CHECK(off(testing::tiny_method(folder, file, words)) < kBound);
      }
    }
  }
}

TEST_CASE("plan: the peak is the measured one, for blocks of weights that are multiplied by themselves", "[plan][conformance]") {
  for (const std::string again : {"none", "block"})
    for (const std::string dtype : {"fp32", "bf16"}) {
      INFO(again << " " << dtype);
      CHECK(off(wider({"model.hidden_size=128", "model.intermediate_size=344", "train.recompute=" + again, "run.dtype=" + dtype,
                       "parameterization={method: {type: masked, sparsity: 0.6, structure: block, block: 64}}"})) < kBound);
    }
}

TEST_CASE("plan: the peak is the measured one, for every rule, state format, update mode and micro-batch", "[plan][conformance]") {
  for (const std::string& rule : update_rules().names()) {
    for (const std::string& format : state_formats().names()) {
      if (state_formats().find(format)->build()->refuses(SlotKind::kSigned)) continue;
      for (const std::string update : {"after_backward", "during_backward"}) {
        for (const std::string micro : {"4", "8"}) {
          INFO(rule << " " << format << " " << update << " " << micro);
          const std::string groups =
              fmt::format("[{{match: {{role: matrix}}, rule: {}, state: {}}}, {{match: any, state: {}}}]", rule, format, format);
          CHECK(off(wider({"optimizer.update=" + update, "train.micro_batch_size=" + micro, "optimizer.groups=" + groups})) < kBound);
        }
      }
    }
  }
}

TEST_CASE("plan: the peak is the measured one, for every parameterization and two or no micro-batches to add up", "[plan][conformance]") {
  for (const std::string& method : parameterizations().names()) {
    for (const std::string micro : {"4", "8"}) {
      for (const std::string clip : {"~", "1"}) {
        INFO(method << " " << micro << " " << clip);
        CHECK(off(wider({"parameterization.method=" + method, "train.micro_batch_size=" + micro, "optimizer.clip_norm=" + clip,
                         "optimizer.update=during_backward"})) < kBound);
      }
    }
  }
}

TEST_CASE("plan: tokens that are cut and batches that are resized are followed", "[plan][timeline]") {
  const RunConfig config = wider({"timeline=[{do: {type: resize_batch, micro_batch_size: 8, sequence_length: 16}, when: at 3}]"});
  const RunPlan plan = plan_run(config);
  REQUIRE(plan.stages.size() == 2);
  CHECK(plan.stages[1].first_step == 4);
  CHECK(plan.stages[1].sequence_length == 16);
  CHECK(plan.stages[1].micro_batch_size == 32);
  CHECK(plan.stages[1].memory.peak() > plan.stages[0].memory.peak());
  CHECK(plan.tokens() == 6 * 8 * 64);
}

TEST_CASE("plan: an action that will find nothing to act on is refused before the run", "[plan][timeline]") {
  const auto refusal = [](const std::string& timeline) {
    try {
      validate(tiny_config("unused", {"timeline=" + timeline}));
    } catch (const UserError& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const std::string lora = "{do: {type: reparameterize, method: {type: lora, rank: 2}}, when: at 3}";
  CHECK_THAT(refusal("[{do: merge, when: at 2}, " + lora + "]"), Catch::Contains("merge needs parameterization lora"));
  CHECK(refusal("[{do: merge, when: at 4}, " + lora + "]").empty());  // listed first, due later
  CHECK_THAT(refusal("[{do: {type: prune}, when: at 2}]"), Catch::Contains("masked"));
  CHECK_THAT(refusal("[{do: {type: reparameterize, targets: ['*.nothing'], method: {type: lora}}, when: at 3}]"), Catch::Contains("match no weight"));
  CHECK_THAT(refusal("[{do: {type: freeze, match: {name: '*.mlpp.*'}}, when: at 3}]"), Catch::Contains("freeze matches no parameter"));
  CHECK_THAT(refusal("[{do: freeze, when: at 3}]"), Catch::Contains("leaves no parameter to train"));
  CHECK_THAT(refusal("[{do: {type: reset_moments, match: {role: sparse}}, when: at 3}]"), Catch::Contains("reset_moments matches no parameter"));
}

TEST_CASE("plan: weights whose factors have an activation between them are not asked for what they cannot", "[plan][timeline]") {
  const testing::TemporaryFolder folder;
  const std::string silu = "{type: low_rank, rank: 4, activation: silu}";
  for (const std::string& words : std::vector<std::string>{"timeline=[{do: {type: reparameterize, method: " + silu + "}, when: at 2}]",
                                   "timeline=[{do: {type: reparameterize, method: dense}, when: at 2}]", "timeline=[{do: refactorize, when: at 2}]"}) {
    INFO(words);
    const std::string first = words.find("silu") == std::string::npos ? silu : "dense";
    CHECK_THROWS_WITH(validate(testing::tiny_config(folder.path(), {words, "parameterization={method: " + first + "}"})), Catch::Contains("has an activation between its factors"));
  }
}

TEST_CASE("plan: a group may be for parameters that come later", "[plan][timeline]") {
  const std::string groups = "optimizer.groups=[{match: {role: factor}, rule: adamw}, {match: any, rule: adamw}]";
  CHECK_NOTHROW(validate(tiny_config("unused", {groups, "timeline=[{do: {type: reparameterize, method: {type: low_rank, rank: 2}}, when: at 3}]"})));
  CHECK_THROWS_WITH(validate(tiny_config("unused", {groups})), Catch::Contains("matches no parameter"));
}

TEST_CASE("plan: whole gradients are needed when projected rules say so", "[plan]") {
  const auto need = [](const std::string& rule) {
    const RunPlan plan = plan_run(
        tiny_config("unused", {"train.steps=1000", "optimizer.groups=[{match: {role: matrix}, rule: " + rule + "}, {match: any}]"}));
    return plan.whole_gradients.empty() ? WholeGradients{} : plan.whole_gradients.front();
  };
  CHECK(need("{type: galore, rank: 4, refresh: every 100}").steps == 10);  // before steps 1, 101, … 901
  CHECK_FALSE(need("{type: galore, rank: 4, refresh: every 100}").staggered);
  const double step = training_flops(static_cast<double>(shapes_of(tiny_config("unused")).num_active()), 8 * 16);
  CHECK(need(fmt::format("{{type: galore, rank: 4, refresh: every {:.0f} flops}}", 100 * step)).steps == 10);
  CHECK(need("{type: galore, rank: 4, refresh: every 100, stagger: true}").staggered);
  CHECK(need("{type: galore, rank: 4, lazy: {}}").at_most);
  CHECK(need("{type: fira, rank: 4}").steps == 1000);
  CHECK(need("adamw").rule.empty());
}

TEST_CASE("plan: projected gradients take their place when they are added up", "[plan]") {
  const std::string groups = "optimizer.groups=[{match: {role: matrix}, rule: {type: galore, rank: 4}}, {match: any}]";
  const RunConfig config = tiny_config("unused", {groups, "optimizer.update=during_backward"});
  const StepMemory step = plan_run(config).stages.front().memory.step;
  const auto model = build_model(config);
  int64_t whole = 0;
  int64_t projected = 0;
  for (const Param& param : model->params()) {
    whole += 4 * param.value.numel();
    if (param.role != Role::kMatrix)
      projected += 4 * param.value.numel();
    else
      projected += 4 * (4 + 4) * std::max(param.value.size(0), param.value.size(1));  // rank and the rows of the norm's sketch
  }
  // Only sums: an arriving gradient counts as temporary until it is added.
  CHECK(step.first.most_of(Segment::kGradients) == whole);
  CHECK(step.usual.most_of(Segment::kGradients) == projected);
}

TEST_CASE("plan: stages, compute and due steps are those of the run", "[plan]") {
  const TemporaryFolder folder;
  const RunConfig config = tiny_config(
      folder.path(),
      {"timeline=[{do: {type: reset_moments}, when: every 2}, {do: {type: grow, growth: {type: stack, factor: 2}}, when: at 50%}]"});
  const RunPlan plan = plan_run(config);
  REQUIRE(testing::train(config) == kExitDone);
  REQUIRE(plan.stages.size() == 2);
  CHECK(plan.stages[1].first_step == 4);
  CHECK(plan.stages[1].blocks == 4);
  for (const auto& [step, record] : testing::records(config.folder(), "step"))
    CHECK(record["model/active_parameters"].get<int64_t>() == plan.stages[step < 4 ? 0 : 1].active);
  const Json state = Json::parse(read_text(config.folder() / "checkpoints/step-00000006/trainer.json"));
  double products = 0;
  for (const PlannedStage& stage : plan.stages) products += static_cast<double>(stage.steps * stage.tokens_per_step) * stage.weight_flops;
  CHECK(state["flops"].get<double>() == Approx(products));
  CHECK(plan.passes == 1);
  CHECK(plan.actions[0].steps == std::vector<int64_t>{2, 4, 6});
  CHECK(plan.actions[1].steps == std::vector<int64_t>{3});
  CHECK(plan_run(tiny_config(folder.path(), {"optimizer.update=during_backward"})).passes == 1.5);
}

}  // namespace
}  // namespace tersor
