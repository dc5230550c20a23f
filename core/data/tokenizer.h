// SentencePiece (Kudo and Richardson 2018, arXiv:1808.06226): text to token ids and back.
//
//   train_tokenizer(sample, 4096, "tokenizer.model");
//   Tokenizer tokenizer("tokenizer.model");
//   tokenizer.decode(tokenizer.encode(text)) == text       // also newlines, tabs, blanks in a row
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tersor {

class Tokenizer {
 public:
  static constexpr const char* kFile = "tokenizer.model";  // beside tokens, in checkpoints and in exported models

  explicit Tokenizer(const std::filesystem::path& model);
  // From the contents of such a file; messages call it `name`.
  [[nodiscard]] static Tokenizer from_bytes(const std::string& bytes, const std::string& name);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  [[nodiscard]] std::vector<int32_t> encode(std::string_view text) const;
  [[nodiscard]] std::string decode(std::span<const int32_t> tokens) const;
  [[nodiscard]] int64_t vocab_size() const;
  // −1 if the model has none.
  [[nodiscard]] int32_t bos_id() const;
  [[nodiscard]] int32_t eos_id() const;
  [[nodiscard]] int32_t unk_id() const;
  [[nodiscard]] std::string piece(int32_t id) const;
  // Whether encoding puts a blank before every text (add_dummy_prefix).
  [[nodiscard]] bool adds_prefix() const;
  [[nodiscard]] const std::string& hash() const { return hash_; }  // SHA-256 of the model file

 private:
  Tokenizer(const std::string& bytes, const std::string& name);

  struct Model;
  std::unique_ptr<Model> model_;
  std::string hash_;
};

// Trains byte-pair encoding with byte fallback on `sentences` (single lines) and writes the model. Ids: unknown 0, begin 1,
// end 2, as LLaMA's. Throws UserError if the vocabulary is too small for the text's characters or, naming the largest possible size,
// too large for the text.
void train_tokenizer(const std::vector<std::string>& sentences, int64_t vocab_size, const std::filesystem::path& model);

}  // namespace tersor
