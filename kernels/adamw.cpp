#include "kernels/adamw.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "core/base/error.h"
#include "kernels/quantize_blockwise.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"
#include "kernels/vectorize.h"

namespace tersor::kernels {
namespace {

constexpr int64_t kGrain = 1 << 14;

// The coefficients in fp32, as the loops use them.
struct Floats {
  float keep2, new1, new2, epsilon, grad_scale, decay, rate;

  [[nodiscard]] gpu::AdamNumbers on_gpu() const { return {keep2, new1, new2, epsilon, grad_scale, decay, rate}; }

  Floats(const AdamCoefficients& c, const AdamStep& s)
      : keep2(static_cast<float>(c.beta2)), new1(static_cast<float>(1 - c.beta1)), new2(static_cast<float>(1 - c.beta2)),
        epsilon(static_cast<float>(c.epsilon)), grad_scale(static_cast<float>(s.grad_scale)),
        decay(static_cast<float>(1 - s.lr * s.weight_decay)), rate(static_cast<float>(s.lr * c.gain)) {}
};

TERSOR_VECTORIZED void direction_loop(const float* g, float* m, float* v, float* n, int64_t size, Floats f) {
  for (int64_t i = 0; i < size; ++i) {
    const float m1 = m[i] + f.new1 * (g[i] - m[i]);
    const float v1 = f.keep2 * v[i] + f.new2 * g[i] * g[i];
    m[i] = m1;
    v[i] = v1;
    n[i] = m1 / (std::sqrt(v1) + f.epsilon);
  }
}

TERSOR_VECTORIZED void step_loop(float* w, const float* grad, float* m, float* v, int64_t size, Floats f) {
  for (int64_t i = 0; i < size; ++i) {
    const float g = f.grad_scale * grad[i];
    const float m1 = m[i] + f.new1 * (g - m[i]);
    const float v1 = f.keep2 * v[i] + f.new2 * g * g;
    m[i] = m1;
    v[i] = v1;
    w[i] = f.decay * w[i] - f.rate * (m1 / (std::sqrt(v1) + f.epsilon));
  }
}

void check_one_shape(std::initializer_list<const at::Tensor*> tensors) {
  const at::Tensor& first = **tensors.begin();
  for (const at::Tensor* t : tensors)
    TERSOR_CHECK(t->scalar_type() == at::kFloat && t->is_contiguous() && t->device() == first.device() && t->sizes() == first.sizes(),
                 "contiguous fp32 tensors of one shape on one device");
}

}  // namespace

void adam_direction(const at::Tensor& grad, const at::Tensor& m, const at::Tensor& v, const AdamCoefficients& c, at::Tensor& n) {
  check_one_shape({&grad, &m, &v, &n});
  if (grad.is_meta()) return;
  const Floats f(c, {});
  const float* g = grad.const_data_ptr<float>();
  float* first = m.data_ptr<float>();
  float* second = v.data_ptr<float>();
  float* out = n.data_ptr<float>();
  if (!on_host(grad)) return gpu::adam_direction(g, first, second, out, grad.numel(), f.on_gpu(), gpu::stream_of(grad));
  at::parallel_for(0, grad.numel(), kGrain, [=](int64_t begin, int64_t end) {
    direction_loop(g + begin, first + begin, second + begin, out + begin, end - begin, f);
  });
}

void adamw_step(const at::Tensor& weight, const at::Tensor& grad, const at::Tensor& m, const at::Tensor& v,
                const AdamCoefficients& c, const AdamStep& step) {
  check_one_shape({&weight, &grad, &m, &v});
  if (grad.is_meta()) return;
  const Floats f(c, step);
  float* w = weight.data_ptr<float>();
  const float* g = grad.const_data_ptr<float>();
  float* first = m.data_ptr<float>();
  float* second = v.data_ptr<float>();
  if (!on_host(grad)) return gpu::adamw_step(w, g, first, second, weight.numel(), f.on_gpu(), gpu::stream_of(grad));
  at::parallel_for(0, weight.numel(), kGrain, [=](int64_t begin, int64_t end) {
    step_loop(w + begin, g + begin, first + begin, second + begin, end - begin, f);
  });
}

void adamw_step_int8(const at::Tensor& weight, const at::Tensor& grad, std::span<const at::Tensor> m,
                     std::span<const at::Tensor> v, const AdamCoefficients& c, const AdamStep& step) {
  check_one_shape({&weight, &grad});
  if (grad.is_meta()) return;
  const Floats f(c, step);
  if (!on_host(grad))
    return gpu::adamw_step_int8(weight.data_ptr<float>(), grad.const_data_ptr<float>(), codes_on_gpu(m[0], m[1], dynamic_map(true)),
                                codes_on_gpu(v[0], v[1], dynamic_map(false)),
                                blocks_on_gpu(weight.sizes()), f.on_gpu(), gpu::stream_of(grad));
  const DynamicMap& with_sign = dynamic_map(true);
  const DynamicMap& without_sign = dynamic_map(false);
  float* w = weight.data_ptr<float>();
  const float* g = grad.const_data_ptr<float>();
  auto* m_codes = m[0].data_ptr<uint8_t>();
  auto* v_codes = v[0].data_ptr<uint8_t>();
  float* m_scales = m[1].data_ptr<float>();
  float* v_scales = v[1].data_ptr<float>();
  for_each_block(weight.sizes(), [=, &with_sign, &without_sign](int64_t block, int64_t first, int64_t size) {
    std::array<float, kQuantizationBlock> m_block;
    std::array<float, kQuantizationBlock> v_block;
    decode_block(m_codes + first, m_scales[block], with_sign, size, m_block.data());
    decode_block(v_codes + first, v_scales[block], without_sign, size, v_block.data());
    step_loop(w + first, g + first, m_block.data(), v_block.data(), size, f);
    m_scales[block] = encode_block(m_block.data(), with_sign, size, m_codes + first);
    v_scales[block] = encode_block(v_block.data(), without_sign, size, v_codes + first);
  });
}

}  // namespace tersor::kernels
