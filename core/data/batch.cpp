#include "core/data/batch.h"

namespace tersor {

Batch read_batch(const TokenSource& source, const SampleOrder& order, int64_t first, int64_t rows, int64_t sequence_length) {
  const at::Tensor tokens = at::empty({rows, sequence_length + 1}, at::kLong);
  for (int64_t row = 0; row < rows; ++row)
    source.read(order.window(first + row), {tokens.data_ptr<int64_t>() + row * (sequence_length + 1), static_cast<size_t>(sequence_length + 1)});
  return {tokens.slice(1, 0, sequence_length).contiguous(), tokens.slice(1, 1).contiguous()};
}

}  // namespace tersor
