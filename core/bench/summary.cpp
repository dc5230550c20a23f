#include "core/bench/summary.h"

#include <cmath>
#include <limits>
#include <set>

namespace tersor {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();

PointSummary& point_of(MethodSummary& method, const Cell& cell) {
  const auto found = std::find_if(method.points.begin(), method.points.end(),
                                  [&](const PointSummary& p) { return p.cells.front()->point_text() == cell.point_text(); });
  return found != method.points.end() ? *found : method.points.emplace_back();
}

std::vector<MethodSummary> gather(const Suite& suite, const Results& results) {
  std::vector<MethodSummary> methods;
  for (const Cell& cell : suite.cells) {
    auto found = std::find_if(methods.begin(), methods.end(), [&](const MethodSummary& m) { return m.name == cell.method; });
    MethodSummary& method = found != methods.end() ? *found : methods.emplace_back(MethodSummary{.name = cell.method});
    PointSummary& point = point_of(method, cell);
    point.cells.push_back(&cell);
    point.records.push_back(results.find(cell));
  }
  return methods;
}

// What points are chosen by. If the other seeds are run only at the best point, their results must not change the choice.
double score(const PointSummary& point, SeedsAt seeds_at) {
  if (seeds_at == SeedsAt::kBest) return point.first() != nullptr && point.first()->loss ? *point.first()->loss : kNone;
  const std::vector<double> losses = point.values(&CellRecord::loss);
  return losses.empty() ? kNone : mean(losses);
}

double rate_of(const PointSummary& point) { return point.cells.front()->config.optimizer.lr; }

void choose_best(MethodSummary& method, SeedsAt seeds_at) {
  double lowest = kNone;
  for (size_t i = 0; i < method.points.size(); ++i) {
    const double value = score(method.points[i], seeds_at);
    if (!(value < lowest)) continue;  // also skips NaN
    lowest = value;
    method.best = i;
  }
  if (!method.best) return;
  const double best = rate_of(method.points[*method.best]);
  bool larger = false;
  bool smaller = false;
  for (const PointSummary& point : method.points) {
    larger = larger || rate_of(point) > best;
    smaller = smaller || rate_of(point) < best;
  }
  method.at_edge = larger != smaller;
}

// Whether `a` is no worse in loss and memory, and better in one of them.
bool beats(const MethodSummary& a, const MethodSummary& b) {
  const int64_t bytes_a = a.any_record()->planned_bytes;
  const int64_t bytes_b = b.any_record()->planned_bytes;
  return a.loss() <= b.loss() && bytes_a <= bytes_b && (a.loss() < b.loss() || bytes_a < bytes_b);
}

}  // namespace

std::vector<double> PointSummary::values(std::optional<double> CellRecord::* of) const {
  std::vector<double> all;
  for (const CellRecord* record : records)
    if (record != nullptr && record->status == "done") all.push_back((record->*of).value_or(std::nan("")));
  return all;
}

std::optional<int64_t> PointSummary::largest(std::optional<int64_t> CellRecord::* of) const {
  std::optional<int64_t> most;
  for (const CellRecord* record : records)
    if (record != nullptr && record->*of) most = std::max(*(record->*of), most.value_or(0));
  return most;
}

int64_t PointSummary::num_done() const {
  return std::count_if(records.begin(), records.end(), [](const CellRecord* r) { return r != nullptr && r->finished(); });
}

int64_t PointSummary::num_failed() const {
  return std::count_if(records.begin(), records.end(), [](const CellRecord* r) { return r != nullptr && !r->finished(); });
}

double MethodSummary::loss() const { return best ? mean(best_point()->values(&CellRecord::loss)) : kNone; }

bool MethodSummary::grid_done() const {
  return std::all_of(points.begin(), points.end(), [](const PointSummary& p) { return p.first() != nullptr; });
}

const CellRecord* MethodSummary::any_record() const {
  const auto any_of = [](const PointSummary& point) {
    const auto found = std::find_if(point.records.begin(), point.records.end(), [](const CellRecord* r) { return r != nullptr; });
    return found == point.records.end() ? nullptr : *found;
  };
  if (best) return any_of(points[*best]);
  for (const PointSummary& point : points)
    if (const CellRecord* record = any_of(point)) return record;
  return nullptr;
}

std::vector<MethodSummary> summarize(const Suite& suite, const Results& results) {
  std::vector<MethodSummary> methods = gather(suite, results);
  for (MethodSummary& method : methods) choose_best(method, suite.config.seeds_at);
  for (MethodSummary& method : methods)
    method.on_front = method.best && std::none_of(methods.begin(), methods.end(), [&](const MethodSummary& other) {
                        return other.best && beats(other, method);
                      });
  return methods;
}

std::vector<const Cell*> due_cells(const Suite& suite, const Results& results) {
  std::vector<const Cell*> due;
  const std::vector<MethodSummary> methods = summarize(suite, results);
  const bool every = suite.config.seeds_at == SeedsAt::kEvery && !suite.config.plan_only;
  const auto add = [&](const PointSummary& point, size_t seed) {
    if (point.records[seed] == nullptr) due.push_back(point.cells[seed]);
  };
  for (const MethodSummary& method : methods)
    for (const PointSummary& point : method.points)
      for (size_t seed = 0; seed < (every ? point.cells.size() : 1); ++seed) add(point, seed);
  if (every || suite.config.plan_only) return due;
  for (const MethodSummary& method : methods) {
    if (!method.grid_done() || !method.best) continue;
    for (size_t seed = 1; seed < method.best_point()->cells.size(); ++seed) add(*method.best_point(), seed);
  }
  return due;
}

int64_t num_cells_to_run(const Suite& suite) {
  const auto seeds = static_cast<int64_t>(suite.config.seeds.size());
  const int64_t points = static_cast<int64_t>(suite.cells.size()) / seeds;
  if (suite.config.plan_only) return points;
  if (suite.config.seeds_at == SeedsAt::kEvery) return points * seeds;
  std::set<std::string> methods;
  for (const Cell& cell : suite.cells) methods.insert(cell.method);
  return points + static_cast<int64_t>(methods.size()) * (seeds - 1);
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double standard_deviation(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const double middle = mean(values);
  double sum = 0;
  for (const double value : values) sum += (value - middle) * (value - middle);
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

}  // namespace tersor
