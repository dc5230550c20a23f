// The message for a run that ends because gradients are infinite or not numbers.
#pragma once

#include <filesystem>

#include "optim/optimizer.h"

namespace tersor {

// `most`: how many such steps in a row end a run that skips them. `weight`: the name of a weight that is not finite either, or empty.
[[nodiscard]] inline std::string end_by_nonfinite(const OptimizerConfig& config, int64_t most, const std::optional<std::filesystem::path>& checkpoint,
                                                  const std::string& weight) {
  const bool skips = config.on_nonfinite == OnNonfinite::kSkip;
  std::vector<std::string> remedies{"lower optimizer.lr"};
  remedies.emplace_back(config.clip_norm ? "lower optimizer.clip_norm" : "set optimizer.clip_norm");
  if (!skips) remedies.push_back(fmt::format("skip up to {} such steps with optimizer.on_nonfinite=skip", most - 1));
  return fmt::format("{}, so the run ends. {}{} What may help: {}",
                     skips ? fmt::format("{} steps in a row had gradients that are infinite or not numbers", most) : "a gradient is infinite or not a number",
                     weight.empty() ? "" : fmt::format("The weight '{}' is not finite either: its rule or an action made it so in an earlier step. ", weight),
                     checkpoint ? fmt::format("The last checkpoint is '{}'.", checkpoint->string()) : "There is no checkpoint yet.", fmt::join(remedies, "; "));
}

}  // namespace tersor
