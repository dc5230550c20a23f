// Checkpoints, each either complete or absent.
//
//   checkpoints/latest                   text: step-00012000
//   checkpoints/step-00012000/           model.safetensors  optim-00000.safetensors  trainer.json  config.json
//                                        tokenizer.model  manifest.json  COMMITTED
//
// A checkpoint is written into a temporary folder: every file is synced to disk and its checksum put into manifest.json, COMMITTED is
// written last, and the folder is renamed. Weights and state are stored by name in their resting type, so resuming is exact and does
// not depend on the number of processes. If all weights are dense, the checkpoint loads in Transformers. Otherwise it has no config.json,
// because Transformers would fill missing tensors with random numbers. tersor itself does not read a checkpoint's config.json:
// trainer.json has the structure, and the tokens that begin and end a text.
//
// Each process writes one optim-… file; its metadata names the process's rows of tables that are split by rows. If weights are
// scattered, each also writes a model-…-of-….safetensors, and model.safetensors.index.json lists them. A run can resume on any number
// of processes with any sharding.
#pragma once

#include <map>

#include "core/train/kept_tokenizer.h"
#include "core/train/run_config.h"

namespace tersor {

// How far a run has come, and the settings it has reached.
struct RunPosition {
  int64_t step = 0;
  int64_t samples = 0;  // windows of data.sequence_length
  int64_t tokens = 0;
  double flops = 0;
  LiveSettings settings;
  std::vector<int64_t> drawn;  // windows drawn so far from each data source
  std::optional<std::map<std::string, int64_t>> acted{};  // by timeline entry, as JSON: the step it was last due at; absent: not recorded
};

struct CheckpointContent {
  const Llama& model;
  const Optimizer& optimizer;
  const Json& config;  // resolved
  RunPosition position;
  const KeptTokenizer& tokenizer;
  std::vector<std::string> tokens{};  // fingerprint of each data source's tokens
};

class CheckpointStore {
 public:
  // Touches nothing on disk: other processes may be reading or writing there.
  CheckpointStore(std::filesystem::path folder, int64_t keep) : folder_(std::move(folder)), keep_(keep) {}

  // Completes or removes what an interrupted save left behind. Only for the process that trains in the folder.
  void remove_unfinished();

  // Saves a checkpoint, removes those beyond the newest `keep`, and returns the new folder. Each process writes the state and the
  // scattered weights that it owns, the first one everything else.
  std::filesystem::path save(const CheckpointContent& content);
  // The newest committed checkpoint.
  [[nodiscard]] std::optional<std::filesystem::path> latest() const;
  // The newest checkpoint whose files are all intact. Newer ones are set aside as step-….damaged, with a warning, so that a run whose
  // last checkpoint was damaged by the disk resumes by itself. Throws UserError if there are checkpoints but none is intact. Only for
  // the process that trains in the folder.
  [[nodiscard]] std::optional<std::filesystem::path> take_latest_whole();
  // All committed checkpoints, oldest first.
  [[nodiscard]] std::vector<std::filesystem::path> all() const;

 private:
  std::filesystem::path folder_;
  int64_t keep_;
};

// Which files are compared with their checksums in manifest.json; of the others only the sizes are.
enum class Summed { kNone, kWeights, kAll };

// Throws UserError, naming the file, if one is missing or damaged, or if this version of tersor cannot read the checkpoint.
void check_checkpoint(const std::filesystem::path& checkpoint, Summed which);

// Whether `folder` is a committed checkpoint.
[[nodiscard]] bool is_checkpoint(const std::filesystem::path& folder);

// Returns a run's newest checkpoint if `place` is the run's folder, else `place`. Throws UserError if the run has none.
[[nodiscard]] std::filesystem::path newest_of(const std::filesystem::path& place);

struct TrainerState {
  RunPosition position;
  Json config;
  Structure structure;  // of the model as it was saved
  std::vector<std::string> frozen;
  std::vector<std::string> tokens;  // fingerprints of the data so far; empty if not recorded
  std::map<std::string, std::string> plugins;  // used in training, with their checksums
};

// Returns trainer.json of a checkpoint. Throws UserError if it is not a JSON object.
[[nodiscard]] Json read_trainer(const std::filesystem::path& checkpoint);

// Loads the plugins of the checkpoint's run, for callers without a configuration that names them. A plugin that cannot be loaded only
// causes a warning here; it matters once one of its methods is needed.
void load_plugins_of(const std::filesystem::path& checkpoint);

// Calls `check_checkpoint`, then reads trainer.json.
[[nodiscard]] TrainerState open_checkpoint(const std::filesystem::path& checkpoint, Summed which);

}  // namespace tersor
