#include "core/data/batch.h"

namespace tersor {

Batch read_windows(const TokenSource& source, const std::vector<int64_t>& windows, int64_t sequence_length) {
  const int64_t width = sequence_length + 1;
  const at::Tensor tokens = at::empty({static_cast<int64_t>(windows.size()), width}, at::kLong);
  int64_t* row = tokens.data_ptr<int64_t>();
  for (const int64_t window : windows) {
    source.read(window, {row, static_cast<size_t>(width)});
    row += width;
  }
  return {tokens.slice(1, 0, sequence_length).contiguous(), tokens.slice(1, 1).contiguous()};
}

}  // namespace tersor
