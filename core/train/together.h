// Checks that the processes of one run make of each other.
#pragma once

#include "core/train/run_config.h"

namespace tersor {

// Throws UserError if the micro-batches of a step, at first or after a change by the timeline, cannot be shared out evenly.
void check_shares(const RunConfig& config, int processes);

// Throws UserError if a process was started with other options than the first, apart from run.threads, run.device and plugins.
void check_same_options(const RunConfig& config, Communicator& comm);

// Gives every process the weights of the first.
void share_weights(Llama& model, Communicator& comm);

// Throws if the weights are not the same, bit for bit, on all processes.
void check_replicas(const Llama& model, Communicator& comm);

// The name of a weight on this process that is not finite; empty if there is none.
[[nodiscard]] std::string weight_not_finite(const Llama& model);

// Whether all weights are finite, on all processes.
[[nodiscard]] bool are_finite(const Llama& model, Communicator& comm);

// Warns, in the first process's log, of a process that is much slower than the others for several steps in a row.
class Laggard {
 public:
  explicit Laggard(const Communicator& comm) : comm_(comm) {}
  // `milliseconds`: what each process took for its own work in one step, by rank.
  void note(const at::Tensor& milliseconds);

 private:
  const Communicator& comm_;
  int64_t rank_ = -1;
  int64_t steps_ = 0;
};

}  // namespace tersor
