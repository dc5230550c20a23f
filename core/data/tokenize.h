// Text to a folder of token shards with a tokenizer and a manifest, once, before any training.
#pragma once

#include <functional>

#include "core/data/documents.h"
#include "core/data/manifest.h"

namespace tersor {

struct TokenizeOptions {
  std::vector<std::filesystem::path> inputs;
  std::filesystem::path output;
  std::filesystem::path tokenizer;     // empty: train one on the text
  std::string text_key = kTextKey;     // where the text is in a line of a .jsonl
  int64_t vocab_size = 32000;          // of a tokenizer that is trained
  int64_t hold_out = 20;               // every n-th document becomes validation; 0: none
  int64_t shard_tokens = 100'000'000;  // in a shard; the last has fewer
  bool force = false;                  // also where the output is complete, or was made from something else
};

struct TokenizeResult {
  Manifest manifest;
  bool was_complete = false;  // nothing had to be done
};

// Gets a line about what is under way.
using Say = std::function<void(const std::string&)>;
TokenizeResult tokenize(const TokenizeOptions& options, const Say& say);

}  // namespace tersor
