#include "kernels/add_outer.h"

#include <ATen/Parallel.h>

#include <array>

#include "core/base/error.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"
#include "kernels/rounding.h"
#include "kernels/scalar_math.h"
#include "kernels/vectorize.h"

namespace tersor::kernels {
namespace {

constexpr int64_t kChunk = RoundingDraws::kMost;

// x[j] ← x[j] + Σₖ factor[k] · v[k][j], four products at a time.
TERSOR_VECTORIZED void add_four(float* x, const float* v, int64_t stride, const std::array<float, 4>& factor, int64_t size) {
  for (int64_t j = 0; j < size; ++j)
    x[j] = (((x[j] + factor[0] * v[j]) + factor[1] * v[j + stride]) + factor[2] * v[j + 2 * stride]) + factor[3] * v[j + 3 * stride];
}
TERSOR_VECTORIZED void add_one(float* x, const float* v, float factor, int64_t size) {
  for (int64_t j = 0; j < size; ++j) x[j] = x[j] + factor * v[j];
}

// Adds all products to numbers [first, first + size) of a row.
void add(const gpu::AddOuter& s, int64_t row, int64_t first, int64_t size, float* x) {
  const auto factor = [&](int64_t k) { return s.scale * s.u[k * s.out + row]; };
  int64_t k = 0;
  for (; k + 4 <= s.count; k += 4) add_four(x, s.v + k * s.in + first, s.in, {factor(k), factor(k + 1), factor(k + 2), factor(k + 3)}, size);
  for (; k < s.count; ++k) add_one(x, s.v + k * s.in + first, factor(k), size);
}

TERSOR_VECTORIZED void widen(const at::BFloat16* from, int64_t size, float* to) {
  for (int64_t j = 0; j < size; ++j) to[j] = to_exact(from[j]);
}

void add_to_row(const gpu::AddOuter& s, int64_t row, at::BFloat16* w, RoundingDraws& draws) {
  std::array<float, kChunk> wide;
  for (int64_t first = 0; first < s.in; first += kChunk) {
    const int64_t size = std::min(kChunk, s.in - first);
    widen(w + first, size, wide.data());
    add(s, row, first, size, wide.data());
    round_by(wide.data(), draws.from(row * s.in + first, size), size, reinterpret_cast<uint16_t*>(w + first));
  }
}

}  // namespace

void add_outer(at::Tensor& w, const at::Tensor& u, const at::Tensor& v, double scale, const RandomStream& random) {
  const bool rounds = w.scalar_type() == at::kBFloat16;
  TERSOR_CHECK(w.dim() == 2 && u.dim() == 2 && v.dim() == 2 && u.size(0) == v.size(0) && u.size(1) == w.size(0) && v.size(1) == w.size(1),
               "W (out, in), u (k, out), v (k, in)");
  TERSOR_CHECK((rounds || w.scalar_type() == at::kFloat) && u.scalar_type() == at::kFloat && v.scalar_type() == at::kFloat, "W in fp32 or bf16, u and v in fp32");
  TERSOR_CHECK(w.is_contiguous() && u.is_contiguous() && v.is_contiguous() && u.device() == w.device() && v.device() == w.device(), "contiguous, on one device");
  if (w.is_meta()) return;
  const gpu::AddOuter s{.type = gpu::number_of(w), .w = w.data_ptr(), .u = u.const_data_ptr<float>(), .v = v.const_data_ptr<float>(), .count = u.size(0),
                        .out = w.size(0), .in = w.size(1), .scale = static_cast<float>(scale), .rounding = {random.key(), 0}};
  if (!on_host(w)) return gpu::add_outer(s, gpu::stream_of(w));
  const int64_t grain = std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(1, s.in));
  at::parallel_for(0, s.out, grain, [&](int64_t begin, int64_t end) {
    RoundingDraws draws(random);
    for (int64_t row = begin; row < end; ++row) {
      if (rounds)
        add_to_row(s, row, w.data_ptr<at::BFloat16>() + row * s.in, draws);
      else
        add(s, row, 0, s.in, w.data_ptr<float>() + row * s.in);
    }
  });
}

}  // namespace tersor::kernels
