#include "core/growth/growth.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/base/error.h"
#include "core/base/progress.h"

namespace tersor {

GrowthRegistry& growths() {
  static GrowthRegistry registry("growth", "which block each block of a deeper model starts from; used by the action grow");
  return registry;
}

std::vector<int64_t> checked_sources(const GrowthSchedule& schedule, std::string_view name, int64_t depth) {
  std::vector<int64_t> blocks = schedule.sources(depth);
  int64_t next = 0;  // the first block that has not occurred
  for (const int64_t block : blocks) {
    if (block < 0 || block > next || block >= depth)
      throw user_error("growth '{}' of {} blocks gives [{}]: they must be blocks 0 to {}, first occurring in that order", name, depth, fmt::join(blocks, ", "), depth - 1);
    next = std::max(next, block + 1);
  }
  if (next < depth) throw user_error("growth '{}' of {} blocks gives [{}]: block {} does not occur", name, depth, fmt::join(blocks, ", "), next);
  return blocks;
}

std::vector<bool> copies(const std::vector<int64_t>& sources) {
  std::set<int64_t> seen;
  std::vector<bool> all;
  for (const int64_t source : sources) all.push_back(!seen.insert(source).second);
  return all;
}

double stacking_tokens(double parameters, double tokens) {
  const double compute = training_flops(parameters, tokens);
  const double exponent = 0.88 * std::log10(parameters) + 163.27 / std::log10(compute) - 5.74;
  return std::min(std::pow(10.0, exponent), tokens / 10);
}

}  // namespace tersor
