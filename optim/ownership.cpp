#include "optim/ownership.h"

#include <numeric>

namespace tersor {

std::vector<int> assign_owners(const std::vector<int64_t>& sizes, std::vector<int64_t>& load) {
  std::vector<size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  std::vector<int> owners(sizes.size(), 0);
  for (const size_t index : order) {
    const auto least = std::min_element(load.begin(), load.end());
    owners[index] = static_cast<int>(least - load.begin());
    *least += sizes[index];
  }
  return owners;
}

namespace {

// Fills processes up to `target`, in rank order; the remainder goes, one part at a time, to whichever has the least.
std::vector<Piece> share_rows(const at::Tensor& table, size_t index, int64_t target, std::vector<int64_t>& load) {
  const int64_t rows = table.size(0);
  const int64_t at_once = rows_at_once(table.size(1));
  const int64_t part = at_once * table.size(1);
  int64_t left = (rows + at_once - 1) / at_once;
  std::vector<int64_t> parts(load.size());
  for (size_t i = 0; i < load.size(); ++i) {
    parts[i] = std::clamp<int64_t>((target - load[i]) / part, 0, left);
    left -= parts[i];
    load[i] += parts[i] * part;
  }
  for (; left > 0; --left) {
    const auto least = std::min_element(load.begin(), load.end());
    ++parts[static_cast<size_t>(least - load.begin())];
    *least += part;
  }
  std::vector<Piece> pieces;
  int64_t begin = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i] == 0) continue;
    const int64_t end = std::min(rows, begin + parts[i] * at_once);
    pieces.push_back({.param = index, .owner = static_cast<int>(i), .begin = begin, .end = end});
    begin = end;
  }
  if (pieces.size() == 1) pieces[0].end = 0;
  return pieces;
}

}  // namespace

std::vector<Piece> divide(const std::vector<Param>& params, int processes, const std::function<bool(size_t)>& by_rows) {
  std::vector<int64_t> load(static_cast<size_t>(processes), 0);
  std::vector<std::vector<Piece>> pieces(params.size());
  int64_t total = 0;
  const auto assign = [&](const auto& which) {
    std::vector<size_t> indices;
    std::vector<int64_t> sizes;
    for (size_t i = 0; i < params.size(); ++i) {
      if (!which(i)) continue;
      indices.push_back(i);
      sizes.push_back(params[i].value.numel());
      total += sizes.back();
    }
    const std::vector<int> owners = assign_owners(sizes, load);
    for (size_t i = 0; i < indices.size(); ++i) pieces[indices[i]] = {{.param = indices[i], .owner = owners[i]}};
  };
  assign([&](size_t i) { return !is_table(params[i]); });
  assign([&](size_t i) { return is_table(params[i]) && !by_rows(i); });
  for (size_t i = 0; i < params.size(); ++i)
    if (pieces[i].empty()) total += params[i].value.numel();
  for (size_t i = 0; i < params.size(); ++i)
    if (pieces[i].empty()) pieces[i] = share_rows(params[i].value, i, (total + processes - 1) / processes, load);
  std::vector<Piece> all;
  for (const auto& of_param : pieces) all.insert(all.end(), of_param.begin(), of_param.end());
  return all;
}

}  // namespace tersor
