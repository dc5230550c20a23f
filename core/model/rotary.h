// The tables of kernels/rotary.h: cosine and sine of position · θ_j, θ_j = base^(−2j/d), computed in fp32 (fp64 for fp64 tables) and cast.
//
// With model.rope_scaling, as in Transformers' modeling_rope_utils.py, for wavelengths λ_j = 2π / θ_j and
// L = original_max_position_embeddings:
//
//   linear   θ_j / factor                                                        Chen et al. 2023, arXiv:2306.15595
//   llama3   θ_j where λ_j < L / high,  θ_j / factor where λ_j > L / low,        the release of Llama 3.1
//            else (1 − s) · θ_j / factor + s · θ_j, s = (L / λ_j − low) / (high − low)
#pragma once

#include <ATen/ATen.h>

#include "core/model/model_config.h"

namespace tersor {

struct RotaryTables {
  at::Tensor cos;  // (length, d)
  at::Tensor sin;  // (length, d)
};

// θ_j, (d/2).
[[nodiscard]] at::Tensor rotary_frequencies(const ModelConfig& config, const at::TensorOptions& options);
[[nodiscard]] RotaryTables rotary_tables(int64_t length, const ModelConfig& config, const at::TensorOptions& options);

}  // namespace tersor
