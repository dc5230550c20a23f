// Actions in whole runs: what they do, and that a run resumes from any step around them.
#include "core/interop/safetensors.h"
#include "tests/support/resume.h"
#include "tests/support/single_param.h"

namespace tersor {
namespace {

using testing::check_resumes_from_every_step;
using testing::records;
using testing::TemporaryFolder;
using testing::tiny_config;

bool contains(const std::vector<std::string>& events, const std::string& text) {
  return std::any_of(events.begin(), events.end(), [&](const std::string& e) { return e.find(text) != std::string::npos; });
}

TEST_CASE("timeline: a run goes on from any step, whatever has happened to it", "[timeline][resume]") {
  CHECK(contains(check_resumes_from_every_step({"timeline=[{do: {type: reset_moments, mode: random, share: 0.25}, when: at 3}]"}), "3 reset_moments: zeroed 7"));
  CHECK(contains(check_resumes_from_every_step({"timeline=[{do: {type: freeze, match: {role: matrix}}, when: at 2}, {do: unfreeze, when: at 4}]"}),
                 "2 freeze: froze 14 of 21"));
  CHECK(contains(check_resumes_from_every_step({"timeline=[{do: {type: resize_batch, global_batch_size: 4, sequence_length: 8}, when: at 2}]"}),
                 "2 resize_batch: 4 windows a step in micro-batches of 4, cut into pieces of 8 tokens"));
  CHECK(contains(check_resumes_from_every_step({"timeline=[{do: {type: rewarm, over: 3}, when: at 2}]"}), "2 rewarm"));
  CHECK(contains(check_resumes_from_every_step({"timeline=[{do: {type: truncate_rank, energy: 0.5, nuclear: 0.1}, when: every 2}]"}), "4 truncate_rank: "));
  CHECK(contains(check_resumes_from_every_step({"timeline=[{do: {type: reparameterize, method: int8, targets: ['*.mlp.*']}, when: at 2},"
                                                "{do: {type: reparameterize, method: dense}, when: at 4}]"}),
                 "2 reparameterize: 6 weights are int8 now, 0."));
}

TEST_CASE("timeline: a frozen parameter stands still and goes on with its state", "[timeline]") {
  const TemporaryFolder folder;
  const RunConfig config = tiny_config(folder.path(), {"timeline=[{do: {type: freeze, match: {name: '*up_proj*'}}, when: at 1}]",
                                                       "checkpoint={every: every 1, keep: 100}", "evaluation.every=never"});
  REQUIRE(testing::train(config) == kExitDone);
  const auto weight = [&](int64_t step, const std::string& name) {
    at::Tensor w = at::empty({48, 32});
    SafetensorsFile(config.folder() / "checkpoints" / fmt::format("step-{:08}", step) / "model.safetensors").copy_into(name, w);
    return w;
  };
  CHECK(at::equal(weight(1, "model.layers.0.mlp.up_proj.weight"), weight(6, "model.layers.0.mlp.up_proj.weight")));
  CHECK_FALSE(at::equal(weight(1, "model.layers.0.mlp.gate_proj.weight"), weight(6, "model.layers.0.mlp.gate_proj.weight")));
}

TEST_CASE("timeline: after a restart the rate rises to where the schedule is by then", "[timeline]") {
  const TemporaryFolder folder;
  const RunConfig config = tiny_config(folder.path(), {"timeline=[{do: {type: rewarm, over: 4}, when: every 10}]", "train.steps=20",
                                                       "schedule={type: linear, warmup: 2, min_ratio: 0}", "evaluation.every=never"});
  REQUIRE(testing::train(config) == kExitDone);
  const auto steps = records(config.folder(), "step");
  const auto rate = [&](int64_t step) { return steps.at(step)["lr"].get<double>() / 0.01; };
  const auto plain = [](int64_t step) { return 1 - static_cast<double>(step - 2) / 18; };
  CHECK(rate(10) == Approx(plain(10)));
  for (const int64_t since : {1, 2, 3, 4}) CHECK(rate(10 + since) == Approx(static_cast<double>(since) / 4 * plain(14)));
  CHECK(rate(15) == Approx(plain(15)));
}

TEST_CASE("timeline: settings that no step could be taken with are refused", "[timeline]") {
  const LiveSettings good{.global_batch_size = 8, .micro_batch_size = 4, .sequence_length = 16, .mixture = {1, 0}};
  const auto wrong = [&](const std::function<void(LiveSettings&)>& change) {
    LiveSettings settings = good;
    change(settings);
    try {
      check_settings(settings, 32, good.mixture.size(), "mine");
    } catch (const UserError& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(wrong([](LiveSettings&) {}).empty());
  CHECK_THAT(wrong([](LiveSettings& s) { s.global_batch_size = 7; }), Catch::Contains("mine makes 7 windows a step"));
  CHECK_THAT(wrong([](LiveSettings& s) { s.micro_batch_size = 0; }), Catch::Contains("micro-batch of 0"));
  CHECK_THAT(wrong([](LiveSettings& s) { s.sequence_length = 31; }), Catch::Contains("does not divide data.sequence_length 32"));
  CHECK_THAT(wrong([](LiveSettings& s) { s.mixture = {0, 0}; }), Catch::Contains("weights of the sources [0, 0]"));
  CHECK_THAT(wrong([](LiveSettings& s) { s.mixture = {-1, 2}; }), Catch::Contains("weights of the sources"));
  CHECK_THAT(wrong([](LiveSettings& s) { s.mixture = {1}; }), Catch::Contains("mine has 1 weights, but data has 2 sources"));
  CHECK_THAT(wrong([](LiveSettings& s) { s.rate = std::nan(""); }), Catch::Contains("learning rate nan"));
}

TEST_CASE("timeline: truncation keeps the energy asked for in the fewest directions", "[timeline]") {
  const TemporaryFolder folder;
  RunConfig config = tiny_config(folder.path());
  auto model = build_model(config);
  Optimizer optimizer(model->params(), config.optimizer, 1);
  const Linear& linear = *model->linears()[4];
  const at::Tensor before = linear.weight().materialize().to(at::kDouble).clone();
  LiveSettings settings = first_settings(config);
  const Progress now{.step = 1, .tokens = 1, .total_steps = 10, .total_tokens = 10};
  const RunContext context{.model = *model, .optimizer = optimizer, .progress = now, .seed = 1, .lr = 0.5, .settings = settings, .window = config.data.sequence_length};
  const auto run = [&](const std::string& text) {
    Diagnostics out;
    TimelineEntry entry;
    read_fields(entry, parse_config("{do: " + text + ", when: every 1}", "test", out), out);
    out.throw_if_any();
    Timeline timeline({entry});
    return timeline.run(Phase::kBeforeUpdate, context).front().detail;
  };
  const at::Tensor sigma = std::get<1>(at::linalg_svd(before, false));
  const at::Tensor energy = sigma.square().cumsum(0) / sigma.square().sum();
  const auto q = (energy < 0.7).sum().item<int64_t>() + 1;
  run("{type: truncate_rank, energy: 0.7}");
  const at::Tensor cut = std::get<1>(at::linalg_svd(linear.weight().materialize().to(at::kDouble), false));
  CHECK((cut > 1e-5).sum().item<int64_t>() == q);
  CHECK(at::allclose(cut.slice(0, 0, q), sigma.slice(0, 0, q), 1e-5, 1e-6));
  run("{type: truncate_rank, energy: 1, nuclear: 0.02}");  // 0.5 · 0.02 off each
  const at::Tensor pressed = std::get<1>(at::linalg_svd(linear.weight().materialize().to(at::kDouble), false));
  CHECK(at::allclose(pressed.slice(0, 0, q), (cut.slice(0, 0, q) - 0.01).clamp_min(0), 1e-5, 2e-6));
}

TEST_CASE("timeline: what cannot be is refused before the run begins", "[timeline]") {
  const TemporaryFolder folder;
  const auto refused = [&](std::vector<std::string> overrides, const std::string& why) {
    CHECK_THROWS_WITH(Trainer(tiny_config(folder.path(), std::move(overrides))), Catch::Contains(why));
  };
  refused({"timeline=[{do: {type: resize_batch, global_batch_size: 6}, when: at 2}]"}, "not a multiple of the micro-batch of 4");
  refused({"timeline=[{do: {type: resize_batch, sequence_length: 5}, when: at 2}]"}, "does not divide data.sequence_length 16");
  refused({"timeline=[{do: {type: resize_batch, global_batch_size: 4}, when: at 2}]", "train.steps=1000 tokens"}, "must be a number of steps");
  refused({"optimizer.groups=[{match: {role: factor}, rule: sgd}, {match: any, rule: adamw}]"}, "matches no parameter");
}

TEST_CASE("timeline: a restart may go on with another rate", "[timeline][resume]") {
  const std::string words = "timeline=[{do: {type: rewarm, over: 2, rate: 0.5}, when: at 2}]";
  CHECK(contains(check_resumes_from_every_step({words}), "2 rewarm: the rate rises again over 2 steps, to 0.5 of the schedule's"));
  const TemporaryFolder folder;
  const RunConfig config = tiny_config(folder.path(), {words, "schedule={type: constant, warmup: 1}"});
  REQUIRE(testing::train(config) == kExitDone);
  const auto steps = records(config.folder(), "step");
  for (const auto& [step, rate] : std::map<int64_t, double>{{1, 1}, {2, 1}, {3, 0.25}, {4, 0.5}, {6, 0.5}})
    CHECK(steps.at(step)["lr"].get<double>() == Approx(0.01 * rate));
}

TEST_CASE("timeline: pruning by compute leaves what was asked for, though it makes steps smaller, and resumes", "[timeline][resume]") {
  const TemporaryFolder folder;
  const double dense = training_flops(static_cast<double>(build_model(tiny_config(folder.path()))->num_active()), 8 * 16);
  const std::string when = fmt::format("every {:.0f} flops from {:.0f} flops until {:.0f} flops", 0.9 * dense, dense, 4 * dense);
  const auto events = check_resumes_from_every_step({"train.steps=8", "parameterization.method={type: masked, sparsity: 0}",
                                                     "timeline=[{do: {type: prune, sparsity: 0.8}, when: " + when + "}]"});
  REQUIRE(events.size() == 4);
  for (size_t k = 0; k < events.size(); ++k) {
    INFO(events[k]);
    CHECK(std::stod(events[k].substr(events[k].find(": ") + 2)) == Approx(100 * std::pow(0.2, (static_cast<double>(k) + 1) / 4)).margin(0.1));
  }
}

TEST_CASE("timeline: what is remembered of factors does not go to others of the same name", "[timeline]") {
  const TemporaryFolder folder;
  const auto state_after = [&](const std::string& method, const std::string& from) {
    const RunConfig config = tiny_config(folder / method.substr(7, 4), {from, "run.name=" + method.substr(7, 4), "train.steps=3", "checkpoint={every: every 1, keep: 9}",
                                                                 "timeline=[{do: {type: reparameterize, method: " + method + "}, when: at 2}]"});
    REQUIRE(testing::train(config) == kExitDone);
    std::map<std::string, double> found;
    const SafetensorsFile state(config.folder() / "checkpoints" / "step-00000002" / "optim-00000.safetensors");
    for (const auto& [name, entry] : state.entries()) {
      at::Tensor value = at::empty(entry.shape);
      state.copy_into(name, value);
      found[name] = value.abs().sum().item<double>();
    }
    return found;
  };
  const std::string weight = "model.layers.0.mlp.up_proj.";
  auto lora = state_after("{type: lora, rank: 4}", "parameterization.method={type: low_rank, rank: 4}");
  CHECK(lora.at(weight + "A/m") == 0);
  CHECK(lora.at(weight + "B/t") == 0);
  CHECK(lora.at("model.embed_tokens.weight/t") == 2);
  auto whole = state_after("{type: int8}", "parameterization.method=dense");
  CHECK(whole.at(weight + "weight/t") == 2);
  CHECK(whole.at(weight + "weight/m") > 0);
}

TEST_CASE("timeline: cadences count compute too", "[timeline]") {
  const TemporaryFolder folder;
  // 6 · active parameters · 128 tokens per step.
  const RunConfig probe = tiny_config(folder.path());
  const double per_step = 6.0 * static_cast<double>(build_model(probe)->num_active()) * 128;
  const RunConfig config = tiny_config(folder.path(), {fmt::format("timeline=[{{do: reset_moments, when: every {:.0f} flops}}]", 2 * per_step)});
  REQUIRE(testing::train(config) == kExitDone);
  const auto events = records(config.folder(), "event");
  CHECK(events.size() == 3);
  CHECK(events.contains(4));
}

TEST_CASE("state_store: second moments that many numbers share outlive a partial reset", "[optim]") {
  for (const Reset::Keep keep : {Reset::Keep::kRandom, Reset::Keep::kLargest}) {
    testing::SingleParam param(testing::normal({24, 10}, "w"), "{type: adam_mini, rows_per_block: 4}", 0.1);
    param.step(testing::normal({24, 10}, "g"));
    const at::Tensor before = param.slots()["v"].clone();
    param.state().reset("w", {.keep = keep, .share = 0.25}, random_stream(1, "x"));
    CHECK(at::equal(param.slots()["v"], before));
    CHECK(param.slots()["m"].count_nonzero().item<int64_t>() < 100);
  }
}

TEST_CASE("int8: what codes and scales would make larger stays as it is", "[optim]") {
  for (const auto& [columns, parts] : std::map<int64_t, size_t>{{1, 1}, {2, 2}, {300, 2}}) {
    testing::SingleParam param(at::ones({5000, columns}), "adamw", 0.1, "", "state: int8");
    param.step(at::ones({5000, columns}));
    for (const RestingSlot& slot : param.state().resting("w"))
      if (slot.name == "m") CHECK(slot.parts.size() == parts);
    CHECK(at::allclose(param.slots()["m"], at::full({5000, columns}, 0.1f), 1e-2, 0));
  }
}

TEST_CASE("state_store: a partial reset leaves what was asked for, at one choice of places", "[optim]") {
  const at::Tensor w = at::ones({40, 50}).requires_grad_(true);
  const std::vector<Param> params{{"w", w, Role::kFactor, 0}};
  Optimizer optimizer(params, OptimizerConfig{}, 1);
  optimizer.begin_step({.step = 1, .tokens = 1, .total_steps = 9, .total_tokens = 9}, 0.1, 1);
  optimizer.begin_micro_batch();
  (w * at::linspace(0.1, 1, 2000).view({40, 50})).sum().backward();
  REQUIRE(optimizer.finish_step().finite);
  StateStore& state = optimizer.state();

  const ResetCount sliced = state.reset("w", {.slices = {3, 7}});
  CHECK(sliced.zeroed == 2 * (50 + 50 + 1));
  CHECK(state.open("w")["m"].count_nonzero().item<int64_t>() == 38 * 50);
  CHECK(state.open("w")["t"].count_nonzero().item<int64_t>() == 38);

  const at::Tensor before = state.open("w")["m"].clone();
  state.reset("w", {.keep = Reset::Keep::kLargest, .share = 0.1});
  const at::Tensor m = state.open("w")["m"];
  CHECK(m.count_nonzero().item<int64_t>() == 200);
  CHECK(m.masked_select(m != 0).min().item<float>() >= std::get<0>(before.flatten().topk(200)).min().item<float>());
  CHECK(at::equal(m != 0, state.open("w")["v"] != 0));
  CHECK(state.open("w")["t"].count_nonzero().item<int64_t>() == 38);

  state.reset("w", {.keep = Reset::Keep::kRandom, .share = 0.5}, random_stream(1, "x"));
  CHECK(std::abs(state.open("w")["m"].count_nonzero().item<int64_t>() - 100) < 40);
  CHECK(at::equal(state.open("w")["m"] != 0, state.open("w")["v"] != 0));
}

}  // namespace
}  // namespace tersor
