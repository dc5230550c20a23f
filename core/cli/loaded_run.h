// A trained model as other commands need it: from a run's folder (its newest checkpoint) or from one checkpoint.
#pragma once

#include <filesystem>

#include "core/train/run_config.h"

namespace tersor {

struct LoadedRun {
  RunConfig config;
  std::shared_ptr<Llama> model;
  std::filesystem::path checkpoint;
  int64_t step = 0;

  // The tokenizer beside the weights. UserError when the run's data came without one.
  [[nodiscard]] std::filesystem::path tokenizer() const;
};

[[nodiscard]] LoadedRun load_run(const std::filesystem::path& run_or_checkpoint);

}  // namespace tersor
