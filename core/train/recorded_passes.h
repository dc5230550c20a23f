// The passes of a micro-batch, recorded once and replayed as a whole, so that a GPU does not wait for the host to launch each kernel
// (CUDA graphs; run.device.graphs).
//
//   const auto passes = record_passes(config, *kind, comm);
//   loss = passes->run(optimizer, batch, scale, [&](const Batch& b) { … return loss; });   // runs directly at first, then recorded
//
// A recording holds for one batch shape, one scale, and tensors that stay where they are: call `forget` after tensors have been replaced
// or other parameters learn (Action::changes_passes). Every replay writes its gradients to the same memory, all of them at once.
#pragma once

#include "core/data/batch.h"
#include "core/train/run_config.h"

namespace tersor {

class RecordedPasses {
 public:
  explicit RecordedPasses(std::unique_ptr<Recorder> recorder) : recorder_(std::move(recorder)) {}

  // Returns the loss and gives the gradients to the optimizer. `passes` runs forward and backward.
  at::Tensor run(Optimizer& optimizer, const Batch& batch, double scale, const std::function<at::Tensor(const Batch&)>& passes);
  void forget();

 private:
  void warn_where_nothing_repeats();

  std::unique_ptr<Recorder> recorder_;
  Batch batch_;  // what the recording reads
  double scale_ = 0;
  int64_t runs_ = 0;                  // of this shape and scale
  int64_t forgotten_ = 0;
  bool repeated_ = false;
  std::vector<at::Tensor> results_;   // the loss, then gradients
  std::vector<size_t> parameters_;    // whose gradients those are, by index
};

// Returns nullptr if the run's device does not record. Throws UserError if the run's passes cannot be recorded.
[[nodiscard]] std::unique_ptr<RecordedPasses> record_passes(const RunConfig& config, const DeviceKind& kind, const Communicator& comm);

}  // namespace tersor
