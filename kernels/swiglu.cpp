#include "kernels/swiglu.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

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

constexpr int64_t kGrain = 1 << 13;

// Computes exponentials first, a few at a time: in a single loop GCC also divides by each end of their clamped range, used or not,
// and a quotient too small for a normal fp32 number makes that many times slower.
constexpr int64_t kAtOnce = 64;

template <class T>
TERSOR_INLINE void sigmoids(const T* gate, int64_t size, Exact<T>* sigma) {
  for (int64_t i = 0; i < size; ++i) sigma[i] = exponential(-to_exact(gate[i]));
  for (int64_t i = 0; i < size; ++i) sigma[i] = 1 / (1 + sigma[i]);
}

template <class T>
TERSOR_INLINE void gated(const T* gate, const T* up, int64_t size, T* y) {
  for (int64_t begin = 0; begin < size; begin += kAtOnce) {
    const int64_t count = std::min(kAtOnce, size - begin);
    Exact<T> sigma[kAtOnce];
    sigmoids(gate + begin, count, sigma);
    for (int64_t i = 0; i < count; ++i) store(y[begin + i], to_exact(gate[begin + i]) * sigma[i] * to_exact(up[begin + i]));
  }
}

template <class T>
TERSOR_INLINE void gated_backward(const T* dy, int64_t size, T* gate, T* up) {
  for (int64_t begin = 0; begin < size; begin += kAtOnce) {
    const int64_t count = std::min(kAtOnce, size - begin);
    Exact<T> sigma[kAtOnce];
    sigmoids(gate + begin, count, sigma);
    for (int64_t i = 0; i < count; ++i) {
      const Exact<T> g = to_exact(gate[begin + i]);
      const Exact<T> u = to_exact(up[begin + i]);
      const Exact<T> d = to_exact(dy[begin + i]);
      store(gate[begin + i], d * u * (sigma[i] * (1 + g * (1 - sigma[i]))));
      store(up[begin + i], d * (g * sigma[i]));
    }
  }
}

template <class T>
TERSOR_VECTORIZED void range(const T* gate, const T* up, int64_t size, T* y) { gated(gate, up, size, y); }
template <class T>
TERSOR_VECTORIZED void range_backward(const T* dy, int64_t size, T* gate, T* up) { gated_backward(dy, size, gate, up); }

class SwiGlu : public torch::autograd::Function<SwiGlu> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& gate, const Variable& up) {
    at::Tensor y = at::empty(gate.sizes(), gate.options().requires_grad(false));
    ctx->saved_data["gate"] = gate;
    ctx->saved_data["up"] = up;
    if (y.is_meta()) return y;
    if (!on_host(y)) {
      gpu::swiglu(gpu::number_of(y), gate.const_data_ptr(), up.const_data_ptr(), y.numel(), y.data_ptr(), gpu::stream_of(y));
      return y;
    }
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, y.scalar_type(), "swiglu", [&] {
      const auto* g = gate.const_data_ptr<scalar_t>();
      const auto* u = up.const_data_ptr<scalar_t>();
      auto* out = y.data_ptr<scalar_t>();
      at::parallel_for(0, y.numel(), kGrain, [=](int64_t begin, int64_t end) { range(g + begin, u + begin, end - begin, out + begin); });
    });
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    TERSOR_CHECK(ctx->saved_data.count("gate") > 0, "swiglu: the backward pass may run only once");
    const at::Tensor gate = ctx->saved_data["gate"].toTensor().detach();
    const at::Tensor up = ctx->saved_data["up"].toTensor().detach();
    ctx->saved_data.clear();
    const at::Tensor dy = grads[0].contiguous();
    if (!on_host(dy))
      gpu::swiglu_backward(gpu::number_of(dy), dy.const_data_ptr(), dy.numel(), gate.data_ptr(), up.data_ptr(), gpu::stream_of(dy));
    else if (!dy.is_meta())
      AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, dy.scalar_type(), "swiglu", [&] {
        auto* g = gate.data_ptr<scalar_t>();
        auto* u = up.data_ptr<scalar_t>();
        const auto* d = dy.const_data_ptr<scalar_t>();
        at::parallel_for(0, dy.numel(), kGrain,
                         [=](int64_t begin, int64_t end) { range_backward(d + begin, end - begin, g + begin, u + begin); });
      });
    return {gate, up};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  TERSOR_CHECK(gate.sizes() == up.sizes() && gate.scalar_type() == up.scalar_type(), "gate and up must have one shape and type");
  TERSOR_CHECK(gate.is_contiguous() && up.is_contiguous(), "gate and up must be contiguous");
  return SwiGlu::apply(gate, up);
}

}  // namespace tersor::kernels
