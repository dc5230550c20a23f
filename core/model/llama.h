// The LLaMA decoder (Touvron et al. 2023, arXiv:2302.13971) with the semantics of Hugging Face's LlamaForCausalLM, and
// its parameter names.
//
//   Llama model(config, parameterization, options, seed);
//   model.loss(inputs, targets, 1.0 / tokens, 1024).backward();
#pragma once

#include "core/model/attention.h"
#include "core/model/norm.h"
#include "core/model/recompute.h"
#include "core/model/weight_keeper.h"
#include "kernels/linear_cross_entropy.h"

namespace tersor {

// y = down(silu(gate(x)) ⊙ up(x))     SwiGLU, Shazeer 2020, arXiv:2002.05202
class Mlp final : public torch::nn::Module {
 public:
  Mlp(const BuildContext& context, const std::string& name, const ModelConfig& config);
  [[nodiscard]] at::Tensor forward(const at::Tensor& x);  // (B, L, hidden) → the same
  [[nodiscard]] std::vector<std::shared_ptr<Linear>> linears() const { return {gate_, up_, down_}; }

 private:
  std::shared_ptr<Linear> gate_, up_, down_;
};

class Block final : public torch::nn::Module {
 public:
  Block(const BuildContext& context, const std::string& name, const ModelConfig& config);
  // (B, L, hidden) → the same
  [[nodiscard]] at::Tensor forward(const at::Tensor& x, const RotaryTables& rotary, Recompute again);
  [[nodiscard]] std::vector<Param> params() const;
  [[nodiscard]] std::vector<std::shared_ptr<Linear>> linears() const;
  [[nodiscard]] std::vector<PackedPart> tensors() const;  // for checkpoints
  // The layers that write into the residual stream.
  [[nodiscard]] std::array<std::shared_ptr<Linear>, 2> outputs() const;
  void copy_from(const Block& other);

 private:
  std::shared_ptr<RmsNorm> attention_norm_, mlp_norm_;
  std::shared_ptr<Attention> attention_;
  std::shared_ptr<Mlp> mlp_;
};

// Everything that decides which tensors a model has, except sizes that change during training. Growth and reparameterization
// change it; it is saved with the weights.
struct Structure {
  ModelConfig model;
  std::vector<ParameterizationConfig> parameterizations{ParameterizationConfig{}};  // the last match wins
  void fields(FieldVisitor& v) {
    v("model", model, "sizes of the decoder");
    v("parameterizations", parameterizations, "how weights are stored; the last match wins");
  }
};

// The source of a block of a deeper model.
struct BlockSource {
  int64_t block = 0;         // in the old model
  bool zero_output = false;  // its two outputs are zeroed, so that it adds nothing at first
};

class Llama final : public torch::nn::Module {
 public:
  static constexpr std::string_view kBlocks = "model.layers.";  // prefix of tensor names; a block's index and a dot follow

  // `keeper`, if any, sheds the weights of each block as soon as it is built.
  Llama(const Structure& structure, const at::TensorOptions& options, uint64_t seed, WeightKeeper* keeper = nullptr);
  Llama(const ModelConfig& config, const ParameterizationConfig& parameterization, const at::TensorOptions& options,
        uint64_t seed)
      : Llama(Structure{config, {parameterization}}, options, seed) {}

  // tokens (B, L) int64 → (B, L, hidden), after the final norm. A sequence may be at most max_position_embeddings long. Here and
  // below, tokens may be in host memory: they are copied to the weights' device.
  [[nodiscard]] at::Tensor hidden(const at::Tensor& tokens);
  // scale · Σ cross-entropy over targets (B, L) that are not −100, or with soft targets of B·L rows; see kernels/linear_cross_entropy.h.
  [[nodiscard]] at::Tensor loss(const at::Tensor& inputs, const at::Tensor& targets, double scale, int64_t chunk,
                                const kernels::SoftTargets* soft = nullptr);
  // log p(target) for each of targets (B, L), fp32; 0 where the target is −100. No gradients; logits of `chunk` tokens at a time.
  [[nodiscard]] at::Tensor log_likelihoods(const at::Tensor& inputs, const at::Tensor& targets, int64_t chunk);
  [[nodiscard]] at::Tensor logits(const at::Tensor& tokens) { return head_logits(hidden(tokens)); }  // (B, L) → (B, L, vocab)
  [[nodiscard]] at::Tensor head_logits(const at::Tensor& hidden) const;  // (…, hidden) → (…, vocab)

  // Every trained tensor once, in the order of the network.
  [[nodiscard]] std::vector<Param> params() const;
  // What a checkpoint holds: the trained tensors as they are stored, and whatever else the weights keep.
  [[nodiscard]] std::vector<PackedPart> tensors() const;
  [[nodiscard]] std::vector<PackedPart> tensors_of_block(int64_t block) const { return blocks_.at(static_cast<size_t>(block))->tensors(); }
  // Bytes of those present in this process, and of what is derived from them.
  [[nodiscard]] int64_t bytes() const;

  // Null: all weights are present from now on.
  void set_keeper(WeightKeeper* keeper) { keeper_ = keeper; }
  [[nodiscard]] WeightKeeper* keeper() const { return keeper_; }

  // What is recomputed in the backward pass instead of being kept.
  void set_recompute(Recompute again) { recompute_ = again; }

  // Changes how matching weights are stored from now on. Returns their names; passes `each` the layer and its old weight.
  std::vector<std::string> reparameterize(const ParameterizationConfig& config,
                                          const std::function<void(const Linear&, const at::Tensor& was)>& each = {});
  // Rebuilds the model with one block per entry of `sources`, each an independent copy of its source.
  void grow(const std::vector<BlockSource>& sources);
  [[nodiscard]] std::vector<std::shared_ptr<Linear>> linears() const;
  [[nodiscard]] int64_t num_parameters() const;
  // Numbers that take part in a matrix product: all weights of the blocks, and the head.
  [[nodiscard]] int64_t num_active() const;
  [[nodiscard]] const ModelConfig& config() const { return structure_.model; }
  [[nodiscard]] const Structure& structure() const { return structure_; }

 private:
  [[nodiscard]] std::shared_ptr<Block> make_block(int64_t index) const;
  [[nodiscard]] const at::Tensor& head() const { return config().tie_word_embeddings ? embedding_ : head_; }

  Structure structure_;
  at::TensorOptions options_;
  uint64_t seed_;
  WeightKeeper* keeper_;
  Recompute recompute_ = Recompute::kNone;
  at::Tensor embedding_;  // (vocab, hidden)
  at::Tensor head_;       // (vocab, hidden); undefined when tied
  std::vector<std::shared_ptr<Block>> blocks_;
  std::shared_ptr<RmsNorm> norm_;
  std::vector<RotaryTables> rotary_;  // the last covers the longest sequence so far; recorded passes may use earlier ones
};

}  // namespace tersor
