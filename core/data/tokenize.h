// Turns text into a folder of token shards with a tokenizer and a manifest, once, before any training.
#pragma once

#include <functional>

#include "core/data/documents.h"
#include "core/data/manifest.h"

namespace tersor {

struct TokenizeOptions {
  std::vector<std::filesystem::path> inputs;
  std::filesystem::path output;
  std::filesystem::path tokenizer;     // empty: train one on the text
  std::string text_key = kTextKey;     // key of the text in a line of a .jsonl
  int64_t vocab_size = 32000;          // of a tokenizer trained on the text
  int64_t hold_out = 20;               // every n-th document becomes validation; 0: none
  int64_t shard_tokens = 100'000'000;  // per shard; the last may have fewer
  bool force = false;                  // redo even if the output is complete or was made from something else
};

struct TokenizeResult {
  Manifest manifest;
  bool was_complete = false;  // nothing had to be done
};

// Receives a line about progress.
using Say = std::function<void(const std::string&)>;
TokenizeResult tokenize(const TokenizeOptions& options, const Say& say);

}  // namespace tersor
