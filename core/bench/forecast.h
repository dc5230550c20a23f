// How long a suite will take yet, from what its runs have taken so far: seconds for an operation, method by method.
#pragma once

#include "core/bench/summary.h"

namespace tersor {

// A run that is under way, as its metrics.jsonl tells.
struct RunningCell {
  const Cell* cell = nullptr;
  int64_t step = 0;
  std::optional<double> loss;
  std::optional<double> elapsed_seconds;
  std::optional<double> eta_seconds;  // nothing before the first line of its log
};
[[nodiscard]] RunningCell look_at(const Cell& cell);

class Forecast {
 public:
  // `flops` of a cell, by plan.
  Forecast(const Suite& suite, std::function<double(const Cell&)> flops) : suite_(suite), flops_(std::move(flops)) {}

  // Nothing as long as nothing has been measured. Exact only in so far as operations take the same time in every run of a method,
  // and methods that have not begun are as fast as the mean of those that have.
  [[nodiscard]] std::optional<double> seconds_left(const Results& results, const std::vector<RunningCell>& running, int64_t jobs) const;

 private:
  const Suite& suite_;
  std::function<double(const Cell&)> flops_;
};

}  // namespace tersor
