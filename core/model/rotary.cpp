#include "core/model/rotary.h"

#include <numbers>

namespace tersor {
namespace {

// In the order of Transformers' operations, so that fp32 rounds the same way.
at::Tensor scaled_as_llama3(const at::Tensor& frequency, const RopeScaling& c) {
  const auto length = static_cast<double>(c.original_max_position_embeddings);
  const at::Tensor wave = frequency.reciprocal() * (2 * std::numbers::pi);
  const at::Tensor is_long = wave > length / c.low_freq_factor;
  const at::Tensor is_short = wave < length / c.high_freq_factor;
  const at::Tensor smooth = (wave.reciprocal() * length - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor);
  const at::Tensor between = (1 - smooth) * frequency / c.factor + smooth * frequency;
  return at::where(is_long, frequency / c.factor, at::where(is_short, frequency, between));
}

}  // namespace

at::Tensor rotary_frequencies(const ModelConfig& config, const at::TensorOptions& options) {
  const at::Tensor exponent = at::arange(0, config.head_width(), 2, options) / static_cast<double>(config.head_width());
  const at::Tensor frequency = at::pow(config.rope_theta, exponent).reciprocal();
  if (!config.rope_scaling) return frequency;
  const RopeScaling& scaling = *config.rope_scaling;
  return scaling.type == RopeType::kLinear ? frequency / scaling.factor : scaled_as_llama3(frequency, scaling);
}

RotaryTables rotary_tables(int64_t length, const ModelConfig& config, const at::TensorOptions& options) {
  const bool wide = options.dtype() == at::kDouble;
  const at::TensorOptions exact = options.dtype(wide ? at::kDouble : at::kFloat);
  const at::Tensor angle = at::outer(at::arange(length, exact), rotary_frequencies(config, exact)).repeat({1, 2});  // (length, d)
  return {angle.cos().to(options.dtype()), angle.sin().to(options.dtype())};
}

}  // namespace tersor
