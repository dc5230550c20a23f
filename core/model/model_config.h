// The shape of a LLaMA decoder, in Hugging Face's names.
#pragma once

#include "core/config/fields.h"

namespace tersor {

enum class RopeType { kLinear, kLlama3 };
template <>
struct EnumNames<RopeType> {
  static constexpr std::array values{std::pair{RopeType::kLinear, std::string_view("linear")},
                                     std::pair{RopeType::kLlama3, std::string_view("llama3")}};
};

// How rotary frequencies are scaled for sequences longer than those first trained on: see rotary.h.
struct RopeScaling {
  RopeType type = RopeType::kLlama3;
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position_embeddings = 8192;

  void fields(FieldVisitor& v) {
    v("type", type, required, "linear: divides all frequencies; llama3: divides the low ones, keeps the high ones, interpolates between");
    v("factor", factor, required, positive, "divisor of the frequencies");
    v("low_freq_factor", low_freq_factor, positive, "of llama3: frequencies whose wavelength exceeds original_max_position_embeddings / this are divided");
    v("high_freq_factor", high_freq_factor, positive, "of llama3: frequencies whose wavelength is below original_max_position_embeddings / this are kept");
    v("original_max_position_embeddings", original_max_position_embeddings, between(1, 1 << 27), "of llama3: longest sequence before scaling");
  }
  void check(const ConfigNode& node, Diagnostics& out) const;
  friend bool operator==(const RopeScaling&, const RopeScaling&) = default;
};

struct ModelConfig {
  // Far above any real model, so that a typo is reported before anything of that size is attempted.
  static constexpr double kWidest = 1 << 20;
  static constexpr double kDeepest = 1 << 12;
  static constexpr double kLongest = 1 << 27;

  int64_t vocab_size = 32000;
  int64_t hidden_size = 512;
  int64_t intermediate_size = 1376;
  int64_t num_hidden_layers = 8;
  int64_t num_attention_heads = 8;
  std::optional<int64_t> num_key_value_heads;
  std::optional<int64_t> head_dim;
  int64_t max_position_embeddings = 2048;
  double rope_theta = 10000;
  std::optional<RopeScaling> rope_scaling;
  double rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  bool mlp_bias = false;
  double initializer_range = 0.02;

  void fields(FieldVisitor& v) {
    v("vocab_size", vocab_size, between(1, kLongest), "number of tokens of the embedding and the head");
    v("hidden_size", hidden_size, between(1, kWidest), "width of the residual stream");
    v("intermediate_size", intermediate_size, between(1, kWidest), "width inside the MLP");
    v("num_hidden_layers", num_hidden_layers, between(1, kDeepest), "decoder blocks");
    v("num_attention_heads", num_attention_heads, between(1, kWidest), "query heads");
    v("num_key_value_heads", num_key_value_heads, between(1, kWidest), "key and value heads (grouped-query attention); as many as query heads when absent");
    v("head_dim", head_dim, between(2, kWidest), "width of a head; hidden_size / num_attention_heads when absent");
    v("max_position_embeddings", max_position_embeddings, between(1, kLongest), "longest sequence");
    v("rope_theta", rope_theta, positive, "base of the rotary frequencies");
    v("rope_scaling", rope_scaling, "how rotary frequencies are scaled for longer sequences, e.g. {type: llama3, factor: 8}; unscaled when absent");
    v("rms_norm_eps", rms_norm_eps, at_least(0), "ε inside the root of RMSNorm");
    v("tie_word_embeddings", tie_word_embeddings, "whether the head shares the weights of the embedding");
    v("attention_bias", attention_bias, "biases on the attention projections");
    v("mlp_bias", mlp_bias, "biases on the MLP projections");
    v("initializer_range", initializer_range, at_least(0), "standard deviation of the initial weights");
  }
  void check(const ConfigNode& node, Diagnostics& out) const;

  [[nodiscard]] int64_t kv_heads() const { return num_key_value_heads.value_or(num_attention_heads); }
  [[nodiscard]] int64_t head_width() const { return head_dim.value_or(hidden_size / num_attention_heads); }
};

}  // namespace tersor
