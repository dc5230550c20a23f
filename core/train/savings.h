// What makes a run smaller, and the cheapest of it with which the run fits a budget.
//
//   const ReadConfig read = [&](const auto& more) { return read_run_config(files, overrides + more); };
//   for (const Saving& s : savings(read)) …        // each alone
//   const Fit fit = fit_budget(read, 24 << 30);
#pragma once

#include "core/train/run_plan.h"

namespace tersor {

// The run's configuration with more overrides on top.
using ReadConfig = std::function<RunConfig(const std::vector<std::string>& more)>;

struct Saving {
  std::vector<std::string> overrides;  // train.recompute=block
  double more_compute = 0;             // share of the run's
  bool lossy = false;                  // numbers are kept with fewer digits; else the run is the same up to the order of sums
  std::string remark;                  // what else changes
  int64_t peak = 0;                    // with it
  bool second_pass = false;            // of a step's last micro-batch: what it costs depends on how large that is
};

// Of those that apply, each by itself, those that save; the largest first.
[[nodiscard]] std::vector<Saving> savings(const ReadConfig& read);

struct Fit {
  bool fits = false;                   // false: this is the nearest miss
  std::vector<Saving> savings;         // each by itself; `peak` is 0
  int64_t micro_batch_size = 0;
  std::vector<std::string> overrides;  // all together
  int64_t peak = 0;
};

// Of all combinations, those that keep the run as it is before those that round, and of these the one with the least compute;
// with it, the largest micro-batch that divides the batch.
[[nodiscard]] Fit fit_budget(const ReadConfig& read, int64_t budget);

}  // namespace tersor
