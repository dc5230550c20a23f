#include "optim/ownership.h"

#include <algorithm>
#include <numeric>

namespace tersor {

std::vector<int> assign_owners(const std::vector<int64_t>& sizes, int processes) {
  std::vector<size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  std::vector<int64_t> load(static_cast<size_t>(processes), 0);
  std::vector<int> owners(sizes.size(), 0);
  for (const size_t index : order) {
    const auto least = std::min_element(load.begin(), load.end());
    owners[index] = static_cast<int>(least - load.begin());
    *least += sizes[index];
  }
  return owners;
}

std::vector<int> assign_owners(const std::vector<Param>& params, int processes) {
  std::vector<int64_t> sizes;
  for (const Param& param : params) sizes.push_back(param.value.numel());
  return assign_owners(sizes, processes);
}

}  // namespace tersor
