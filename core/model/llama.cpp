#include "core/model/llama.h"

#include <bit>
#include <utility>

#include "core/memory/ledger.h"
#include "kernels/fill_normal.h"
#include "kernels/swiglu.h"

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
  return down_->forward(kernels::swiglu(gate_->forward(x), up_->forward(x)));
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

// Autograd does not save the result of a part's last product, so the residual is added in place.
at::Tensor Block::forward(const at::Tensor& x, const RotaryTables& rotary, Recompute again) {
  const auto attend = [this, rotary](const at::Tensor& in) {
    const auto [around, normed] = attention_norm_->residual(in);
    return attention_->forward(normed, rotary).add_(around);
  };
  const auto think = [this](const at::Tensor& in) {
    const auto [around, normed] = mlp_norm_->residual(in);
    return mlp_->forward(normed).add_(around);
  };
  if (again == Recompute::kBlock) return recompute([=](const at::Tensor& in) { return think(attend(in)); }, x);
  const at::Tensor mixed = again == Recompute::kAttention ? recompute(attend, x) : attend(x);
  return again == Recompute::kMlp ? recompute(think, mixed) : think(mixed);
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

namespace {

void add_tensors(const std::vector<Param>& params, const std::vector<std::shared_ptr<Linear>>& linears, std::vector<PackedPart>& all) {
  for (const Param& param : params)
    for (PackedPart& part : param.resting()) all.push_back(std::move(part));
  for (const auto& linear : linears)
    for (PackedPart& part : linear->weight().kept()) all.push_back(std::move(part));
}

}  // namespace

std::vector<PackedPart> Block::tensors() const {
  std::vector<PackedPart> all;
  add_tensors(params(), linears(), all);
  return all;
}

std::array<std::shared_ptr<Linear>, 2> Block::outputs() const { return {attention_->linears().back(), mlp_->linears().back()}; }

void Block::copy_from(const Block& other) {
  const at::NoGradGuard no_grad;
  attention_norm_->param().value.copy_(other.attention_norm_->param().value);
  mlp_norm_->param().value.copy_(other.mlp_norm_->param().value);
  const auto own = linears();
  const auto others = other.linears();
  for (size_t i = 0; i < own.size(); ++i) own[i]->copy_from(*others[i]);
}

Llama::Llama(const Structure& structure, const at::TensorOptions& options, uint64_t seed, WeightKeeper* keeper)
    : structure_(structure), options_(options), seed_(seed), keeper_(keeper) {
  const MemoryScope scope(Segment::kWeights);
  const ModelConfig& c = config();
  const auto make_table = [&](const std::string& name) {
    at::Tensor table = at::empty({c.vocab_size, c.hidden_size}, options);
    kernels::fill_normal(table, c.initializer_range, random_stream(seed, "init", name));
    return table;
  };
  embedding_ = register_parameter("embed_tokens", make_table("model.embed_tokens.weight"));
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    blocks_.push_back(register_module(fmt::format("layer_{}", i), make_block(i)));
    if (keeper_ != nullptr) keeper_->shed(blocks_.back()->tensors());
  }
  norm_ = register_module("norm", std::make_shared<RmsNorm>("model.norm", c.hidden_size, c.rms_norm_eps, options));
  if (!c.tie_word_embeddings) head_ = register_parameter("lm_head", make_table("lm_head.weight"));
}

std::shared_ptr<Block> Llama::make_block(int64_t index) const {
  const BuildContext context{.options = options_, .init_std = config().initializer_range, .seed = seed_,
                             .parameterizations = structure_.parameterizations};
  return std::make_shared<Block>(context, fmt::format("{}{}", kBlocks, index), config());
}

std::vector<std::string> Llama::reparameterize(const ParameterizationConfig& config,
                                               const std::function<void(const Linear&, const at::Tensor& was)>& each) {
  structure_.parameterizations.push_back(config);
  std::vector<std::string> changed;
  for (const auto& linear : linears()) {
    if (!config.matches(linear->name())) continue;
    const at::Tensor was = each ? linear->weight().materialize() : at::Tensor();
    linear->reparameterize(config.method);
    if (each) each(*linear, was);
    changed.push_back(linear->name());
  }
  return changed;
}

