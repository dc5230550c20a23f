// Whole runs on a GPU that is not there: every method's kernels, and nothing that mixes the host's tensors with the device's.
#include "tests/support/catch.h"
#include "tests/support/methods.h"
#include "tests/support/pretend_gpu.h"
#include "tests/support/simt/executor.h"

namespace tersor {
namespace {

std::vector<double> losses(const RunConfig& config) {
  REQUIRE(testing::train(config) == kExitDone);
  std::vector<double> all;
  for (const auto& [step, record] : testing::records(config.folder(), "step")) all.push_back(record.at("train/loss").get<double>());
  for (const auto& [step, record] : testing::records(config.folder(), "eval")) all.push_back(record.at("val/loss").get<double>());
  return all;
}

}  // namespace

TEST_CASE("gpu: every method trains as on the CPU", "[gpu]") {
  const simt::Unchecked quick;
  for (const std::filesystem::path& file : testing::shipped("method")) {
    INFO(file.string());
    const testing::TemporaryFolder folder;
    const auto of = [&](const std::string& device) {
      const RunConfig tiny = testing::tiny_config(folder.path(), {"run.name=" + device, "run.device=" + device, "train.steps=3", "train.global_batch_size=4", "train.micro_batch_size=2",
                                                                  "evaluation.tokens=32"});
      return losses(testing::method_config(folder, tiny, file));
    };
    const int64_t before = simt::launches();
    const std::vector<double> there = of("pretend");
    CHECK(simt::launches() > before + 100);
    const std::vector<double> here = of("cpu");
    REQUIRE(there.size() == here.size());
    for (size_t i = 0; i < here.size(); ++i) CHECK(there[i] == Approx(here[i]).epsilon(1e-3));
  }
}

}  // namespace tersor
