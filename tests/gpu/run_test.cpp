// Whole runs on the test GPU (tests/support/gpu.h): every method's kernels, and no operator that mixes host and device tensors.
#include "core/train/run_plan.h"
#include "core/train/step_memory.h"
#include "tests/support/catch.h"
#include "tests/support/methods.h"
#include "tests/support/gpu.h"
#include "tests/support/source_dir.h"
#include "tests/support/world.h"

namespace tersor {
namespace {

std::vector<double> losses(const RunConfig& config) {
  REQUIRE(testing::train(config) == kExitDone);
  std::vector<double> all;
  for (const auto& [step, record] : testing::records(config.folder(), "step")) all.push_back(record.at("train/loss").get<double>());
  for (const auto& [step, record] : testing::records(config.folder(), "eval")) all.push_back(record.at("val/loss").get<double>());
  return all;
}

void check_alike(const std::vector<double>& there, const std::vector<double>& here) {
  REQUIRE(there.size() == here.size());
  for (size_t i = 0; i < here.size(); ++i) CHECK(there[i] == Approx(here[i]).epsilon(1e-3));  // sums in another order, magnified by steps
}

}  // namespace

TEST_CASE("gpu: every method trains as on the CPU", "[gpu]") {
  if (!testing::gpu_there()) return;
  const testing::UncheckedKernels quick;
  for (const std::filesystem::path& file : testing::shipped("method")) {
    INFO(file.string());
    const testing::TemporaryFolder folder;
    const auto of = [&](const std::string& device) {
      const RunConfig tiny = testing::tiny_config(folder.path(), {"run.name=" + device, "run.device=" + device, "train.steps=3", "train.global_batch_size=4",
                                                                  "train.micro_batch_size=2", "evaluation.tokens=32"});
      return losses(testing::method_config(folder, tiny, file));
    };
    const auto before = testing::gpu_launches();
    const std::vector<double> there = of(testing::gpu_name());
    if (before) CHECK(*testing::gpu_launches() > *before + 100);
    check_alike(there, of("cpu"));
  }
}

TEST_CASE("gpu: every update rule and state format trains as on the CPU", "[gpu][conformance]") {
  if (!testing::gpu_there()) return;
  const testing::UncheckedKernels quick;
  std::vector<std::string> groups;
  for (const std::string& rule : update_rules().names()) groups.push_back("rule: " + rule);
  for (const std::string& format : state_formats().names())
    if (!state_formats().find(format)->build()->refuses(SlotKind::kSigned)) groups.push_back("rule: adamw, state: " + format);
  for (const std::string& group : groups) {
    INFO(group);
    const testing::TemporaryFolder folder;
    const auto of = [&](const std::string& device) {
      return losses(testing::tiny_config(folder.path(), {"run.name=" + device, "run.device=" + device, "train.steps=3", "train.global_batch_size=2",
                                                         "train.micro_batch_size=2", "evaluation.tokens=32", "optimizer.lr=0.003",
                                                         "optimizer.groups=[{match: {role: matrix}, " + group + "}, {match: any, rule: adamw}]"}));
    };
    check_alike(of(testing::gpu_name()), of("cpu"));
  }
}

TEST_CASE("gpu: what happens at chosen steps happens there as on the CPU", "[gpu]") {
  if (!testing::gpu_there()) return;
  const testing::UncheckedKernels quick;
  const std::string sltrain = "{type: sltrain, rank: 8, alpha: 8, density: 0.1}";
  for (const auto& [method, timeline] : std::vector<std::pair<std::string, std::string>>{
           {"{type: masked, sparsity: 0}", "{when: at 1, do: {type: prune, sparsity: 0.5}}, {when: at 2, do: densify}"},
           {"{type: masked, sparsity: 0.5, structure: block, block: 4}", "{when: at 1, do: {type: prune, sparsity: 0.75, scope: layer}}, {when: at 3, do: densify}"},
           {"{type: masked, structure: two_of_four}", "{when: at 2, do: densify}"},
           {"{type: lora, rank: 4, alpha: 8, base: int8}", "{when: at 2, do: {type: merge, moments: reset}}"},
           {"{type: lora, rank: 4, alpha: 8}", "{when: at 2, do: {type: merge, moments: keep}}, {when: at 2, do: {type: reset_moments, match: any, mode: random, share: 0.5}}"},
           {"{type: low_rank, rank: 8}", "{when: every 2, do: refactorize}, {when: at 3, do: {type: reparameterize, method: " + sltrain + "}}"},
           {sltrain, "{when: at 2, do: refactorize}, {when: at 3, do: {type: grow, growth: stack, moments: copy}}"},
           {"dense", "{when: at 1, do: {type: grow, growth: {type: interpolate}, zero_outputs: true}}, {when: at 2, do: {type: freeze, match: {role: embedding}}}"},
           {"{type: switch_lora, rank: 4}", "{when: every 1, do: {type: switch_vectors, interval: 4, decay: 10, freeze: 2}}"}}) {
    INFO(method << " " << timeline);
    const testing::TemporaryFolder folder;
    const auto of = [&](const std::string& device) {
      return losses(testing::tiny_config(folder.path(), {"run.name=" + device, "run.device=" + device, "train.steps=4", "train.global_batch_size=2",
                                                         "train.micro_batch_size=2", "evaluation.tokens=32", "parameterization={method: " + method + "}",
                                                         "timeline=[" + timeline + "]"}));
    };
    check_alike(of(testing::gpu_name()), of("cpu"));
  }
}

TEST_CASE("gpu: blocks of weights are multiplied by themselves there, too", "[gpu]") {
  if (!testing::gpu_there()) return;
  const testing::UncheckedKernels quick;
  const testing::TemporaryFolder folder;
  const auto of = [&](const std::string& device) {
    return losses(testing::tiny_config(folder.path(), {"run.name=" + device, "run.device=" + device, "train.steps=3", "train.global_batch_size=2",
                                                       "train.micro_batch_size=2", "evaluation.tokens=32", "model.hidden_size=128", "model.intermediate_size=200",
                                                       "parameterization={method: {type: masked, sparsity: 0.5, structure: block, block: 64}}",
                                                       "timeline=[{when: at 1, do: {type: prune, sparsity: 0.7, scope: layer}}, {when: at 2, do: densify}]"}));
  };
  check_alike(of(testing::gpu_name()), of("cpu"));
}

TEST_CASE("gpu: moments that rest in host memory train as those that do not, and take none of the device's", "[gpu][conformance]") {
  if (!testing::gpu_there()) return;
  const testing::UncheckedKernels quick;
  std::vector<std::string> groups;
  for (const std::string& rule : update_rules().names()) groups.push_back("rule: " + rule);
  groups.insert(groups.end(), {"rule: adamw, state: {type: int8, min_size: 0}", "rule: galore, state: bf16, projector: int4"});
  for (const std::string& group : groups)
    for (const std::string update : {"after_backward", "during_backward"}) {
      INFO(group << " " << update);
      const testing::TemporaryFolder folder;
      const auto of = [&](const std::string& offload) {
        const RunConfig config = testing::tiny_config(
            folder.path(), {"run.name=" + offload, "run.device=" + testing::gpu_name(), "train.steps=3", "train.global_batch_size=2", "train.micro_batch_size=2",
                            "evaluation.tokens=32", "optimizer.update=" + update, "timeline=[{when: at 2, do: {type: reset_moments, match: any, mode: random, share: 0.5}}]",
                            "optimizer.groups=[{match: {role: matrix}, offload: " + offload + ", " + group + "}, {match: any, offload: " + offload + ", rule: adamw}]"});
        std::vector<double> all = losses(config);
        const Json last = testing::records(config.folder(), "step").rbegin()->second;
        return std::pair{all, last.at("mem/at_peak/optimizer").get<double>()};
      };
      const auto [here, bytes_here] = of("false");
      const auto [away, bytes_away] = of("true");
      CHECK(away == here);
      if (bytes_here > 20000) CHECK(bytes_away < 0.6 * bytes_here);
    }
}

TEST_CASE("gpu: passes that were recorded give the losses of those that were not", "[gpu]") {
  if (!testing::gpu_there()) return;
  const testing::UncheckedKernels quick;
  const testing::TemporaryFolder folder;
  const auto config = [&](const std::string& name, const std::string& device, std::vector<std::string> words) {
    words.insert(words.end(), {"run.name=" + name, "run.device={type: " + testing::gpu_name() + device + "}", "evaluation={every: every 2, tokens: 32}"});
    return testing::tiny_config(folder.path(), words);
  };
  int64_t count = 0;
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"train.global_batch_size=4", "train.micro_batch_size=4"},
           {"train.global_batch_size=4", "train.micro_batch_size=2", "run.dtype=bf16", "optimizer.groups=[{match: {role: matrix}, rule: galore}, {match: any, rule: adamw}]"},
           {"train.global_batch_size=4", "train.micro_batch_size=2", "train.recompute=block", "optimizer.clip_norm=0.5",
            "timeline=[{do: {type: grow, growth: stack}, when: at 3}, {do: {type: resize_batch, global_batch_size: 2}, when: at 5}]"},
           {"train.global_batch_size=2", "train.micro_batch_size=2", "parameterization={method: {type: sltrain, rank: 8, alpha: 8, density: 0.1}}"}}) {
    const std::string name = std::to_string(count++);
    INFO(words.back());
    const std::vector<double> asked = losses(config(name + "-asked", "", words));
    const auto before = testing::gpu_replays();
    CHECK(losses(config(name + "-recorded", ", graphs: true", words)) == asked);
    if (before) CHECK(*testing::gpu_replays() >= *before + 2);
  }
  CHECK_THROWS_WITH(Trainer(config("refused", ", graphs: true", {"optimizer.update=during_backward"})), Catch::Contains("set optimizer.update=after_backward"));
}

