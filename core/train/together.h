// What several processes of one run check of each other.
#pragma once

#include "core/train/run_config.h"

namespace tersor {

// UserError where the micro-batches of a step, now or after a change on the timeline, cannot be shared out.
void check_shares(const RunConfig& config, int processes);

// UserError where a process was started with other options than the first, those aside that are its own affair.
void check_same_options(const RunConfig& config, Communicator& comm);

// Every process has the first one's weights afterwards.
void share_weights(Llama& model, Communicator& comm);

// Throws where the weights are not the same, bit for bit, on all processes.
void check_replicas(const Llama& model, Communicator& comm);

// A weight, here, with a number that is none; empty where there is no such.
[[nodiscard]] std::string weight_not_finite(const Llama& model);

// Whether all numbers of all weights are numbers, on all processes.
[[nodiscard]] bool are_finite(const Llama& model, Communicator& comm);

// Names a process that is much slower than the others for several steps in a row, in the log of the first.
class Laggard {
 public:
  explicit Laggard(const Communicator& comm) : comm_(comm) {}
  // What each process took for its own work in one step, by rank.
  void note(const at::Tensor& milliseconds);

 private:
  const Communicator& comm_;
  int64_t rank_ = -1;
  int64_t steps_ = 0;
};

}  // namespace tersor
