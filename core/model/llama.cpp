#include "core/model/llama.h"

#include "kernels/fill_normal.h"
#include "kernels/linear_cross_entropy.h"

namespace tersor {

Mlp::Mlp(const BuildContext& context, const std::string& name, const ModelConfig& c) {
  const auto make = [&](const std::string& part, int64_t in, int64_t out) {
    return register_module(part, std::make_shared<Linear>(context, name + "." + part, in, out, c.mlp_bias));
  };
  gate_ = make("gate_proj", c.hidden_size, c.intermediate_size);
  up_ = make("up_proj", c.hidden_size, c.intermediate_size);
  down_ = make("down_proj", c.intermediate_size, c.hidden_size);
}

at::Tensor Mlp::forward(const at::Tensor& x) {
  return down_->forward(at::silu(gate_->forward(x)) * up_->forward(x));
}

Block::Block(const BuildContext& context, const std::string& name, const ModelConfig& c) {
  const auto make_norm = [&](const std::string& part) {
    return register_module(part, std::make_shared<RmsNorm>(name + "." + part, c.hidden_size, c.rms_norm_eps, context.options));
  };
  attention_norm_ = make_norm("input_layernorm");
  attention_ = register_module("self_attn", std::make_shared<Attention>(context, name + ".self_attn", c));
  mlp_norm_ = make_norm("post_attention_layernorm");
  mlp_ = register_module("mlp", std::make_shared<Mlp>(context, name + ".mlp", c));
}

at::Tensor Block::forward(const at::Tensor& x, const RotaryTables& rotary) {
  const at::Tensor mixed = x + attention_->forward(attention_norm_->forward(x), rotary);
  return mixed + mlp_->forward(mlp_norm_->forward(mixed));
}

std::vector<std::shared_ptr<Linear>> Block::linears() const {
  std::vector<std::shared_ptr<Linear>> all = attention_->linears();
  for (const auto& linear : mlp_->linears()) all.push_back(linear);
  return all;
}

std::vector<Param> Block::params() const {
  std::vector<Param> all{attention_norm_->param(), mlp_norm_->param()};
  for (const auto& linear : linears())
    for (Param& param : linear->params()) all.push_back(std::move(param));
  return all;
}

Llama::Llama(const ModelConfig& config, const ParameterizationConfig& parameterization, const at::TensorOptions& options,
             uint64_t seed)
    : config_(config) {
  const BuildContext context{.options = options, .init_std = config.initializer_range, .seed = seed,
                             .parameterization = &parameterization};
  const auto make_table = [&](const std::string& name) {
    at::Tensor table = at::empty({config.vocab_size, config.hidden_size}, options);
    kernels::fill_normal(table, config.initializer_range, random_stream(seed, "init", name));
    return table;
  };
  embedding_ = register_parameter("embed_tokens", make_table("model.embed_tokens.weight"));
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    blocks_.push_back(std::make_shared<Block>(context, fmt::format("model.layers.{}", i), config));
    register_module(fmt::format("layer_{}", i), blocks_.back());
  }
  norm_ = register_module("norm", std::make_shared<RmsNorm>("model.norm", config.hidden_size, config.rms_norm_eps, options));
  if (!config.tie_word_embeddings) head_ = register_parameter("lm_head", make_table("lm_head.weight"));
}

at::Tensor Llama::hidden(const at::Tensor& tokens) {
  const int64_t length = tokens.size(1);
  TERSOR_CHECK(length <= config_.max_position_embeddings, "{} positions, and the model knows {}", length,
               config_.max_position_embeddings);
  if (!rotary_.cos.defined() || rotary_.cos.size(0) < length)
    rotary_ = rotary_tables(length, config_.head_width(), config_.rope_theta, embedding_.options().requires_grad(false));
  const RotaryTables rotary{rotary_.cos.slice(0, 0, length), rotary_.sin.slice(0, 0, length)};
  at::Tensor x = at::embedding(embedding_, tokens);  // (B, L, hidden)
  for (const auto& block : blocks_) x = block->forward(x, rotary);
  return norm_->forward(x);
}

at::Tensor Llama::loss(const at::Tensor& inputs, const at::Tensor& targets, double scale, int64_t chunk) {
  const at::Tensor h = hidden(inputs);
  return kernels::linear_cross_entropy(h.view({-1, h.size(2)}), head(), targets.reshape({-1}), scale, chunk);
}

at::Tensor Llama::head_logits(const at::Tensor& h) const { return at::linear(h, head()); }

std::vector<std::shared_ptr<Linear>> Llama::linears() const {
  std::vector<std::shared_ptr<Linear>> all;
  for (const auto& block : blocks_)
    for (const auto& linear : block->linears()) all.push_back(linear);
  return all;
}

std::vector<Param> Llama::params() const {
  std::vector<Param> all{{"model.embed_tokens.weight", embedding_, Role::kEmbedding, std::nullopt}};
  for (const auto& block : blocks_)
    for (Param& param : block->params()) all.push_back(std::move(param));
  all.push_back(norm_->param());
  if (!config_.tie_word_embeddings) all.push_back({"lm_head.weight", head_, Role::kHead, std::nullopt});
  return all;
}

int64_t Llama::num_parameters() const {
  int64_t total = 0;
  for (const Param& param : params()) total += param.value.numel();
  return total;
}

}  // namespace tersor
