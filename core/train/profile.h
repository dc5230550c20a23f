// What one step spends its time on: `log.profile`.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>

namespace tersor {

// Profiles this thread and its backward passes, and what runs on a GPU, until it is saved or destroyed.
class Profile {
 public:
  // To be called before a run that will profile steps. Throws UserError if another profiler is active (run.device: {nvtx: true}).
  static void prepare(const at::Device& device);

  explicit Profile(const at::Device& device);
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  // Stops profiling; the device must have finished its work. Writes `name`.json, a trace for ui.perfetto.dev or chrome://tracing, and
  // `name`.txt, the time by operator and by GPU kernel. Returns a one-line summary.
  std::string save(const std::filesystem::path& name);

 private:
  bool on_gpu_;
  bool listening_ = true;
};

}  // namespace tersor
