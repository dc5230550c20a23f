#include "kernels/adamw.h"

#include <ATen/Parallel.h>

#include <array>
#include <cmath>

#include "core/base/error.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"
#include "kernels/quantize_blockwise.h"
#include "kernels/rounding.h"
#include "kernels/scalar_math.h"
#include "kernels/vectorize.h"

namespace tersor::kernels {
namespace {

constexpr int64_t kGrain = 1 << 14;

// The coefficients in fp32, as the loops use them.
struct Floats {
  float keep2, new1, new2, epsilon, grad_scale, decay, rate;

  Floats(const AdamCoefficients& c, const AdamStep& s)
      : keep2(static_cast<float>(c.beta2)), new1(static_cast<float>(1 - c.beta1)), new2(static_cast<float>(1 - c.beta2)),
        epsilon(static_cast<float>(c.epsilon)), grad_scale(static_cast<float>(s.grad_scale)),
        decay(static_cast<float>(1 - s.lr * s.weight_decay)), rate(static_cast<float>(s.lr * c.gain)) {}
};

gpu::AdamNumbers numbers_on_gpu(const AdamCoefficients& c, const AdamStep& s) {
  const Floats f(c, s);
  return {.keep2 = f.keep2, .new1 = f.new1, .new2 = f.new2, .epsilon = f.epsilon, .grad_scale = f.grad_scale, .decay = f.decay,
          .lr = static_cast<float>(s.lr), .gain = static_cast<float>(c.gain),
          .corrections = c.corrections.defined() ? c.corrections.const_data_ptr<float>() : nullptr};
}

gpu::Weights weights_on_gpu(const at::Tensor& weight, const at::Tensor& grad, const AdamStep& s) {
  return {.type = gpu::number_of(weight), .w = weight.data_ptr(), .grad_type = gpu::number_of(grad), .grad = grad.const_data_ptr(),
          .rounding = {s.rounding.key(), s.first}};
}

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

TERSOR_VECTORIZED void widen(const c10::BFloat16* from, int64_t size, float* to) {
  for (int64_t i = 0; i < size; ++i) to[i] = to_exact(from[i]);
}

// A stretch of weights and their gradients, of any type, seen as fp32 for one step.
class Stretch {
 public:
  Stretch(const at::Tensor& weight, const at::Tensor& grad, const AdamStep& step)
      : exact_(weight.scalar_type() == at::kFloat ? weight.data_ptr<float>() : nullptr), half_(exact_ ? nullptr : weight.data_ptr<at::BFloat16>()),
        grad_(grad.scalar_type() == at::kFloat ? grad.const_data_ptr<float>() : nullptr), half_grad_(grad_ ? nullptr : grad.const_data_ptr<at::BFloat16>()),
        first_(step.first), draws_(step.rounding) {}

  // Calls step(weights, gradients), both fp32, on at most RoundingDraws::kMost numbers.
  template <class Step>
  void run(int64_t begin, int64_t size, Step step) {
    const float* g = grad_ == nullptr ? nullptr : grad_ + begin;
    if (g == nullptr) {
      widen(half_grad_ + begin, size, wide_grad_.data());
      g = wide_grad_.data();
    }
    if (exact_ != nullptr) return step(exact_ + begin, g);
    widen(half_ + begin, size, wide_.data());
    step(wide_.data(), g);
    round_by(wide_.data(), draws_.from(first_ + begin, size), size, reinterpret_cast<uint16_t*>(half_ + begin));
  }

