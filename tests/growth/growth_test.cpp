// Growth in depth: the maps, what the action does to weights and state, and whole runs that grow.
#include "core/growth/growth.h"

#include "core/interop/hugging_face.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_run.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using testing::checkpoint_sums;
using testing::TemporaryFolder;
using testing::tiny_config;
using Map = std::vector<int64_t>;

Map sources(const std::string& growth, int64_t depth) {
  Diagnostics out;
  Choice<growths> choice;
  choice.read(*parse_config("growth: " + growth, "test", out).find("growth"), out);
  out.throw_if_any();
  return choice.build()->sources(depth);
}

TEST_CASE("growth: the maps are those of the papers, at odd depths too", "[growth]") {
  CHECK(sources("{type: stack, factor: 2}", 3) == Map{0, 1, 2, 0, 1, 2});
  CHECK(sources("stack", 1) == Map{0, 0, 0, 0});
  CHECK(sources("stack", 6).size() == 24);
  CHECK(sources("{type: interpolate, factor: 3}", 3) == Map{0, 0, 0, 1, 1, 1, 2, 2, 2});
  CHECK(sources("middle", 1) == Map{0, 0});
  CHECK(sources("middle", 2) == Map{0, 0, 1});
  CHECK(sources("middle", 3) == Map{0, 1, 1, 2});
  CHECK(sources("{type: middle, blocks: 2}", 6) == Map{0, 1, 2, 3, 2, 3, 4, 5});
  CHECK_THROWS_WITH(sources("{type: middle, blocks: 2}", 5), Catch::Contains("choose a divisor"));
  CHECK(sources("append_last", 3) == Map{0, 1, 2, 2});
  CHECK(sources("{type: append_last, blocks: 5}", 5) == Map{0, 1, 2, 3, 4, 0, 1, 2, 3, 4});
  CHECK_THROWS_WITH(sources("{type: append_last, blocks: 4}", 3), Catch::Contains("lower 'blocks'"));
}

TEST_CASE("growth: every schedule uses every block, firsts in order", "[growth][conformance]") {
  for (const std::string& name : growths().names()) {
    for (const int64_t depth : {1, 2, 5, 7}) {
      INFO(name << " of " << depth);
      const Map map = sources(name, depth);
      CHECK(map.size() > static_cast<size_t>(depth));
      const std::vector<bool> copy = copies(map);
      Map firsts;
      for (size_t i = 0; i < map.size(); ++i)
        if (!copy[i]) firsts.push_back(map[i]);
      Map all(static_cast<size_t>(depth));
      std::iota(all.begin(), all.end(), 0);
      CHECK(firsts == all);
    }
  }
}

TEST_CASE("growth: a schedule that leaves blocks out, or takes what is not there, is refused by name", "[growth]") {
  struct Fixed final : GrowthSchedule {
    explicit Fixed(Map blocks) : blocks_(std::move(blocks)) {}
    Map sources(int64_t) const override { return blocks_; }
    Map blocks_;
  };
  CHECK(checked_sources(Fixed({0, 1, 0, 1}), "mine", 2) == Map{0, 1, 0, 1});
  CHECK_THROWS_WITH(checked_sources(Fixed({}), "mine", 2), Catch::Contains("growth 'mine' of 2 blocks gives []: block 0 does not occur"));
  CHECK_THROWS_WITH(checked_sources(Fixed({0, 0}), "mine", 2), Catch::Contains("block 1 does not occur"));
  for (const Map& wrong : {Map{1, 0}, Map{0, 1, 2}, Map{0, -1, 1}}) CHECK_THROWS_WITH(checked_sources(Fixed(wrong), "mine", 2), Catch::Contains("must be blocks 0 to 1"));
}

// The table of G_stack's README.
TEST_CASE("growth: tokens before stacking are those of the paper's guideline", "[growth]") {
  const auto three_digits = [](double x) { return fmt::format("{:.3g}", x / 1e9); };
  CHECK(three_digits(stacking_tokens(8e9, 15e12)) == "6.58");
  CHECK(three_digits(stacking_tokens(7e9, 2e12)) == "11.1");
  CHECK(three_digits(stacking_tokens(13e9, 2e12)) == "15.8");
  CHECK(three_digits(stacking_tokens(70e9, 2e12)) == "42.5");
  CHECK(stacking_tokens(60e6, 1e9) == Approx(1e8));  // the fit would give more tokens than there are
}

const std::vector<std::string> kOddNames{"model.num_hidden_layers=3", "model.intermediate_size=47"};

// A tiny model that has trained for two steps under an optimizer, ready to grow.
struct Trained {
  RunConfig config;
  std::shared_ptr<Llama> model;
  std::unique_ptr<Optimizer> optimizer;
  LiveSettings settings;
  Progress progress;

