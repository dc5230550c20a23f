#include "core/model/attention.h"

#include "kernels/on_host.h"
#include "kernels/rotary.h"

namespace tersor {

namespace {

// softmax(q·kᵀ/√width + mask)·v, never with the matrix of all scores. Left to choose, LibTorch would run meta tensors through
// another kernel, whose memory no real run has.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  constexpr bool kCausal = true;
  if (kernels::on_host(q)) return std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, kCausal));
  return at::scaled_dot_product_attention(q, k, v, std::nullopt, 0.0, kCausal);
}

}  // namespace

Attention::Attention(const BuildContext& context, const std::string& name, const ModelConfig& c)
    : heads_(c.num_attention_heads), kv_heads_(c.kv_heads()), width_(c.head_width()) {
  const auto make = [&](const std::string& part, int64_t in, int64_t out) {
    return register_module(part, std::make_shared<Linear>(context, name + "." + part, in, out, c.attention_bias));
  };
  q_ = make("q_proj", c.hidden_size, heads_ * width_);
  k_ = make("k_proj", c.hidden_size, kv_heads_ * width_);
  v_ = make("v_proj", c.hidden_size, kv_heads_ * width_);
  o_ = make("o_proj", heads_ * width_, c.hidden_size);
  q_->set_rows_per_head(width_);
  k_->set_rows_per_head(width_);
}

at::Tensor Attention::forward(const at::Tensor& x, const RotaryTables& rotary) {
  const int64_t batch = x.size(0);
  const int64_t length = x.size(1);
  const auto split = [&](const at::Tensor& y, int64_t heads) { return y.view({batch, length, heads, width_}); };
  const auto turned = [&](const at::Tensor& y) { return kernels::rotary(y, rotary.cos, rotary.sin); };
  const at::Tensor q = turned(split(q_->forward(x), heads_)).transpose(1, 2);  // (B, heads, L, width)
  at::Tensor k = turned(split(k_->forward(x), kv_heads_)).transpose(1, 2);
  at::Tensor v = split(v_->forward(x), kv_heads_).transpose(1, 2);
  if (kv_heads_ != heads_) {  // LibTorch's CPU kernel needs as many key heads as query heads
    k = k.repeat_interleave(heads_ / kv_heads_, 1);
    v = v.repeat_interleave(heads_ / kv_heads_, 1);
  }
  const at::Tensor y = attend(q, k, v);
  return o_->forward(y.transpose(1, 2).reshape({batch, length, heads_ * width_}));
}

}  // namespace tersor
