#include "core/train/loaded_run.h"

#include "core/base/files.h"
#include "core/data/tokenizer.h"
#include "core/interop/hugging_face.h"
#include "core/train/checkpoint.h"
#include "core/train/prepare.h"

namespace tersor {

namespace fs = std::filesystem;

LoadedRun load_run(const fs::path& place, const at::Device& device) {
  if (!fs::exists(place)) throw user_error("'{}' does not exist", place.string());
  const fs::path checkpoint = newest_of(place);
  if (is_checkpoint(checkpoint)) load_plugins_of(checkpoint);
  const TrainerState state = open_checkpoint(checkpoint, device.is_meta() ? Summed::kNone : Summed::kWeights);
  Diagnostics diagnostics;
  const std::string name = (checkpoint / "trainer.json").string();
  // How it was trained, perhaps by rules that are no longer here, does not matter any more.
  Json config = state.config;
  for (const char* section : {"plugins", "optimizer", "schedule", "timeline"}) config.erase(section);
  LoadedRun run{.config = read_run_config(parse_config(to_yaml(config), name, diagnostics), diagnostics),
                .checkpoint = checkpoint, .step = state.position.step};
  run.config.model = state.structure.model;
  run.model = build_model(run.config, state.structure, device);
  if (!device.is_meta()) load_weights(checkpoint, *run.model);
  return run;
}

std::string LoadedRun::tokenizer_sum() const {
  const fs::path file = checkpoint / Tokenizer::kFile;
  return fs::exists(file) ? sha256_of_file(file) : "";
}

std::string LoadedRun::difference(const LoadedRun& other) const {
  if (config.model.vocab_size != other.config.model.vocab_size) return "know different numbers of tokens";
  if (tokenizer_sum() != other.tokenizer_sum()) return "have different tokenizers";
  return "";
}

fs::path LoadedRun::tokenizer() const {
  const fs::path file = checkpoint / Tokenizer::kFile;
  if (!fs::exists(file)) throw user_error("'{}' has no tokenizer.model: the run's data came without one", checkpoint.string());
  return file;
}

}  // namespace tersor
