#include "kernels/rms_norm.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/base/error.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"
#include "kernels/scalar_math.h"
#include "kernels/vectorize.h"

namespace tersor::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr int64_t kRowsAtOnce = 32;  // rows whose shares of d gain are summed together, whatever the number of threads

template <class T>
TERSOR_INLINE void norm_row(const T* x, const T* gain, int64_t width, Exact<T> eps, T* y, Exact<T>* scale) {
  const Exact<T> sum = lane_sum<Exact<T>>(width, [=](int64_t i) { return to_exact(x[i]) * to_exact(x[i]); });
  const Exact<T> s = 1 / std::sqrt(sum / static_cast<Exact<T>>(width) + eps);
  for (int64_t i = 0; i < width; ++i) {
    T unit;
    store(unit, to_exact(x[i]) * s);
    store(y[i], to_exact(gain[i]) * to_exact(unit));
  }
  *scale = s;
}

// `around` may be null. Adds to d_gain.
template <class T>
TERSOR_INLINE void norm_row_backward(const T* x, const T* gain, const T* dy, const T* around, int64_t width, Exact<T> s, T* dx,
                                     Exact<T>* d_gain) {
  const Exact<T> sum =
      lane_sum<Exact<T>>(width, [=](int64_t i) { return to_exact(gain[i]) * to_exact(dy[i]) * (to_exact(x[i]) * s); });
  const Exact<T> mean = sum / static_cast<Exact<T>>(width);
  for (int64_t i = 0; i < width; ++i) d_gain[i] += to_exact(dy[i]) * (to_exact(x[i]) * s);
  if (around == nullptr)
    for (int64_t i = 0; i < width; ++i) store(dx[i], s * (to_exact(gain[i]) * to_exact(dy[i]) - to_exact(x[i]) * s * mean));
  else
    for (int64_t i = 0; i < width; ++i)
      store(dx[i], to_exact(around[i]) + s * (to_exact(gain[i]) * to_exact(dy[i]) - to_exact(x[i]) * s * mean));
}

template <class T>
TERSOR_VECTORIZED void norm_rows(const T* x, const T* gain, int64_t rows, int64_t width, Exact<T> eps, T* y, Exact<T>* scale) {
  for (int64_t i = 0; i < rows; ++i) norm_row(x + i * width, gain, width, eps, y + i * width, scale + i);
}
template <class T>
TERSOR_VECTORIZED void norm_rows_backward(const T* x, const T* gain, const T* dy, const T* around, int64_t rows, int64_t width,
                               const Exact<T>* scale, T* dx, Exact<T>* d_gain) {
  for (int64_t i = 0; i < rows; ++i)
    norm_row_backward(x + i * width, gain, dy + i * width, around == nullptr ? nullptr : around + i * width, width, scale[i],
                      dx + i * width, d_gain);
}

at::TensorOptions exact(const at::Tensor& x) {
  return x.options().dtype(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat).requires_grad(false);
}

template <class T>
void norm(const at::Tensor& x, const at::Tensor& gain, double eps, at::Tensor& y, at::Tensor& scale) {
  const int64_t width = x.size(-1);
  const T* in = x.const_data_ptr<T>();
  const T* gains = gain.const_data_ptr<T>();
  T* out = y.data_ptr<T>();
  Exact<T>* scales = scale.data_ptr<Exact<T>>();
  at::parallel_for(0, scale.numel(), kRowsAtOnce, [=](int64_t begin, int64_t end) {
    norm_rows(in + begin * width, gains, end - begin, width, static_cast<Exact<T>>(eps), out + begin * width, scales + begin);
  });
}

template <class T>
void norm_backward(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& scale, const at::Tensor& dy, const at::Tensor& around,
                   at::Tensor& dx, at::Tensor& d_gains) {
  const int64_t rows = scale.numel();
  const int64_t width = x.size(-1);
  const T* in = x.const_data_ptr<T>();
  const T* gains = gain.const_data_ptr<T>();
  const T* d_out = dy.const_data_ptr<T>();
  const T* d_around = around.defined() ? around.const_data_ptr<T>() : nullptr;
  const Exact<T>* scales = scale.const_data_ptr<Exact<T>>();
  T* d_in = dx.data_ptr<T>();
  Exact<T>* shares = d_gains.data_ptr<Exact<T>>();
  at::parallel_for(0, d_gains.size(0), 1, [=](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kRowsAtOnce * width;
      norm_rows_backward(in + first, gains, d_out + first, d_around == nullptr ? nullptr : d_around + first,
                         std::min(kRowsAtOnce, rows - chunk * kRowsAtOnce), width, scales + chunk * kRowsAtOnce, d_in + first,
                         shares + chunk * width);
    }
  });
}

