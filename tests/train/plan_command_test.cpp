// The command `tersor plan`: what it reports, and what it finds to make a run fit.
#include <sys/resource.h>

#include "core/growth/growth.h"
#include "core/train/run_plan.h"
#include "tests/support/catch.h"
#include "tests/support/methods.h"
#include "tests/support/source_dir.h"

namespace tersor {
namespace {

using testing::TemporaryFolder;

// Exit code and standard output of the program.
std::pair<int, std::string> program(const TemporaryFolder& folder, const std::string& words) {
  const std::filesystem::path out = folder / "out";
  const int status = std::system(
      fmt::format("cd {} && {} plan {} >{} 2>{}", testing::source_dir(), TERSOR_PROGRAM, words, out.string(), (folder / "err").string())
          .c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_text(out)};
}

// The peak memory, in bytes, of the largest program that has ended.
int64_t most_of_children() {
  rusage used{};
  getrusage(RUSAGE_CHILDREN, &used);
  return int64_t{1024} * used.ru_maxrss;
}

TEST_CASE("plan: a 7B model is planned without being made, and told whether it fits", "[plan]") {
  const TemporaryFolder folder;
  const std::string words =
      "configs/model/llama_7b.yaml configs/data/synthetic.yaml configs/method/galore_int8.yaml run.dtype=bf16 "
      "'train={steps: 150000, global_batch_size: 1, micro_batch_size: 1}' optimizer.update=during_backward ";
  CHECK(program(folder, words).first == kExitDone);
  CHECK(most_of_children() < int64_t{4} << 30);  // its weights alone take 13 GB
  const auto [code, text] = program(folder, words + "--json --flops 50e12 --budget 14GiB");
  CHECK(code == kExitDone);  // something makes it fit
  const Json json = Json::parse(text);
  CHECK(json["stages"][0]["parameters"] == 6738415616);
  CHECK(json["stages"][0]["memory"]["weights_bytes"] == 2 * 6738415616);
  CHECK_FALSE(json["budget"]["fits"].get<bool>());
  CHECK(json["budget"]["found"].get<bool>());
  CHECK(json["budget"]["peak_bytes"].get<int64_t>() <= int64_t{14} << 30);
  CHECK(json["seconds"].get<double>() == Approx(json["flops"].get<double>() / 50e12));
  CHECK(program(folder, words + "--budget 200GiB").first == kExitDone);
  CHECK(program(folder, words + "--budget 2GiB").first == kExitRejected);
  CHECK_THAT(read_text(folder / "err"), Catch::Contains("the nearest miss takes"));
  CHECK(program(folder, words + "--budget much").first == kExitRejected);
  CHECK(program(folder, words + "--latency 1e-6").first == kExitRejected);
  CHECK(program(folder, words + "model.hidden_size=10000000000").first == kExitRejected);
}

TEST_CASE("plan: moments in host memory are planned for a GPU, and what that costs", "[plan]") {
  const TemporaryFolder folder;
  const std::string words =
      "configs/model/llama_1b.yaml configs/data/synthetic.yaml configs/method/adamw.yaml run.dtype=bf16 optimizer.update=during_backward optimizer.clip_norm=~ "
      "'train={steps: 100, global_batch_size: 512, micro_batch_size: 1, recompute: block}' ";
  const auto offered = [&](const std::string& more) {
    const Json json = Json::parse(program(folder, words + more + " --json").second);
    for (const Json& saving : json["savings"])
      if (saving["overrides"].dump().find("offload=true") != std::string::npos) return std::optional(saving);
    return std::optional<Json>();
  };
  CHECK_FALSE(offered("run.device=cpu"));
  const std::optional<Json> saving = offered("run.device=cuda");
  REQUIRE(saving);
  CHECK(saving->at("more_compute").get<double>() > 0.01);
  CHECK(saving->at("more_compute").get<double>() < 1);
  CHECK_FALSE(offered("run.device=cuda optimizer.groups.0.offload=true"));
  // AdamW's moments in fp32 take eight bytes per parameter; a few of them at a time are brought to the GPU.
  const auto peak = [&](const std::string& more) { return Json::parse(program(folder, words + more + " --json").second)["stages"][0]["memory"]["peak_bytes"].get<double>(); };
  const double parameters = 1.34e9;
  CHECK(peak("run.device=cuda") - peak("run.device=cuda optimizer.groups.0.offload=true") > 0.85 * 8 * parameters);
  CHECK(program(folder, words + "run.device=cuda --budget 8.5GiB").first == kExitDone);
}

TEST_CASE("plan: growth is advised by the guideline", "[plan][growth]") {
  const TemporaryFolder folder;
  const std::string words =
      "configs/model/llama_1b.yaml configs/data/synthetic.yaml configs/method/adamw.yaml train.steps='10T tokens' --growth ";
  const Json json = Json::parse(program(folder, words + "--json").second);
  const Json& guideline = json["growth"]["guideline"];
  CHECK(guideline["factor"] == 4);
  CHECK(guideline["from_blocks"] == 6);
  CHECK(guideline["tokens"].get<double>() ==
        Approx(stacking_tokens(json["stages"][0]["parameters"].get<double>(), json["tokens"].get<double>())));
  CHECK_THAT(program(folder, words).second, Catch::Contains("model.num_hidden_layers=6"));
}

TEST_CASE("plan: where all micro-batches at once take the least, a budget is met with that", "[plan]") {
  const TemporaryFolder folder;
  const std::string words =
      "configs/model/llama_9m.yaml configs/data/synthetic.yaml configs/method/adamw.yaml "
      "'train={steps: 100, global_batch_size: 2, micro_batch_size: 1}' data.sequence_length=64 --json ";
  const auto budget = [&](const std::string& amount) { return Json::parse(program(folder, words + "--budget " + amount).second)["budget"]; };
  const Json least = budget("1MiB");  // the nearest miss
  CHECK_FALSE(least["found"].get<bool>());
  const Json found = budget(fmt::format("{}KiB", least["peak_bytes"].get<int64_t>() / 1024 + 1));
  CHECK(found["found"].get<bool>());
  CHECK(found["overrides"].dump().find("train.micro_batch_size=2") != std::string::npos);
  CHECK(Json::parse(program(folder, words).second)["savings"].dump().find("train.micro_batch_size=2") != std::string::npos);
}

TEST_CASE("plan: a run whose file leaves the groups to their default is planned too", "[plan]") {
  const TemporaryFolder folder;
  const std::string words = "configs/model/llama_9m.yaml configs/data/synthetic.yaml data.sequence_length=64 'train={global_batch_size: 2, micro_batch_size: 2}' --json ";
  const Json json = Json::parse(program(folder, words).second);
  const auto saving = std::find_if(json["savings"].begin(), json["savings"].end(), [](const Json& s) { return s["overrides"].dump().find("state=int8") != std::string::npos; });
  REQUIRE(saving != json["savings"].end());
  const std::string with = fmt::format("'{}' ", fmt::join((*saving)["overrides"].get<std::vector<std::string>>(), "' '"));
  CHECK(Json::parse(program(folder, with + words).second)["stages"][0]["memory"]["peak_bytes"] == (*saving)["peak_bytes"]);
}

}  // namespace
}  // namespace tersor
