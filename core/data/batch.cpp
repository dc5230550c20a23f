#include "core/data/batch.h"

namespace tersor {

Batch as_batch(const at::Tensor& windows) {
  const int64_t length = windows.size(1) - 1;
  return {windows.slice(1, 0, length).clamp_min(0), windows.slice(1, 1).contiguous()};
}

Batch read_windows(const TokenSource& source, const std::vector<int64_t>& windows, int64_t sequence_length) {
  const int64_t width = sequence_length + 1;
  const at::Tensor tokens = at::empty({static_cast<int64_t>(windows.size()), width}, at::kLong);
  int64_t* row = tokens.data_ptr<int64_t>();
  for (const int64_t window : windows) {
    source.read(window, {row, static_cast<size_t>(width)});
    row += width;
  }
  return as_batch(tokens);
}

Batch on_device(const Batch& batch, const at::Device& device) {
  const auto bring = [&](const at::Tensor& x) { return (device.is_cuda() ? x.pin_memory() : x).to(device, true); };
  return device.is_cpu() ? batch : Batch{bring(batch.inputs), bring(batch.targets)};
}

}  // namespace tersor