 private:
  float* exact_;
  c10::BFloat16* half_;
  const float* grad_;
  const c10::BFloat16* half_grad_;
  int64_t first_;
  RoundingDraws draws_;
  std::array<float, RoundingDraws::kMost> wide_;
  std::array<float, RoundingDraws::kMost> wide_grad_;
};

void check_alike(std::initializer_list<const at::Tensor*> tensors) {
  const at::Tensor& first = **tensors.begin();
  for (const at::Tensor* t : tensors)
    TERSOR_CHECK(t->is_contiguous() && t->device() == first.device() && t->sizes() == first.sizes(), "contiguous tensors of one shape on one device");
}
void check_fp32(std::initializer_list<const at::Tensor*> tensors) {
  for (const at::Tensor* t : tensors) TERSOR_CHECK(t->scalar_type() == at::kFloat, "in fp32");
}
void check_weights(const at::Tensor& weight, const at::Tensor& grad) {
  const bool fp32 = weight.scalar_type() == at::kFloat;
  TERSOR_CHECK((fp32 || weight.scalar_type() == at::kBFloat16) && (grad.scalar_type() == at::kFloat || grad.scalar_type() == weight.scalar_type()),
               "weights in fp32 or bf16, and gradients in theirs or in fp32");
}

}  // namespace

at::Tensor AdamCoefficients::gain_beside(const at::Tensor& x) const {
  return corrections.defined() ? corrections[0] : at::full({}, gain, x.options().dtype(at::kFloat));
}

AdamCoefficients next_coefficients(const at::Tensor& t, AdamCoefficients c, bool epsilon_corrected) {
  if (!on_host(t)) {
    c.corrections = adam_corrections(t, c.beta1, c.beta2, c.epsilon, epsilon_corrected);
    return c;
  }
  t.add_(1);
  const double steps = t.is_meta() ? 1 : *t.const_data_ptr<float>();
  const double root2 = std::sqrt(1 - std::pow(c.beta2, steps));
  if (epsilon_corrected) c.epsilon *= root2;
  c.gain = root2 / (1 - std::pow(c.beta1, steps));
  return c;
}

at::Tensor adam_corrections(const at::Tensor& t, double beta1, double beta2, double epsilon, bool epsilon_corrected) {
  TERSOR_CHECK(t.dim() == 0 && t.scalar_type() == at::kFloat && !on_host(t), "a number on a GPU");
  at::Tensor corrections = at::empty({2}, t.options());
  gpu::adam_corrections(t.data_ptr<float>(), beta1, beta2, epsilon, epsilon_corrected, corrections.data_ptr<float>(), gpu::stream_of(t));
  return corrections;
}

void adam_direction(const at::Tensor& grad, const at::Tensor& m, const at::Tensor& v, const AdamCoefficients& c, at::Tensor& n) {
  check_alike({&grad, &m, &v, &n});
  check_fp32({&grad, &m, &v, &n});
  if (grad.is_meta()) return;
  const Floats f(c, {});
  const float* g = grad.const_data_ptr<float>();
  float* first = m.data_ptr<float>();
  float* second = v.data_ptr<float>();
  float* out = n.data_ptr<float>();
  if (!on_host(grad)) return gpu::adam_direction(g, first, second, out, grad.numel(), numbers_on_gpu(c, {}), gpu::stream_of(grad));
  at::parallel_for(0, grad.numel(), kGrain, [=](int64_t begin, int64_t end) {
    direction_loop(g + begin, first + begin, second + begin, out + begin, end - begin, f);
  });
}

void adamw_step(const at::Tensor& weight, const at::Tensor& grad, const at::Tensor& m, const at::Tensor& v,
                const AdamCoefficients& c, const AdamStep& step) {
  check_alike({&weight, &grad, &m, &v});
  check_fp32({&m, &v});
  check_weights(weight, grad);
  if (grad.is_meta()) return;
  const Floats f(c, step);
  float* first = m.data_ptr<float>();
  float* second = v.data_ptr<float>();
  if (!on_host(grad)) return gpu::adamw_step(weights_on_gpu(weight, grad, step), first, second, weight.numel(), numbers_on_gpu(c, step), gpu::stream_of(grad));
  at::parallel_for(0, weight.numel(), kGrain, [&](int64_t begin, int64_t end) {
    Stretch stretch(weight, grad, step);
    for (int64_t i = begin; i < end; i += RoundingDraws::kMost) {
      const int64_t size = std::min(RoundingDraws::kMost, end - i);
      stretch.run(i, size, [&](float* w, const float* g) { step_loop(w, g, first + i, second + i, size, f); });
    }
  });
}

void adamw_step_int8(const at::Tensor& weight, const at::Tensor& grad, std::span<const at::Tensor> m,
                     std::span<const at::Tensor> v, const AdamCoefficients& c, const AdamStep& step) {
  check_alike({&weight, &grad});
  check_weights(weight, grad);
  if (grad.is_meta()) return;
  const Floats f(c, step);
  if (!on_host(grad))
    return gpu::adamw_step_int8(weights_on_gpu(weight, grad, step), codes_on_gpu(m[0], m[1], dynamic_map(true)), codes_on_gpu(v[0], v[1], dynamic_map(false)),
                                blocks_on_gpu(weight.sizes()), numbers_on_gpu(c, step), gpu::stream_of(grad));
  const DynamicMap& with_sign = dynamic_map(true);
  const DynamicMap& without_sign = dynamic_map(false);
  auto* m_codes = m[0].data_ptr<uint8_t>();
  auto* v_codes = v[0].data_ptr<uint8_t>();
  float* m_scales = m[1].data_ptr<float>();
  float* v_scales = v[1].data_ptr<float>();
  for_each_block(weight.sizes(), [=, &with_sign, &without_sign, &weight, &grad, &step](int64_t block, int64_t first, int64_t size) {
    std::array<float, kQuantizationBlock> m_block;
    std::array<float, kQuantizationBlock> v_block;
    decode_block(m_codes + first, m_scales[block], with_sign, size, m_block.data());
    decode_block(v_codes + first, v_scales[block], without_sign, size, v_block.data());
    Stretch(weight, grad, step).run(first, size, [&](float* w, const float* g) { step_loop(w, g, m_block.data(), v_block.data(), size, f); });
    m_scales[block] = encode_block(m_block.data(), with_sign, size, m_codes + first);
    v_scales[block] = encode_block(v_block.data(), without_sign, size, v_codes + first);
  });
}

}  // namespace tersor::kernels
