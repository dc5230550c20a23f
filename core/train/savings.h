// Options that make a run take less memory, and the cheapest combination of them that fits a budget.
//
//   const ReadConfig read = [&](const auto& more) { return read_run_config(files, overrides + more); };
//   for (const Saving& s : savings(read)) …        // each by itself
//   const Fit fit = fit_budget(read, 24 << 30);
#pragma once

#include "core/train/run_plan.h"

namespace tersor {

// The run's configuration with more overrides on top.
using ReadConfig = std::function<RunConfig(const std::vector<std::string>& more)>;

struct Saving {
  std::vector<std::string> overrides;  // train.recompute=block
  double more_compute = 0;             // as a share of the run's
  bool lossy = false;                  // numbers are kept with fewer bits; else the run is the same up to the order of sums
  std::string remark;                  // what else changes
  int64_t peak = 0;                    // with this saving
  bool second_pass = false;            // of a step's last micro-batch, at a cost that depends on its size
};

// The applicable options that lower the peak, each by itself; the largest saving first.
[[nodiscard]] std::vector<Saving> savings(const ReadConfig& read);

struct Fit {
  bool fits = false;                   // false: this is the nearest miss
  std::vector<Saving> savings;         // the parts; `peak` is 0
  int64_t micro_batch_size = 0;
  std::vector<std::string> overrides;  // all together
  int64_t peak = 0;
};

// Tries combinations that round as little as possible first and, of these, the one with the least compute; returns the first that
// fits, with the largest micro-batch that divides the batch and fits.
[[nodiscard]] Fit fit_budget(const ReadConfig& read, int64_t budget);

}  // namespace tersor
