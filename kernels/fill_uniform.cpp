#include "kernels/fill_uniform.h"

#include <ATen/Parallel.h>

#include "kernels/on_gpu.h"
#include "kernels/on_host.h"

namespace tersor::kernels {

void fill_uniform(const at::Tensor& x, double bound, const RandomStream& random) {
  const at::NoGradGuard no_grad;
  if (!on_host(x)) {
    gpu::write_in_a_row(x, [&](const at::Tensor& y) { gpu::fill_uniform(gpu::number_of(y), y.data_ptr(), y.numel(), bound, random.key(), gpu::stream_of(y)); });
    return;
  }
  at::Tensor draws = at::empty(x.sizes(), at::TensorOptions(at::kFloat).device(x.is_meta() ? at::kMeta : at::kCPU));
  if (x.is_meta()) return;
  float* out = draws.data_ptr<float>();
  at::parallel_for(0, draws.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = static_cast<float>(bound * (2 * random.uniform(static_cast<uint64_t>(i)) - 1));
  });
  x.copy_(draws);
}

}  // namespace tersor::kernels
