// Hugging Face's folders: config.json and model.safetensors, both ways. tersor's parameters bear Hugging Face's names, so a
// dense model needs no mapping.
#pragma once

#include "core/config/fields.h"
#include "core/data/tokenizer.h"
#include "core/interop/safetensors.h"
#include "core/model/llama.h"

namespace tersor {

// The tokens that begin a text, end it and fill it up: an id, a list of them, or null where there is none.
struct TextTokens {
  Json bos, eos, pad;
};
[[nodiscard]] TextTokens text_tokens_of(const Tokenizer& tokenizer);
// By config.json's names; `file` is where it stands. What is absent is what it is in Transformers' LlamaConfig.
[[nodiscard]] TextTokens read_text_tokens(const Json& json, const std::string& file);
[[nodiscard]] TextTokens read_text_tokens(const std::filesystem::path& folder);
[[nodiscard]] Json text_tokens_json(const TextTokens& tokens);

// config.json of a LlamaForCausalLM. UserError for other architectures and for what this model does not do.
[[nodiscard]] ModelConfig read_hugging_face_config(const std::filesystem::path& folder);
// What it asks for in training, and this model leaves out: dropout.
void warn_of_what_is_left_out(const std::filesystem::path& folder);
[[nodiscard]] Json hugging_face_config(const ModelConfig& config, at::ScalarType type, const TextTokens& tokens);
// tokenizer_config.json, with which Transformers gives a text the ids that SentencePiece does, and none before or after them.
[[nodiscard]] Json hugging_face_tokenizer_config(const Tokenizer& tokenizer, int64_t longest);

// Whether a folder's config.json is that of a LLaMA.
[[nodiscard]] bool is_llama(const std::filesystem::path& folder);
// Whether a file of this name is one of several that hold a model's weights.
[[nodiscard]] bool is_shard_of_weights(std::string_view file);

// Fills the weights of a model from the folder's model.safetensors, or from the shards that
// model.safetensors.index.json names. A weight that the model stores in another way may come dense, and is then stored as
// near to that as it can be. What is missing, unexpected or misshapen is reported at once. Where the
// head is the embedding, a head of the folder's own is refused.
void load_weights(const std::filesystem::path& folder, Llama& model);

// UserError naming the weights of a folder that hold infinities or what is no number.
void check_finite(const NamedTensors& weights, const std::filesystem::path& folder);

// Whether its tensors are those of Transformers' model, each as it is.
[[nodiscard]] bool is_dense(const Llama& model);
// Dense weights, in the order of their names: every parameterization materialized.
[[nodiscard]] NamedTensors dense_weights(const Llama& model);

}  // namespace tersor
