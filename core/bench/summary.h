// The cells of a suite, by method and point of the grid, with what is known of them: what tables and schedules are made of.
#pragma once

#include "core/bench/results.h"

namespace tersor {

// One place in the grid of a method, over the seeds.
struct PointSummary {
  std::vector<const Cell*> cells;
  std::vector<const CellRecord*> records;  // of each cell; nullptr while there is none

  [[nodiscard]] const CellRecord* first() const { return records.front(); }
  // Of the seeds that are done. NaN where a loss is not finite.
  [[nodiscard]] std::vector<double> values(std::optional<double> CellRecord::* of) const;
  // Over the seeds; nothing where none has one.
  [[nodiscard]] std::optional<int64_t> largest(std::optional<int64_t> CellRecord::* of) const;
  [[nodiscard]] int64_t num_done() const;
  [[nodiscard]] int64_t num_failed() const;
};

struct MethodSummary {
  std::string name;
  std::vector<PointSummary> points;
  std::optional<size_t> best;  // of the points; nothing while none has a loss
  bool at_edge = false;        // no larger, or no smaller, learning rate was tried than the best one, of several
  bool on_front = false;       // no other method takes less memory and has a lower perplexity

  [[nodiscard]] const PointSummary* best_point() const { return best ? &points[*best] : nullptr; }
  // The mean over the seeds at the best point, NaN where one is not finite; infinity while there is no best point.
  [[nodiscard]] double loss() const;
  // Whether every point has a record with the first seed.
  [[nodiscard]] bool grid_done() const;
  // Of the best point, or of any, for what does not depend on the training; nullptr where no cell is over.
  [[nodiscard]] const CellRecord* any_record() const;
};

[[nodiscard]] std::vector<MethodSummary> summarize(const Suite& suite, const Results& results);

// The cells that can be run now and have no record, in the order to run them.
[[nodiscard]] std::vector<const Cell*> due_cells(const Suite& suite, const Results& results);
// How many cells there will be with a record when all is done.
[[nodiscard]] int64_t num_cells_to_run(const Suite& suite);

[[nodiscard]] double mean(const std::vector<double>& values);
// With n − 1 in the denominator; 0 for fewer than two values.
[[nodiscard]] double standard_deviation(const std::vector<double>& values);

}  // namespace tersor
