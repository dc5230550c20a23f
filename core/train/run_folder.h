// The folder of a run: locked by one process at a time, and prepared as `run.resume` says.
#pragma once

#include "core/base/folder_lock.h"
#include "core/train/checkpoint.h"

namespace tersor {

class RunFolder {
 public:
  // Creates or takes over the folder. Throws UserError if another process trains in it, or if it holds a run and
  // `run.resume` is never.
  // Of several processes only the first `leads`; the others change nothing.
  explicit RunFolder(const RunConfig& config, bool leads = true);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] CheckpointStore& checkpoints() { return *checkpoints_; }

 private:
  std::filesystem::path path_;
  std::unique_ptr<FolderLock> lock_;
  std::unique_ptr<CheckpointStore> checkpoints_;
};

// "optimizer.lr: 0.001 → 0.002" for every option that differs.
struct Difference {
  std::string option;
  std::string text;
};
[[nodiscard]] std::vector<Difference> differences(const Json& before, const Json& after);

// Compares the configuration of a checkpoint with the current one. Returns a line for every option that differs, but for those of `run`
// that are free to. Throws UserError if one differs that would make it another run (model, parameterization, seed, dtype, order and
// amount of data per step).
[[nodiscard]] std::vector<std::string> compare_configs(const Json& saved, const Json& current);

}  // namespace tersor
