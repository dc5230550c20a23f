// Checkpoints that are whole or not there.
//
//   checkpoints/latest                   text: step-00012000
//   checkpoints/step-00012000/           model.safetensors  optim-00000.safetensors  trainer.json  config.json
//                                        tokenizer.model  manifest.json  COMMITTED
//
// A checkpoint is written into a temporary folder, every file made durable and summed up in manifest.json, COMMITTED
// written last, and the folder renamed. Weights and state are kept by name and in their resting type, so that resuming is
// exact and does not depend on the number of processes. Where all weights are dense a checkpoint loads in Transformers; of others there
// is no config.json, as Transformers would fill with random numbers what it does not find. Nothing here reads it: trainer.json has the
// structure, and the tokens that begin and end a text.
//
// Several processes write one optim-… file each; its metadata names the rows of tables that are cut among them. Where weights are
// scattered each also writes a model-…-of-….safetensors, and model.safetensors.index.json lists them. A run goes on on any number of
// processes, sharded in any way.
#pragma once

#include <map>

#include "core/train/kept_tokenizer.h"
#include "core/train/run_config.h"

namespace tersor {

// How far a run is, and what it has become on the way.
struct RunPosition {
  int64_t step = 0;
  int64_t samples = 0;  // windows of data.sequence_length
  int64_t tokens = 0;
  double flops = 0;
  LiveSettings settings;
  std::vector<int64_t> drawn;  // windows that each source of the data has given
  std::optional<std::map<std::string, int64_t>> acted{};  // entries of the timeline, as JSON, and the step each was last due at; none: not told
};

struct CheckpointContent {
  const Llama& model;
  const Optimizer& optimizer;
  const Json& config;  // resolved
  RunPosition position;
  const KeptTokenizer& tokenizer;
  std::vector<std::string> tokens{};  // what tells those of each source of the data from others
};

class CheckpointStore {
 public:
  // Changes nothing: others may be reading or writing there.
  CheckpointStore(std::filesystem::path folder, int64_t keep) : folder_(std::move(folder)), keep_(keep) {}

  // Removes what an interrupted save has left behind. Only for the process that trains in the folder.
  void remove_unfinished();

  // Saves and removes checkpoints beyond the newest `keep`. Returns the folder. Of several processes each writes the state that
  // it owns, and the first all else.
  std::filesystem::path save(const CheckpointContent& content);
  // The newest committed checkpoint.
  [[nodiscard]] std::optional<std::filesystem::path> latest() const;
  // The newest of which every file is what was saved. Newer ones are set aside as step-….damaged, with a warning, so that a run whose
  // last checkpoint a disk has lost goes on by itself. UserError where there are some and none is whole. Only for the process that
  // trains in the folder.
  [[nodiscard]] std::optional<std::filesystem::path> take_latest_whole();
  // All committed ones, oldest first.
  [[nodiscard]] std::vector<std::filesystem::path> all() const;

 private:
  std::filesystem::path folder_;
  int64_t keep_;
};

// Which files are compared with the checksums in manifest.json; of all others the sizes are.
enum class Summed { kNone, kWeights, kAll };

// UserError, naming the file, where one is not what was saved, or where this version of tersor cannot read it.
void check_checkpoint(const std::filesystem::path& checkpoint, Summed which);

// Whether this is a checkpoint that is whole.
[[nodiscard]] bool is_checkpoint(const std::filesystem::path& folder);

// `place`, or of a run its newest checkpoint. UserError where it has none.
[[nodiscard]] std::filesystem::path newest_of(const std::filesystem::path& place);

struct TrainerState {
  RunPosition position;
  Json config;
  Structure structure;  // of the model as it was saved
  std::vector<std::string> frozen;
  std::vector<std::string> tokens;  // of the data so far; empty in checkpoints that do not tell
  std::map<std::string, std::string> plugins;  // that it was trained with, and their checksums
};

// trainer.json of a checkpoint. UserError where it is no JSON.
[[nodiscard]] Json read_trainer(const std::filesystem::path& checkpoint);

// Loads the plugins of the run that it is of, where no configuration at hand names them. One that has moved matters only where one of
// its methods is asked for.
void load_plugins_of(const std::filesystem::path& checkpoint);

// Reads trainer.json after `check_checkpoint`.
[[nodiscard]] TrainerState open_checkpoint(const std::filesystem::path& checkpoint, Summed which);

}  // namespace tersor
