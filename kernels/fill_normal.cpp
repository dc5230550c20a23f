#include "kernels/fill_normal.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "kernels/normal_math.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"
#include "kernels/vectorize.h"

namespace tersor::kernels {
namespace {

constexpr int64_t kPairs = 256;  // per chunk

TERSOR_VECTORIZED void draw_chunk(uint64_t key, uint64_t first, double std, float* even, float* odd) {
  const RandomStream random(key);
  for (uint64_t i = 0; i < kPairs; ++i) {
    const uint64_t index = 2 * (first + i);
    const double radius = std * std::sqrt(-2 * log_of(1 - to_unit(random.bits(index))));
    double cosine;
    double sine;
    turn(to_unit(random.bits(index + 1)), cosine, sine);
    even[i] = static_cast<float>(radius * cosine);
    odd[i] = static_cast<float>(radius * sine);
  }
}

}  // namespace

void fill_normal(const at::Tensor& x, double std, const RandomStream& random) {
  const at::NoGradGuard no_grad;
  if (!on_host(x)) {
    gpu::write_in_a_row(x, [&](const at::Tensor& y) { gpu::fill_normal(gpu::number_of(y), y.data_ptr(), y.numel(), std, random.key(), gpu::stream_of(y)); });
    return;
  }
  const bool direct = x.is_contiguous() && x.scalar_type() == at::kFloat;
  const at::Tensor draws = direct ? x : at::empty(x.sizes(), at::TensorOptions(at::kFloat).device(x.is_meta() ? at::kMeta : at::kCPU));
  if (x.is_meta()) return;
  float* out = draws.data_ptr<float>();
  const int64_t n = draws.numel();
  at::parallel_for(0, (n + 2 * kPairs - 1) / (2 * kPairs), 16, [&](int64_t begin, int64_t end) {
    float even[kPairs];
    float odd[kPairs];
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kPairs;
      draw_chunk(random.key(), static_cast<uint64_t>(first), std, even, odd);
      for (int64_t i = 2 * first; i < std::min(n, 2 * (first + kPairs)); ++i) out[i] = (i % 2 == 0 ? even : odd)[i / 2 - first];
    }
  });
  if (!direct) x.copy_(draws);
}

}  // namespace tersor::kernels
