// Causal self-attention with grouped key and value heads (Ainslie et al. 2023, arXiv:2305.13245).
#pragma once

#include "core/model/linear.h"
#include "core/model/model_config.h"
#include "core/model/rotary.h"

namespace tersor {

class Attention final : public torch::nn::Module {
 public:
  Attention(const BuildContext& context, const std::string& name, const ModelConfig& config);

  [[nodiscard]] at::Tensor forward(const at::Tensor& x, const RotaryTables& rotary);  // (B, L, hidden) → the same
  [[nodiscard]] std::vector<std::shared_ptr<Linear>> linears() const { return {q_, k_, v_, o_}; }

 private:
  int64_t heads_;
  int64_t kv_heads_;
  int64_t width_;  // of one head
  std::shared_ptr<Linear> q_, k_, v_, o_;
};

}  // namespace tersor
