// A run resumed from any of its steps ends like one that was never stopped.
#pragma once

#include "tests/support/catch.h"
#include "tests/support/tiny_run.h"

namespace tersor::testing {

// Trains with a checkpoint after every step, resumes from each of them in a folder of its own, and compares the final weights and
// states bit for bit. Returns the events of the run: "3 merge: merged 14 weights".
inline std::vector<std::string> check_resumes_from_every_step(std::vector<std::string> overrides) {
  namespace fs = std::filesystem;
  const TemporaryFolder folder;
  overrides.insert(overrides.end(), {"checkpoint={every: every 1, keep: 100}", "evaluation.every=never"});
  const RunConfig whole = tiny_config(folder / "whole", overrides);
  REQUIRE(train(whole) == kExitDone);
  const auto checkpoint = [](const RunConfig& config, int64_t step) {
    return config.folder() / "checkpoints" / fmt::format("step-{:08}", step);
  };
  const int64_t total = whole.total_steps();
  for (int64_t step = 1; step < total; ++step) {
    INFO("resumed after step " << step);
    RunConfig resumed = tiny_config(folder / std::to_string(step), overrides);
    resumed.run.resume = Resume::kAuto;
    fs::create_directories(resumed.folder() / "checkpoints");
    fs::copy(checkpoint(whole, step), checkpoint(resumed, step));
    REQUIRE(train(resumed) == kExitDone);
    CHECK(checkpoint_sums(checkpoint(whole, total)) == checkpoint_sums(checkpoint(resumed, total)));
  }
  std::vector<std::string> events;
  std::istringstream lines(read_text(whole.folder() / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const Json record = Json::parse(line);
    if (record["type"] == "event")
      events.push_back(fmt::format("{} {}: {}", record["step"].get<int64_t>(), record["name"].get<std::string>(), record["detail"].get<std::string>()));
  }
  return events;
}

}  // namespace tersor::testing
