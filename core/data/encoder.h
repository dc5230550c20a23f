// Documents to tokens on all cores, handed on in the order of the documents; what the tokens do not keep is counted.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/data/tokenizer.h"

namespace tersor {

struct EncoderCounts {
  int64_t tokens = 0;     // without those that end documents
  int64_t unknown = 0;    // of these: the tokenizer's token for what it does not know
  int64_t not_utf8 = 0;   // documents with bytes that are not UTF-8, for which the tokenizer has taken U+FFFD
  int64_t looked_at = 0;  // documents that were decoded again
  int64_t changed = 0;    // of these: those that came back otherwise than they were
};

class Encoder {
 public:
  using Sink = std::function<void(std::span<const int32_t> tokens, size_t text_bytes)>;
  // With `looks_back` a sample of the documents is decoded again and compared.
  Encoder(const Tokenizer& tokenizer, bool looks_back, Sink sink) : tokenizer_(tokenizer), looks_back_(looks_back), sink_(std::move(sink)) {}

  void add(std::string_view text);
  // Hands on what is not handed on yet.
  void flush();
  // Of the documents that were handed on.
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
  size_t sample_bytes_ = 0;  // of those that are decoded again
  EncoderCounts counts_;
};

}  // namespace tersor