void norm_anywhere(const at::Tensor& x, const at::Tensor& gain, double eps, at::Tensor& y, at::Tensor& scale) {
  if (x.is_meta()) return;
  if (on_host(x)) {
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "rms_norm", [&] { norm<scalar_t>(x, gain, eps, y, scale); });
    return;
  }
  gpu::rms_norm({.type = gpu::number_of(x), .x = x.const_data_ptr(), .gain = gain.const_data_ptr(), .rows = scale.numel(), .width = x.size(-1),
                 .eps = static_cast<float>(eps), .y = y.data_ptr(), .scale = scale.data_ptr<float>()}, gpu::stream_of(x));
}

void norm_backward_anywhere(const at::Tensor& x, const at::Tensor& gain, const at::Tensor& scale, const at::Tensor& dy, const at::Tensor& around,
                            at::Tensor& dx, at::Tensor& d_gains) {
  if (x.is_meta()) return;
  if (on_host(x)) {
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "rms_norm", [&] {
      norm_backward<scalar_t>(x, gain, scale, dy, around, dx, d_gains);
    });
    return;
  }
  gpu::rms_norm_backward({.type = gpu::number_of(x), .x = x.const_data_ptr(), .gain = gain.const_data_ptr(), .scale = scale.const_data_ptr<float>(),
                          .dy = dy.const_data_ptr(), .around = around.defined() ? around.const_data_ptr() : nullptr, .rows = scale.numel(),
                          .width = x.size(-1), .dx = dx.data_ptr(), .d_gains = d_gains.data_ptr<float>()}, gpu::stream_of(x));
}

class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const Variable& x, const Variable& gain, double eps, bool residual) {
    at::Tensor y = at::empty_like(x, x.options().requires_grad(false), at::MemoryFormat::Contiguous);
    at::Tensor scale = at::empty({x.numel() / x.size(-1)}, exact(x));
    norm_anywhere(x, gain, eps, y, scale);
    ctx->save_for_backward({x, gain, scale});
    ctx->set_materialize_grads(false);
    if (residual) return {y, x};
    return {y};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &gain = saved[1], &scale = saved[2];
    const at::Tensor around = grads.size() > 1 && grads[1].defined() ? grads[1].contiguous() : at::Tensor();
    if (!grads[0].defined()) return {around, Variable(), Variable(), Variable()};
    const at::Tensor dy = grads[0].contiguous();
    at::Tensor dx = at::empty(x.sizes(), x.options().requires_grad(false));
    const int64_t at_once = on_host(x) ? kRowsAtOnce : gpu::kNormRowsAtOnce;
    at::Tensor d_gains = at::empty({(scale.numel() + at_once - 1) / at_once, x.size(-1)}, scale.options());
    if (on_host(x)) d_gains.zero_();
    norm_backward_anywhere(x, gain, scale, dy, around, dx, d_gains);
    return {dx, d_gains.sum(0).to(gain.scalar_type()), Variable(), Variable()};
  }
};

variable_list apply(const at::Tensor& x, const at::Tensor& gain, double eps, bool residual) {
  TERSOR_CHECK(x.dim() > 0 && gain.dim() == 1 && x.size(-1) == gain.size(0), "x (…, d) and a gain of (d)");
  TERSOR_CHECK(x.scalar_type() == gain.scalar_type(), "x and gain of one type");
  return RmsNormFunction::apply(x.contiguous(), gain.contiguous(), eps, residual);
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double eps) { return apply(x, gain, eps, false)[0]; }

ResidualNorm residual_rms_norm(const at::Tensor& x, const at::Tensor& gain, double eps) {
  const variable_list out = apply(x, gain, eps, true);
  return {.around = out[1], .normed = out[0]};
}

}  // namespace tersor::kernels
