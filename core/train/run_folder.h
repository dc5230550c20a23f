// The folder of a run: taken by one process at a time, and prepared as `run.resume` says.
#pragma once

#include "core/train/checkpoint.h"

namespace tersor {

class RunFolder {
 public:
  // Creates or takes over the folder. UserError when another process trains in it, or when there is a run and
  // `run.resume` is never.
  explicit RunFolder(const RunConfig& config);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] CheckpointStore& checkpoints() { return *checkpoints_; }

 private:
  void lock();

  std::filesystem::path path_;
  int lock_ = -1;
  std::unique_ptr<CheckpointStore> checkpoints_;
};

// Compares the configuration of a checkpoint with the one to go on with. Returns a line for every option that differs;
// UserError when one differs that would make another run of it (model, seed, type, order and amount of data a step).
[[nodiscard]] std::vector<std::string> compare_configs(const Json& saved, const Json& current);

}  // namespace tersor
