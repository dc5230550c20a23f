#include "core/model/attention.h"

namespace tersor {

Attention::Attention(const BuildContext& context, const std::string& name, const ModelConfig& c)
    : heads_(c.num_attention_heads), kv_heads_(c.kv_heads()), width_(c.head_width()) {
  const auto make = [&](const std::string& part, int64_t in, int64_t out) {
    return register_module(part, std::make_shared<Linear>(context, name + "." + part, in, out, c.attention_bias));
  };
  q_ = make("q_proj", c.hidden_size, heads_ * width_);
  k_ = make("k_proj", c.hidden_size, kv_heads_ * width_);
  v_ = make("v_proj", c.hidden_size, kv_heads_ * width_);
  o_ = make("o_proj", heads_ * width_, c.hidden_size);
}

at::Tensor Attention::forward(const at::Tensor& x, const RotaryTables& rotary) {
  const int64_t batch = x.size(0);
  const int64_t length = x.size(1);
  const auto split = [&](const at::Tensor& y, int64_t heads) {
    return y.view({batch, length, heads, width_}).transpose(1, 2);  // (B, heads, L, width)
  };
  const at::Tensor q = apply_rotary(split(q_->forward(x), heads_), rotary);
  at::Tensor k = apply_rotary(split(k_->forward(x), kv_heads_), rotary);
  at::Tensor v = split(v_->forward(x), kv_heads_);
  if (kv_heads_ != heads_) {  // LibTorch's CPU kernel wants as many key as query heads
    k = k.repeat_interleave(heads_ / kv_heads_, 1);
    v = v.repeat_interleave(heads_ / kv_heads_, 1);
  }
  const at::Tensor y = at::scaled_dot_product_attention(q, k, v, std::nullopt, 0.0, /*is_causal=*/true);
  return o_->forward(y.transpose(1, 2).reshape({batch, length, heads_ * width_}));
}

}  // namespace tersor
