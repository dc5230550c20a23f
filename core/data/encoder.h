// Encodes documents on all cores and passes the tokens on in document order; counts what the tokens lose of the text.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/data/tokenizer.h"

namespace tersor {

struct EncoderCounts {
  int64_t tokens = 0;     // without end-of-document tokens
  int64_t unknown = 0;    // of these, the tokenizer's unknown token
  int64_t not_utf8 = 0;   // documents with invalid UTF-8, which the tokenizer reads as U+FFFD
  int64_t looked_at = 0;  // documents decoded again and compared
  int64_t changed = 0;    // of these, documents that decoded to another text
};

class Encoder {
 public:
  using Sink = std::function<void(std::span<const int32_t> tokens, size_t text_bytes)>;
  // With `looks_back`, a sample of the documents is decoded again and compared with the original.
  Encoder(const Tokenizer& tokenizer, bool looks_back, Sink sink) : tokenizer_(tokenizer), looks_back_(looks_back), sink_(std::move(sink)) {}

  void add(std::string_view text);
  // Encodes and passes on all pending documents.
  void flush();
  // Over the documents passed on so far.
  [[nodiscard]] const EncoderCounts& counts() const { return counts_; }

 private:
  struct Document {
    std::string text;
    bool look_back = false;
    std::vector<int32_t> tokens;
    int64_t unknown = 0;
    bool is_utf8 = true;
    bool comes_back = true;
  };
  void encode(Document& document) const;
  void hand_on(Document& document);
  [[nodiscard]] bool is_in_sample(std::string_view text);

  const Tokenizer& tokenizer_;
  bool looks_back_;
  Sink sink_;
  std::vector<Document> batch_;
  size_t batch_bytes_ = 0;
  size_t bytes_ = 0;         // of all documents
  size_t sample_bytes_ = 0;  // of those decoded again
  EncoderCounts counts_;
};

}  // namespace tersor
