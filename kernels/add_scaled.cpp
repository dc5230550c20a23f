#include "kernels/add_scaled.h"

#include <ATen/Parallel.h>

#include "core/base/error.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"
#include "kernels/vectorize.h"

namespace tersor::kernels {
namespace {

constexpr int64_t kGrain = 1 << 14;

TERSOR_VECTORIZED void one_gain(float* w, const float* x, int64_t size, float keep, float factor) {
  for (int64_t i = 0; i < size; ++i) w[i] = keep * w[i] + factor * x[i];
}

TERSOR_VECTORIZED void gain_each(float* w, const float* x, const float* factors, int64_t size, float keep) {
  for (int64_t i = 0; i < size; ++i) w[i] = keep * w[i] + factors[i] * x[i];
}

void plain(at::Tensor& w, double keep, const at::Tensor& x, const at::Tensor& gain, double rate) {
  if (keep != 1) w.mul_(keep);
  if (gain.defined())
    w.addcmul_(x, gain.to(w.scalar_type()), rate);
  else
    w.add_(x, rate);
}

}  // namespace

void add_scaled(at::Tensor& w, double keep, const at::Tensor& x, const at::Tensor& gain, double rate) {
  TERSOR_CHECK(w.sizes() == x.sizes() && w.device() == x.device() && (!gain.defined() || gain.device() == w.device()),
               "a weight and its step of one shape, and a gain, on one device");
  const bool one = !gain.defined() || gain.numel() == 1;
  const bool by_row = !one && w.dim() == 2 && gain.dim() == 2 && gain.size(0) == w.size(0) && gain.size(1) == 1;
  const bool by_column = !one && w.dim() == 2 && gain.dim() == 2 && gain.size(0) == 1 && gain.size(1) == w.size(1);
  for (const at::Tensor* t : {static_cast<const at::Tensor*>(&w), &x})
    if (!t->is_contiguous() || t->scalar_type() != at::kFloat) return plain(w, keep, x, gain, rate);
  if (!one && !by_row && !by_column) return plain(w, keep, x, gain, rate);
  // In double, so that the product of rate and gain is rounded only once.
  const at::Tensor factors = gain.defined() ? (gain.to(at::kDouble) * rate).to(at::kFloat).contiguous() : at::Tensor();
  if (w.is_meta()) return;
  const auto same = static_cast<float>(rate);
  const float* factor = factors.defined() ? factors.const_data_ptr<float>() : &same;
  const auto kept = static_cast<float>(keep);
  float* out = w.data_ptr<float>();
  if (!on_host(w)) {
    const int64_t columns = w.dim() == 0 ? 1 : w.size(-1);
    gpu::add_scaled({.w = out, .x = x.const_data_ptr<float>(), .gain = factors.defined() ? factor : nullptr, .rows = columns == 0 ? 0 : w.numel() / columns,
                     .columns = columns, .keep = kept, .rate = same, .form = one ? gpu::Gain::kOne : by_row ? gpu::Gain::kByRow : gpu::Gain::kByColumn}, gpu::stream_of(w));
    return;
  }
  const float* in = x.const_data_ptr<float>();
  if (one) {
    at::parallel_for(0, w.numel(), kGrain, [=](int64_t begin, int64_t end) { one_gain(out + begin, in + begin, end - begin, kept, *factor); });
    return;
  }
  const int64_t columns = w.size(1);
  at::parallel_for(0, w.size(0), std::max<int64_t>(1, kGrain / std::max<int64_t>(1, columns)), [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (by_row)
        one_gain(out + i * columns, in + i * columns, columns, kept, factor[i]);
      else
        gain_each(out + i * columns, in + i * columns, factor, columns, kept);
    }
  });
}

}  // namespace tersor::kernels
