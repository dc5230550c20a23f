// The folder of a run: taken by one process at a time, and prepared as `run.resume` says.
#pragma once

#include "core/base/folder_lock.h"
#include "core/train/checkpoint.h"

namespace tersor {

class RunFolder {
 public:
  // Creates or takes over the folder. UserError when another process trains in it, or when there is a run and
  // `run.resume` is never.
  // Of several processes the first `leads`; the others change nothing.
  explicit RunFolder(const RunConfig& config, bool leads = true);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] CheckpointStore& checkpoints() { return *checkpoints_; }

 private:
  std::filesystem::path path_;
  std::unique_ptr<FolderLock> lock_;
  std::unique_ptr<CheckpointStore> checkpoints_;
};

// "optimizer.lr: 0.001 → 0.002" for every option that is another in the second.
struct Difference {
  std::string option;
  std::string text;
};
[[nodiscard]] std::vector<Difference> differences(const Json& before, const Json& after);

// Compares the configuration of a checkpoint with the one to go on with. Returns a line for every option that differs;
// UserError when one differs that would make another run of it (model, seed, type, order and amount of data a step).
[[nodiscard]] std::vector<std::string> compare_configs(const Json& saved, const Json& current);

}  // namespace tersor