// Blocks that keep their place are reused. The others are freed as soon as nothing more is copied from them, so that there is never
// more than before or after growth, whichever is more, plus one block.
void Llama::grow(const std::vector<BlockSource>& sources) {
  std::vector<std::shared_ptr<Block>> old = std::exchange(blocks_, {});
  const auto kept = [&](size_t i) { return i < old.size() && sources[i].block == static_cast<int64_t>(i) && !sources[i].zero_output; };
  std::vector<size_t> last(old.size(), 0);  // where each old block is last used
  for (size_t i = 0; i < sources.size(); ++i) last.at(static_cast<size_t>(sources[i].block)) = i;
  structure_.model.num_hidden_layers = static_cast<int64_t>(sources.size());
  for (size_t i = 0; i < sources.size(); ++i) {
    const auto from = static_cast<size_t>(sources[i].block);
    const std::string name = fmt::format("layer_{}", i);
    std::shared_ptr<Block> block = kept(i) ? old[i] : make_block(static_cast<int64_t>(i));
    if (!kept(i) && !options_.device().is_meta()) {
      block->copy_from(*old[from]);
      if (sources[i].zero_output)
        for (const auto& output : block->outputs()) output->zero_output();
    }
    if (last[from] == i) old[from].reset();
    blocks_.push_back(named_children().contains(name) ? replace_module(name, block) : register_module(name, block));
  }
}

at::Tensor Llama::hidden(const at::Tensor& tokens) {
  const int64_t length = tokens.size(1);
  TERSOR_CHECK(length <= config().max_position_embeddings, "{} positions, but the model supports {}", length,
               config().max_position_embeddings);
  if (rotary_.empty() || rotary_.back().cos.size(0) < length) {
    const auto doubled = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(length)));  // generated text grows by one token at a time
    rotary_.push_back(rotary_tables(std::min(config().max_position_embeddings, doubled), config(), embedding_.options().requires_grad(false)));
  }
  const RotaryTables rotary{rotary_.back().cos.slice(0, 0, length), rotary_.back().sin.slice(0, 0, length)};
  at::Tensor x = at::embedding(embedding_, tokens.to(embedding_.device()));  // (B, L, hidden)
  for (size_t i = 0; i < blocks_.size(); ++i)
    x = with_weights(keeper_, static_cast<int64_t>(i), [&](const at::Tensor& in) { return blocks_[i]->forward(in, rotary, recompute_); }, x);
  return norm_->forward(x);
}

at::Tensor Llama::loss(const at::Tensor& inputs, const at::Tensor& targets, double scale, int64_t chunk, const kernels::SoftTargets* soft) {
  const at::Tensor h = hidden(inputs);
  return kernels::linear_cross_entropy(h.view({-1, h.size(2)}), head(), targets.reshape({-1}).to(h.device()), scale, chunk, soft);
}

at::Tensor Llama::log_likelihoods(const at::Tensor& inputs, const at::Tensor& targets, int64_t chunk) {
  const at::NoGradGuard no_grad;
  const at::Tensor h = hidden(inputs).flatten(0, 1);
  at::Tensor all = at::empty(targets.sizes(), h.options().dtype(at::kFloat));
  const at::Tensor flat = all.flatten();
  const at::Tensor target = targets.flatten().to(h.device());
  for (int64_t begin = 0; begin < h.size(0); begin += chunk) {
    const int64_t end = std::min(h.size(0), begin + chunk);
    const at::Tensor losses = at::cross_entropy_loss(head_logits(h.slice(0, begin, end)).to(at::kFloat), target.slice(0, begin, end), {},
                                                     at::Reduction::None);
    flat.slice(0, begin, end).copy_(losses.neg());
  }
  return all;
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
  if (!config().tie_word_embeddings) all.push_back({"lm_head.weight", head_, Role::kHead, std::nullopt});
  return all;
}

std::vector<PackedPart> Llama::tensors() const {
  std::vector<PackedPart> all;
  add_tensors(params(), linears(), all);
  return all;
}

int64_t Llama::bytes() const {
  int64_t total = 0;
  for (const PackedPart& part : tensors()) total += bytes_here(part.value);
  for (const auto& linear : linears())
    for (const PackedPart& part : linear->weight().derived()) total += static_cast<int64_t>(part.value.nbytes());
  return total;
}

int64_t Llama::num_parameters() const {
  int64_t total = 0;
  for (const Param& param : params()) total += param.value.numel();
  return total;
}

int64_t Llama::num_active() const {
  int64_t total = head().numel();
  for (const auto& linear : linears()) total += linear->weight().num_active();
  return total;
}

}  // namespace tersor
