// A simulated run on many processes: the one that owns the most takes its steps on meta tensors, and what it would send is counted by
// the code that sends.
#pragma once

#include "core/train/run_plan.h"

namespace tersor {

struct ProcessesPlan {
  int processes = 1;
  Shard shard = Shard::kNone;
  int64_t micro_batches = 1;   // per process and step
  int64_t peak = 0;            // of the process that owns the most
  double balance = 1;          // elements that this process owns, over the mean
  double sent = 0;             // bytes per process in an ordinary step, on average
  int64_t rounds = 0;          // messages that wait for the one before
  double flops = 0;            // per process and step

  // Ignores overlap with computation. `bandwidth` is that of one process, in bytes per second; `latency` is in seconds.
  [[nodiscard]] double communication_seconds(double bandwidth, double latency) const {
    return sent / bandwidth + static_cast<double>(rounds) * latency;
  }
};

// For the model and batch that the run begins with, and as many micro-batches as its step has, but at least one per process.
[[nodiscard]] ProcessesPlan plan_processes(const RunConfig& config, int processes, Shard shard);

}  // namespace tersor
