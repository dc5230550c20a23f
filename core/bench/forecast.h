// How much longer a suite will take, from what its runs have taken so far: seconds per FLOP, method by method.
#pragma once

#include "core/bench/summary.h"

namespace tersor {

// A run in progress, according to its metrics.jsonl.
struct RunningCell {
  const Cell* cell = nullptr;
  int64_t step = 0;
  std::optional<double> loss;
  std::optional<double> elapsed_seconds;
  std::optional<double> eta_seconds;  // nothing before its first record
};
[[nodiscard]] RunningCell look_at(const Cell& cell);

class Forecast {
 public:
  // `flops`: those of a cell, by plan.
  Forecast(const Suite& suite, std::function<double(const Cell&)> flops) : suite_(suite), flops_(std::move(flops)) {}

  // Nothing until something has been measured. Assumes that FLOPs take the same time in every run of a method, and that methods that
  // have not started are as fast as the mean of those that have.
  [[nodiscard]] std::optional<double> seconds_left(const Results& results, const std::vector<RunningCell>& running, int64_t jobs) const;

 private:
  const Suite& suite_;
  std::function<double(const Cell&)> flops_;
};

}  // namespace tersor
