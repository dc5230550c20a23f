#include "optim/ownership.h"

#include <algorithm>
#include <numeric>

namespace tersor {

std::vector<int> assign_owners(const std::vector<Param>& params, int processes) {
  std::vector<size_t> order(params.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return params[a].value.numel() > params[b].value.numel(); });
  std::vector<int64_t> load(static_cast<size_t>(processes), 0);
  std::vector<int> owners(params.size(), 0);
  for (const size_t index : order) {
    const auto least = std::min_element(load.begin(), load.end());
    owners[index] = static_cast<int>(least - load.begin());
    *least += params[index].value.numel();
  }
  return owners;
}

}  // namespace tersor