  explicit Trained(std::vector<std::string> overrides) {
    overrides.insert(overrides.end(), kOddNames.begin(), kOddNames.end());
    config = tiny_config("unused", overrides);
    model = build_model(config);
    optimizer = std::make_unique<Optimizer>(model->params(), config.optimizer, 1);
    step();
    step();
  }
  at::Tensor tokens() const { return at::arange(2 * 8, at::kLong).view({2, 8}); }
  void step() {
    progress = {progress.step + 1, 16 * progress.step + 16, 16 * progress.step, 100, 1600};
    optimizer->begin_step(progress, 0.01, 1);
    optimizer->begin_micro_batch();
    model->loss(tokens(), tokens(), 1.0 / 16, 16).backward();
    (void)optimizer->finish_step();
  }
  std::string grow(const std::string& options) {
    Diagnostics out;
    TimelineEntry entry;
    read_fields(entry, parse_config(fmt::format("{{do: {{type: grow, {}}}, when: every 1}}", options), "test", out), out);
    out.throw_if_any();
    RunContext context{.model = *model, .optimizer = *optimizer, .progress = progress, .seed = 1, .settings = settings, .window = 16, .name = "grow"};
    return entry.action.build()->run(context);
  }
};

using Tensors = std::map<std::string, at::Tensor>;

Tensors weights(const Llama& model) {
  Tensors all;
  for (const PackedPart& part : model.tensors()) all[part.name] = part.value.clone();
  return all;
}
Tensors state(const Optimizer& optimizer) {
  Tensors all;
  optimizer.state().visit([&](const std::string& name, const at::Tensor& value) { all[name] = value.clone(); });
  return all;
}

// The name in the old model of what is called `name` in a model grown by `map`.
std::string before(const std::string& name, const Map& map) {
  const std::string prefix = "model.layers.";
  if (!name.starts_with(prefix)) return name;
  size_t digits = 0;
  const size_t block = std::stoul(name.substr(prefix.size()), &digits);
  return prefix + std::to_string(map.at(block)) + name.substr(prefix.size() + digits);
}

TEST_CASE("grow: every block is a copy of its source, bit for bit, and its own", "[growth][conformance]") {
  for (const std::string& method : parameterizations().names()) {
    for (const std::string& growth : growths().names()) {
      INFO(method << " " << growth);
      Trained run({"parameterization.method=" + method});
      const Tensors old = weights(*run.model);
      CHECK_THAT(run.grow("growth: " + growth), Catch::Contains("3 → "));
      const Map map = sources(growth, 3);
      CHECK(run.model->config().num_hidden_layers == static_cast<int64_t>(map.size()));
      const Tensors grown = weights(*run.model);
      for (const auto& [name, value] : grown) CHECK(at::equal(value, old.at(before(name, map))));
      CHECK(run.optimizer->params().size() == run.model->params().size());
      run.step();  // each copy takes a step of its own
      size_t moved = 0;
      for (const auto& [name, value] : weights(*run.model)) moved += at::equal(value, grown.at(name)) ? 0 : 1;
      CHECK(moved >= run.model->params().size());
    }
  }
}

TEST_CASE("grow: copies share no memory", "[growth]") {
  Trained run({});
  (void)run.grow("growth: {type: stack, factor: 2}");
  std::set<void*> places;
  for (const PackedPart& part : run.model->tensors()) CHECK(places.insert(part.value.data_ptr()).second);
}

TEST_CASE("grow: with zero_outputs the function stays, and the copies can learn", "[growth][conformance]") {
  for (const std::string& method : parameterizations().names()) {
    for (const std::string& growth : growths().names()) {
      INFO(method << " " << growth);
      Trained run({"parameterization.method=" + method, "model.attention_bias=true", "model.mlp_bias=true"});
      if (!run.model->linears().front()->weight().linear()) continue;
      const at::Tensor logits = run.model->logits(run.tokens()).detach();
      (void)run.grow(fmt::format("growth: {}, zero_outputs: true", growth));
      // SwitchLoRA's frozen part offsets its factors, so that zero is their difference, up to rounding.
      const double rounding = method == "switch_lora" ? 1e-5 : 0;
      CHECK(at::allclose(run.model->logits(run.tokens()), logits, rounding, rounding));
      const Tensors still = weights(*run.model);
      run.step();
      for (const auto& linear : run.model->linears()) {  // some part of each output moves
        if (!linear->name().ends_with("o_proj") && !linear->name().ends_with("down_proj")) continue;
        bool moved = false;
        for (const PackedPart& part : tensors_of(linear->weight())) moved = moved || !at::equal(part.value, still.at(part.name));
        INFO(linear->name());
        CHECK(moved);
      }
      CHECK_FALSE(at::allclose(run.model->logits(run.tokens()), logits, 1e-4, 1e-4));
    }
  }
}

