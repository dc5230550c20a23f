// Reading and writing Hugging Face folders: config.json and model.safetensors. tersor's parameters have Hugging Face's names, so
// a dense model needs no mapping.
#pragma once

#include "core/config/fields.h"
#include "core/data/tokenizer.h"
#include "core/interop/safetensors.h"
#include "core/model/llama.h"

namespace tersor {

// The tokens that begin, end and pad a text: each an id, a list of ids, or null if there is none.
struct TextTokens {
  Json bos, eos, pad;
};
[[nodiscard]] TextTokens text_tokens_of(const Tokenizer& tokenizer);
// Keys are config.json's; errors name `file`. Absent keys have the defaults of Transformers' LlamaConfig.
[[nodiscard]] TextTokens read_text_tokens(const Json& json, const std::string& file);
[[nodiscard]] TextTokens read_text_tokens(const std::filesystem::path& folder);
[[nodiscard]] Json text_tokens_json(const TextTokens& tokens);

// Reads the config.json of a LlamaForCausalLM. Throws UserError for other architectures and for features that this model lacks.
[[nodiscard]] ModelConfig read_hugging_face_config(const std::filesystem::path& folder);
// Warns of training settings in it that this model ignores: dropout.
void warn_of_what_is_left_out(const std::filesystem::path& folder);
[[nodiscard]] Json hugging_face_config(const ModelConfig& config, at::ScalarType type, const TextTokens& tokens);
// tokenizer_config.json with which Transformers gives a text the same ids as SentencePiece, and adds none before or after.
[[nodiscard]] Json hugging_face_tokenizer_config(const Tokenizer& tokenizer, int64_t longest);

// Whether a folder's config.json is that of a LLaMA.
[[nodiscard]] bool is_llama(const std::filesystem::path& folder);
// Whether a file of this name is one of the shards of a model's weights.
[[nodiscard]] bool is_shard_of_weights(std::string_view file);

// Fills the weights of a model from the folder's model.safetensors, or from the shards that
// model.safetensors.index.json names. A weight that the model stores in another form may be dense in the file; it is then
// approximated as closely as that form allows. Throws one UserError for all missing, unexpected and misshapen tensors. If the
// head is tied to the embedding, a different head is refused.
void load_weights(const std::filesystem::path& folder, Llama& model);

// Throws UserError, naming them, if any weights of `folder` hold infinities or NaN.
void check_finite(const NamedTensors& weights, const std::filesystem::path& folder);

// Whether the model's tensors are exactly those of Transformers' model.
[[nodiscard]] bool is_dense(const Llama& model);
// Dense weights, sorted by name: every parameterization materialized.
[[nodiscard]] NamedTensors dense_weights(const Llama& model);

}  // namespace tersor
