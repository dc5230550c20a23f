// What one step spends its time on: `log.profile`.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>

namespace tersor {

// Listens to this thread and its backward passes, and on a GPU to what runs there, until it is saved or given up.
class Profile {
 public:
  // For a run that will have some. UserError where another profiler listens already (run.device: {nvtx: true}).
  static void prepare(const at::Device& device);

  explicit Profile(const at::Device& device);
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  // Ends it, when all that was asked of the device is done. Writes `name`.json, a trace for ui.perfetto.dev or chrome://tracing, and
  // `name`.txt, what took the time by operator and by kernel of the GPU. Returns that in a line.
  std::string save(const std::filesystem::path& name);

 private:
  bool on_gpu_;
  bool listening_ = true;
};

}  // namespace tersor
