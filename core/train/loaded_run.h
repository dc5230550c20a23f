// A trained model: from a run's folder (its newest checkpoint), from one checkpoint, or from a Hugging Face folder, such as an import or an
// export, whose configuration is the default one and whose step is 0.
#pragma once

#include <filesystem>

#include "core/train/run_config.h"

namespace tersor {

struct LoadedRun {
  RunConfig config;
  std::shared_ptr<Llama> model;
  std::filesystem::path checkpoint;
  int64_t step = 0;
  bool of_run = true;  // false: nothing but the model is known

  // Whether tokens mean the same in both. If not, what differs, for "A and B …".
  [[nodiscard]] std::string difference(const LoadedRun& other) const;
  // SHA-256 of the tokenizer beside the weights; empty where there is none.
  [[nodiscard]] std::string tokenizer_sum() const;

  // The tokenizer beside the weights. UserError when there is none.
  [[nodiscard]] std::filesystem::path tokenizer() const;
};

// With the weights on a device; on the meta device without them.
[[nodiscard]] LoadedRun load_run(const std::filesystem::path& place, const at::Device& device);

}  // namespace tersor
