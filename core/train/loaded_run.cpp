#include "core/train/loaded_run.h"

#include "core/base/files.h"
#include "core/data/tokenizer.h"
#include "core/interop/hugging_face.h"
#include "core/train/checkpoint.h"
#include "core/train/prepare.h"

namespace tersor {

namespace fs = std::filesystem;

namespace {

bool is_hugging_face_folder(const fs::path& folder) {
  return fs::exists(folder / "config.json") && (fs::exists(folder / "model.safetensors") || fs::exists(folder / "model.safetensors.index.json"));
}

LoadedRun load_folder(const fs::path& folder, const at::Device& device) {
  LoadedRun run{.checkpoint = folder, .of_run = false};
  run.config.model = read_hugging_face_config(folder);
  warn_of_what_is_left_out(folder);
  constexpr int64_t kWindow = 2048;  // longer windows cost memory for little gain
  run.config.data.sequence_length = std::min(run.config.model.max_position_embeddings, kWindow);
  run.model = build_model(run.config, first_structure(run.config), device);
  if (!device.is_meta()) load_weights(folder, *run.model);
  return run;
}

}  // namespace

LoadedRun load_run(const fs::path& place, const at::Device& device) {
  if (!fs::exists(place)) throw user_error("'{}' does not exist", place.string());
  const fs::path checkpoint = newest_of(place);
  if (!is_checkpoint(checkpoint) && is_hugging_face_folder(place)) return load_folder(place, device);
  if (!is_checkpoint(checkpoint))
    throw user_error("'{}' is neither the folder of a run, nor a complete checkpoint, nor a Hugging Face folder "
                     "(config.json and model.safetensors), as written by import and export", place.string());
  load_plugins_of(checkpoint);
  const TrainerState state = open_checkpoint(checkpoint, device.is_meta() ? Summed::kNone : Summed::kWeights);
  Diagnostics diagnostics;
  const std::string name = (checkpoint / "trainer.json").string();
  // How it was trained, perhaps by rules that are no longer available, does not matter here.
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
  if (config.model.vocab_size != other.config.model.vocab_size) return "have vocabularies of different sizes";
  if (tokenizer_sum() != other.tokenizer_sum()) return "have different tokenizers";
  return "";
}

fs::path LoadedRun::tokenizer() const {
  const fs::path file = checkpoint / Tokenizer::kFile;
  if (!fs::exists(file))
    throw user_error("'{}' has no tokenizer.model: {}", checkpoint.string(),
                     of_run ? "the run's data came without one" : "put the SentencePiece model of its tokens there");
  return file;
}

}  // namespace tersor