// On an emulated GPU attention differs from a real one's, so activations are not compared.
TEST_CASE("gpu: what is planned of weights, gradients and moments there is what they take", "[gpu][plan]") {
  if (!testing::gpu_there()) return;
  const testing::UncheckedKernels quick;
  std::vector<std::pair<std::string, std::vector<std::string>>> all;
  for (const std::filesystem::path& file : testing::shipped("method")) all.push_back({file.string(), {}});
  const std::string adamw = (std::filesystem::path(testing::source_dir()) / "configs/method/adamw.yaml").string();
  all.push_back({adamw, {"optimizer.groups.0.offload=true"}});
  all.push_back({adamw, {"optimizer.groups.0.offload=true", "optimizer.groups.0.state={type: int8, min_size: 0}", "optimizer.update=during_backward", "optimizer.clip_norm=~"}});
  for (const auto& [file, words] : all) {
    const testing::TemporaryFolder folder;
    std::vector<std::string> wider{"run.device=" + testing::gpu_name(), "model.hidden_size=64", "model.intermediate_size=172", "model.vocab_size=512",
                                   "data.sequence_length=64", "train.loss_chunk=64", "optimizer.clip_norm=~", "run.dtype=bf16"};
    wider.insert(wider.end(), words.begin(), words.end());
    const RunConfig config = testing::tiny_method(folder, file, wider);
    INFO(file << " " << fmt::format("{}", fmt::join(words, " ")));
    const MemoryPeak planned = plan_run(config).stages.front().memory.step.usual;
    const MemoryPeak taken = step_memory(config, *build_model(config, testing::gpu_device())).usual;
    for (const Segment segment : {Segment::kWeights, Segment::kGradients, Segment::kOptimizer}) {
      INFO(kSegmentNames[static_cast<size_t>(segment)]);
      CHECK(std::abs(planned.most_of(segment) - taken.most_of(segment)) <= taken.most_of(segment) / 20 + 1024);
    }
  }
}

