// A run on many processes, on paper: the fullest of them takes its steps on tensors without numbers, and what it would send is
// counted by the code that sends.
#pragma once

#include "core/train/run_plan.h"

namespace tersor {

struct ProcessesPlan {
  int processes = 1;
  Shard shard = Shard::kNone;
  int64_t micro_batches = 1;   // a process, in a step
  int64_t peak = 0;            // of the process with the most
  double balance = 1;          // numbers that the fullest owns, over the mean
  double sent = 0;             // bytes that a process sends in an ordinary step, on average
  int64_t rounds = 0;          // messages in a row
  double flops = 0;            // of a process in a step

  // Without what goes on at the same time as computation. Rates are of one process: FLOPs and bytes a second; latency in seconds.
  [[nodiscard]] double communication_seconds(double bandwidth, double latency) const {
    return sent / bandwidth + static_cast<double>(rounds) * latency;
  }
};

// For the model and batch that the run begins with; as many micro-batches as its step has, but at least one a process.
[[nodiscard]] ProcessesPlan plan_processes(const RunConfig& config, int processes, Shard shard);

}  // namespace tersor
