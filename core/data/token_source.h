// Where training windows come from. A source numbers its windows and can read any of them directly, so a position in the data
// is one number that does not depend on how many processes read.
#pragma once

#include <span>

#include "core/config/registry.h"

namespace tersor {

struct SourceInfo {
  int64_t sequence_length = 0;
  int64_t vocab_size = 0;  // of the model; a source must not return tokens outside it
  std::string split;       // "train" or "validation"; no window belongs to both
  uint64_t seed = 0;
  bool shares_path = false;  // validation has no source of its own and reads the training data's path
};

// Fills the rest of a window whose text is shorter; excluded from the loss.
inline constexpr int64_t kPadding = -100;

class TokenSource {
 public:
  virtual ~TokenSource() = default;
  // Number of windows.
  [[nodiscard]] virtual int64_t size() const = 0;
  // Reads the sequence_length + 1 tokens of a window: the first sequence_length are inputs, the last sequence_length targets. Padding
  // may follow the text. May be called from several threads.
  virtual void read(int64_t window, std::span<int64_t> tokens) const = 0;
  // Number of targets of a window that are not padding: 1 to sequence_length.
  [[nodiscard]] virtual int64_t num_targets(int64_t window) const = 0;
  // The SentencePiece model that made the tokens; empty if unknown.
  [[nodiscard]] virtual std::filesystem::path tokenizer() const { return {}; }
  // A checksum that identifies the tokens wherever they are stored. Empty if the options determine them.
  [[nodiscard]] virtual std::string fingerprint() const { return {}; }
};

using TokenSourceRegistry = Registry<TokenSource, const SourceInfo&>;
[[nodiscard]] TokenSourceRegistry& token_sources();

// Builds a source that is checked against the contract above: sources may come from plugins, and a token outside the vocabulary would
// read out of bounds. Errors call it `name`. Throws UserError if it has no windows.
[[nodiscard]] std::unique_ptr<TokenSource> build_source(const Choice<token_sources>& choice, const std::string& name, const SourceInfo& info);

}  // namespace tersor