TEST_CASE("gpu: a run goes on where it likes", "[gpu]") {
  if (!testing::gpu_there()) return;
  const testing::UncheckedKernels quick;
  const testing::TemporaryFolder folder;
  const auto config = [&](const std::string& name, const std::string& device, const std::string& steps) {
    return testing::tiny_config(folder.path(), {"run.name=" + name, "run.device=" + device, "train.steps=" + steps, "run.resume=auto", "run.dtype=bf16",
                                                "schedule.type=constant", "checkpoint.every=every 2", "optimizer.groups=[{match: {role: matrix}, rule: {type: galore, "
                                                "rank: 4, refresh: every 3}, state: {type: int8, min_size: 0}}, {match: any, rule: adamw}]"});
  };
  const std::vector<double> whole = losses(config("whole", "cpu", "6"));
  (void)losses(config("parts", "cpu", "2"));
  (void)losses(config("parts", testing::gpu_name(), "4"));
  const std::vector<double> parts = losses(config("parts", "cpu", "6"));
  REQUIRE(parts.size() >= whole.size());
  CHECK(parts.back() == Approx(whole.back()).epsilon(5e-3));  // bf16
}

TEST_CASE("gpu: a step waits for its loss and the norm of its gradients, and for no update, whatever the rule", "[gpu][conformance]") {
  if (!testing::gpu_there()) return;
  const testing::UncheckedKernels quick;
  const testing::TemporaryFolder folder;
  for (const std::string& rule : update_rules().names())
    for (const std::string update : {"after_backward", "during_backward", "offload"}) {
      INFO(rule << " " << update);
      const std::string offload = update == "offload" ? "true" : "false";
      const RunConfig config = testing::tiny_config(
          folder.path(), {"run.device=" + testing::gpu_name(), "optimizer.update=" + (update == "offload" ? "after_backward" : update), "optimizer.clip_norm=~",
                          "optimizer.groups=[{match: {role: matrix}, offload: " + offload + ", rule: " + rule + "}, {match: any, offload: " + offload + ", rule: adamw}]"});
      const auto model = build_model(config, testing::gpu_device());
      Optimizer optimizer(model->params(), config.optimizer, 1);
      take_step(config, *model, optimizer, 2, 1);  // computes bases, for which it may wait
      const auto before = testing::gpu_waits();
      take_step(config, *model, optimizer, 2, 2);
      if (before) CHECK(*testing::gpu_waits() == *before + 2);
    }
}

TEST_CASE("gpu: tensors of a device without connections of its own go by way of the host", "[gpu][dist]") {
  if (!testing::gpu_there()) return;
  testing::World world(3);
  world.run([](Communicator& comm) {
    const at::Tensor x = at::full({5}, comm.rank() + 1.0f).to(testing::gpu_device());
    comm.all_reduce(x).wait();
    TERSOR_CHECK(x.cpu().eq(6).all().item<bool>(), "the sum");
    const at::Tensor y = at::full({2, 3}, comm.rank() + 1.0f).to(at::kBFloat16).to(testing::gpu_device());
    comm.broadcast(y, 2).wait();
    TERSOR_CHECK(y.cpu().eq(3).all().item<bool>(), "the last one's");
  });
}

}  // namespace tersor
