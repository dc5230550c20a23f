// What a run's tokens are, as its checkpoints keep it: the tokenizer, and which tokens begin and end a text.
#pragma once

#include "core/interop/hugging_face.h"

namespace tersor {

// In memory: where it comes from may be a checkpoint that is removed while the run goes on.
struct KeptTokenizer {
  std::string model;  // bytes of the SentencePiece model; empty: none
  TextTokens ids;
};

// `of_data` made the data's tokens, `start` is what the run's weights come from: an import, an export or a checkpoint; both may be empty or
// not there. Data without a tokenizer leave that of the start as it is, and the start's ids hold as long as it is the same.
[[nodiscard]] KeptTokenizer keep_tokenizer(const std::filesystem::path& of_data, const std::filesystem::path& start);

// Of a checkpoint, an import, an export or a Hugging Face folder: as it tells, else as its tokenizer does, else none.
[[nodiscard]] TextTokens text_tokens_beside(const std::filesystem::path& weights);

}  // namespace tersor