TEST_CASE("grow: state is reset or goes with its block, in every rule and format", "[growth][conformance]") {
  for (const std::string& rule : update_rules().names()) {
    for (const std::string format : {"fp32", "{type: int8, min_size: 16}", "bf16"}) {
      INFO(rule << " " << format);
      const std::string groups = fmt::format(
          "optimizer.groups=[{{match: {{role: matrix}}, rule: {}, state: {}, projector: {}}}, {{match: any}}]", rule, format, format);
      Trained run({groups});
      const Tensors old = state(*run.optimizer);
      (void)run.grow("growth: {type: interpolate, factor: 2}, moments: copy");
      const Map map{0, 0, 1, 1, 2, 2};
      const Tensors copied = state(*run.optimizer);
      for (const auto& [name, value] : copied) CHECK(at::equal(value, old.at(before(name, map))));
      size_t in_blocks = 0;
      for (const auto& [name, value] : old) in_blocks += name.starts_with("model.layers.") ? 1 : 0;
      CHECK(copied.size() == old.size() + in_blocks);
      run.step();

      Trained other({groups});
      (void)other.grow("growth: {type: interpolate, factor: 2}, moments: reset");
      const Optimizer fresh(other.model->params(), other.config.optimizer, 1);
      const Tensors expected = state(fresh);
      const Tensors reset = state(*other.optimizer);
      CHECK(reset.size() == expected.size());
      for (const auto& [name, value] : reset) CHECK(at::equal(value, expected.at(name)));
    }
  }
}

TEST_CASE("grow: what is frozen stays frozen, in copies too", "[growth]") {
  for (const std::string moments : {"copy", "reset"}) {
    Trained run({});
    run.optimizer->set_frozen("model.norm.weight", true);
    run.optimizer->set_frozen("model.layers.1.input_layernorm.weight", true);
    (void)run.grow("growth: {type: interpolate, factor: 2}, moments: " + moments);
    CHECK(run.optimizer->frozen() ==
          std::set<std::string>{"model.norm.weight", "model.layers.2.input_layernorm.weight", "model.layers.3.input_layernorm.weight"});
    for (const Param& param : run.model->params()) CHECK(param.value.requires_grad() == !run.optimizer->frozen().contains(param.name));
  }
}

TEST_CASE("grow: a run that grows goes on from any checkpoint bit for bit", "[growth][resume]") {
  const std::vector<std::string> variants[] = {
      {"timeline=[{do: grow, when: at 4}]"},
      {"timeline=[{do: {type: grow, growth: middle, moments: copy}, when: at 3}]", "parameterization.method=int8"},
      {"timeline=[{do: {type: grow, growth: append_last, moments: copy, zero_outputs: true}, when: every 2}]",
       "optimizer.groups=[{match: {role: matrix}, rule: {type: galore, rank: 4}, state: int8}, {match: any}]",
       "optimizer.update=during_backward"}};
  for (const auto& variant : variants) {
    INFO(variant.front());
    std::vector<std::string> words{"checkpoint={every: every 1, keep: 9}"};
    words.insert(words.end(), variant.begin(), variant.end());
    const TemporaryFolder folder;
    const RunConfig whole = tiny_config(folder / "whole", words);
    REQUIRE(testing::train(whole) == kExitDone);
    for (const std::string step : {"2", "3", "4"}) {
      RunConfig resumed = tiny_config(folder / ("resumed" + step), words);
      resumed.run.resume = Resume::kAuto;
      fs::create_directories(resumed.folder() / "checkpoints");
      const std::string name = "step-0000000" + step;
      fs::copy(whole.folder() / "checkpoints" / name, resumed.folder() / "checkpoints" / name);
      REQUIRE(testing::train(resumed) == kExitDone);
      CHECK(checkpoint_sums(whole.folder() / "checkpoints/step-00000006") ==
            checkpoint_sums(resumed.folder() / "checkpoints/step-00000006"));
    }
  }
}

TEST_CASE("describe: an axis explains itself, its methods and who takes them", "[growth]") {
  const TemporaryFolder folder;
  REQUIRE(std::system(fmt::format("{} describe growth >{}", TERSOR_PROGRAM, (folder / "out").string()).c_str()) == 0);
  const std::string text = read_text(folder / "out");
  for (const std::string& name : growths().names()) CHECK(text.find("\n" + name + " (growth): ") != std::string::npos);
  CHECK(text.find("\ngrow (action): ") != std::string::npos);
  CHECK(text.find("\n  zero_outputs ") != std::string::npos);
}

int program(const std::string& words) {
  const int status = std::system(fmt::format("{} {} >/dev/null 2>&1", TERSOR_PROGRAM, words).c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE("grow: a grown run is evaluated and exported at its new depth", "[growth]") {
  const TemporaryFolder folder;
  const RunConfig config = tiny_config(folder.path(), {"timeline=[{do: {type: grow, growth: {type: stack, factor: 2}}, when: at 4}]"});
  REQUIRE(testing::train(config) == kExitDone);
  CHECK_THAT(testing::records(config.folder(), "event").at(4)["detail"].get<std::string>(), Catch::Contains("2 → 4 blocks"));
  CHECK(program("eval " + config.folder().string()) == kExitDone);
  CHECK(program(fmt::format("export {} {}", config.folder().string(), (folder / "hf").string())) == kExitDone);
  const ModelConfig exported = read_hugging_face_config(folder / "hf");
  CHECK(exported.num_hidden_layers == 4);
  Llama model(exported, ParameterizationConfig{}, at::TensorOptions(at::kFloat), 0);
  load_weights(folder / "hf", model);
}

}  // namespace
}  // namespace tersor
