#include "kernels/rotary.h"

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

constexpr int64_t kRowsAtOnce = 16;

// Rotates the heads of one position; reads `half` numbers of each table.
template <class T>
TERSOR_INLINE void turn_heads(const T* x, const T* cos, const T* sin, int64_t heads, int64_t half, Exact<T> direction, T* y) {
  for (int64_t head = 0; head < heads; ++head, x += 2 * half, y += 2 * half)
    for (int64_t i = 0; i < half; ++i) {
      const Exact<T> a = to_exact(x[i]);
      const Exact<T> b = to_exact(x[i + half]);
      const Exact<T> c = to_exact(cos[i]);
      const Exact<T> s = direction * to_exact(sin[i]);
      store(y[i], a * c - b * s);
      store(y[i + half], b * c + a * s);
    }
}

template <class T>
TERSOR_VECTORIZED void turn(const T* x, const T* cos, const T* sin, int64_t heads, int64_t half, Exact<T> direction, T* y) {
  turn_heads(x, cos, sin, heads, half, direction, y);
}

at::Tensor turned(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, int direction) {
  at::Tensor y = at::empty(x.sizes(), x.options().requires_grad(false));
  if (y.is_meta()) return y;
  const int64_t length = x.size(1);
  const int64_t heads = x.size(2);
  const int64_t width = x.size(3);
  if (!on_host(x)) {
    gpu::rotary({.type = gpu::number_of(x), .x = x.const_data_ptr(), .cos = cos.const_data_ptr(), .sin = sin.const_data_ptr(), .rows = x.size(0) * length,
                 .length = length, .heads = heads, .width = width, .direction = static_cast<float>(direction), .y = y.data_ptr()}, gpu::stream_of(x));
    return y;
  }
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "rotary", [&] {
    const auto* in = x.const_data_ptr<scalar_t>();
    const auto* c = cos.const_data_ptr<scalar_t>();
    const auto* s = sin.const_data_ptr<scalar_t>();
    auto* out = y.data_ptr<scalar_t>();
    at::parallel_for(0, x.size(0) * length, kRowsAtOnce, [=](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t table = row % length * width;
        turn(in + row * heads * width, c + table, s + table, heads, width / 2, static_cast<Exact<scalar_t>>(direction),
             out + row * heads * width);
      }
    });
  });
  return y;
}

class Rotary : public torch::autograd::Function<Rotary> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& cos, const Variable& sin) {
    ctx->save_for_backward({cos, sin});
    return turned(x, cos, sin, 1);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list tables = ctx->get_saved_variables();
    return {turned(grads[0].contiguous(), tables[0], tables[1], -1), Variable(), Variable()};
  }
};

}  // namespace

at::Tensor rotary(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  TERSOR_CHECK(x.dim() == 4 && x.is_contiguous() && x.size(3) % 2 == 0, "x (B, length, heads, d), d even");
  for (const at::Tensor* table : {&cos, &sin})
    TERSOR_CHECK(table->dim() == 2 && table->size(0) == x.size(1) && table->size(1) == x.size(3) && table->is_contiguous() &&
                     table->scalar_type() == x.scalar_type(), "tables (length, d) of the type of x");
  return Rotary::apply(x, cos, sin);
}

}  // namespace tersor::kernels
