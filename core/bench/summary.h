// The cells of a suite, by method and point of the grid, with their records: the basis of tables and of what is run next.
#pragma once

#include "core/bench/results.h"

namespace tersor {

// One point in the grid of a method, over the seeds.
struct PointSummary {
  std::vector<const Cell*> cells;
  std::vector<const CellRecord*> records;  // one per cell; nullptr while there is none

  [[nodiscard]] const CellRecord* first() const { return records.front(); }
  // Of the seeds that are done; NaN for values that are not finite.
  [[nodiscard]] std::vector<double> values(std::optional<double> CellRecord::* of) const;
  // Over the seeds; nothing if none has a value.
  [[nodiscard]] std::optional<int64_t> largest(std::optional<int64_t> CellRecord::* of) const;
  [[nodiscard]] int64_t num_done() const;
  [[nodiscard]] int64_t num_failed() const;
};

struct MethodSummary {
  std::string name;
  std::vector<PointSummary> points;
  std::optional<size_t> best;  // index into `points`; nothing while none has a loss
  bool at_edge = false;        // the best learning rate is the largest or the smallest of several
  bool on_front = false;       // no other method beats it in memory and loss together

  [[nodiscard]] const PointSummary* best_point() const { return best ? &points[*best] : nullptr; }
  // The mean over the seeds at the best point, NaN if one is not finite; infinity while there is no best point.
  [[nodiscard]] double loss() const;
  // Whether every point has a record with the first seed.
  [[nodiscard]] bool grid_done() const;
  // A record of the best point, or of any, for what does not depend on the training; nullptr if there is none.
  [[nodiscard]] const CellRecord* any_record() const;
};

[[nodiscard]] std::vector<MethodSummary> summarize(const Suite& suite, const Results& results);

// The cells that can be run now and have no record, in the order to run them.
[[nodiscard]] std::vector<const Cell*> due_cells(const Suite& suite, const Results& results);
// How many cells will have a record when everything is done.
[[nodiscard]] int64_t num_cells_to_run(const Suite& suite);

[[nodiscard]] double mean(const std::vector<double>& values);
// With n − 1 in the denominator; 0 for fewer than two values.
[[nodiscard]] double standard_deviation(const std::vector<double>& values);

}  // namespace tersor
