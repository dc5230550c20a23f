#include "core/growth/growth.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/base/progress.h"

namespace tersor {

GrowthRegistry& growths() {
  static GrowthRegistry registry("growth", "from which block each block of a deeper model starts; used by the action grow");
  return registry;
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
