// Where training windows come from. A source numbers its windows and reads any of them at once, so a position in the data
// is one number and does not depend on how many processes read.
#pragma once

#include <span>

#include "core/config/registry.h"

namespace tersor {

struct SourceInfo {
  int64_t sequence_length = 0;
  int64_t vocab_size = 0;  // of the model: a source refuses to give tokens it does not know
  std::string split;       // "train" or "validation": a source gives no window to both
  uint64_t seed = 0;
  bool shares_path = false;  // no other source is named for validation: it is to come from where training does
};

// What fills up a window whose text ends before it: nothing is learnt from it.
inline constexpr int64_t kPadding = -100;

class TokenSource {
 public:
  virtual ~TokenSource() = default;
  // Number of windows.
  [[nodiscard]] virtual int64_t size() const = 0;
  // sequence_length + 1 tokens of one window: inputs are the first, targets the last sequence_length. There may be padding at the
  // end. May be called from several threads.
  virtual void read(int64_t window, std::span<int64_t> tokens) const = 0;
  // Targets of a window that are no padding: 1 to sequence_length.
  [[nodiscard]] virtual int64_t num_targets(int64_t window) const = 0;
  // The SentencePiece model that made the tokens, where it is known.
  [[nodiscard]] virtual std::filesystem::path tokenizer() const { return {}; }
  // What tells these tokens from others, wherever they lie: a checksum. Empty: options tell it all.
  [[nodiscard]] virtual std::string fingerprint() const { return {}; }
};

using TokenSourceRegistry = Registry<TokenSource, const SourceInfo&>;
[[nodiscard]] TokenSourceRegistry& token_sources();

// A source that is held to the above, as sources may come from outside and a wrong token is another's memory: errors name it as `name`.
// UserError where it has no windows.
[[nodiscard]] std::unique_ptr<TokenSource> build_source(const Choice<token_sources>& choice, const std::string& name, const SourceInfo& info);

}  // namespace tersor
