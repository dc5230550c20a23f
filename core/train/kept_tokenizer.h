// What a run's checkpoints keep about its tokens: the tokenizer, and which tokens begin and end a text.
#pragma once

#include "core/interop/hugging_face.h"

namespace tersor {

// Held in memory, because its source may be a checkpoint that is removed during the run.
struct KeptTokenizer {
  std::string model;  // bytes of the SentencePiece model; empty: none
  TextTokens ids;
};

// `of_data` is the tokenizer that made the data's tokens, `start` is where the run's weights come from: an import, an export or a
// checkpoint. Either may be empty or missing. If the data has no tokenizer or the start's, the start's tokenizer and ids are kept.
[[nodiscard]] KeptTokenizer keep_tokenizer(const std::filesystem::path& of_data, const std::filesystem::path& start);

// For a checkpoint, an import, an export or a Hugging Face folder: as recorded there, else as in its tokenizer, else none.
[[nodiscard]] TextTokens text_tokens_beside(const std::filesystem::path& weights);

}  // namespace tersor
