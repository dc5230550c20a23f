// The passes of a micro-batch, recorded once and repeated as one thing, so that a GPU does not wait for the host to ask for each of
// their parts (CUDA graphs; run.device.graphs).
//
//   const auto passes = record_passes(config, *kind, comm);
//   loss = passes->run(optimizer, batch, scale, [&](const Batch& b) { … return loss; });   // the first time as it is, then recorded
//
// What is recorded is of one shape of batch, one scale, and of tensors that stay where they are: `forget` after tensors have been
// replaced or other parameters learn (Action::changes_passes). Gradients of a recording lie where they lay before, and all of them at once.
#pragma once

#include "core/data/batch.h"
#include "core/train/run_config.h"

namespace tersor {

class RecordedPasses {
 public:
  explicit RecordedPasses(std::unique_ptr<Recorder> recorder) : recorder_(std::move(recorder)) {}

  // The loss, its gradients given to the optimizer. `passes` goes forwards and backwards.
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
  std::vector<size_t> parameters_;    // that those are of
};

// Of a run: none where its device is asked for everything every time. UserError where what the run does cannot be recorded.
[[nodiscard]] std::unique_ptr<RecordedPasses> record_passes(const RunConfig& config, const DeviceKind& kind, const Communicator& comm);

}  // namespace tersor
