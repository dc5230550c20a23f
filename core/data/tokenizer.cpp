#include "core/data/tokenizer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <unordered_map>

#include "core/base/error.h"
#include "core/base/files.h"

namespace tersor {
namespace {

class Sentences final : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const std::vector<std::string>& all) : all_(all) {}
  bool done() const override { return index_ >= all_.size(); }
  void Next() override { ++index_; }
  const std::string& value() const override { return all_[index_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& all_;
  size_t index_ = 0;
};

}  // namespace

struct Tokenizer::Model {
  sentencepiece::SentencePieceProcessor processor;
};

Tokenizer::Tokenizer(const std::filesystem::path& model) : Tokenizer(read_text(model), model.string()) {}
Tokenizer Tokenizer::from_bytes(const std::string& bytes, const std::string& name) { return {bytes, name}; }

Tokenizer::Tokenizer(const std::string& bytes, const std::string& name) : model_(std::make_unique<Model>()) {
  const auto status = model_->processor.LoadFromSerializedProto(bytes);
  if (!status.ok()) throw user_error("'{}' is not a SentencePiece model: {}", name, status.ToString());
  hash_ = sha256_of_text(bytes);
}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int> ids;
  const auto status = model_->processor.Encode({text.data(), text.size()}, &ids);
  if (!status.ok()) throw user_error("text cannot be tokenized: {}", status.ToString());
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> tokens) const {
  std::string text;
  const auto status = model_->processor.Decode(std::vector<int>(tokens.begin(), tokens.end()), &text);
  if (!status.ok()) throw user_error("tokens cannot be decoded: {}", status.ToString());
  return text;
}

int64_t Tokenizer::vocab_size() const { return model_->processor.GetPieceSize(); }
int32_t Tokenizer::bos_id() const { return model_->processor.bos_id(); }
int32_t Tokenizer::eos_id() const { return model_->processor.eos_id(); }
int32_t Tokenizer::unk_id() const { return model_->processor.unk_id(); }
std::string Tokenizer::piece(int32_t id) const { return model_->processor.IdToPiece(id); }

// The library's packages lack the headers that would tell. A blank in a piece is U+2581 or, where the vocabulary does not have it, the
// first of its three bytes.
bool Tokenizer::adds_prefix() const {
  const std::vector<std::string> pieces = model_->processor.EncodeAsPieces("a");
  return !pieces.empty() && (pieces.front().starts_with("\u2581") || pieces.front() == "<0xE2>");
}

void train_tokenizer(const std::vector<std::string>& sentences, int64_t vocab_size, const std::filesystem::path& model) {
  if (sentences.empty()) throw user_error("there is no text to train a tokenizer on");
  const std::unordered_map<std::string, std::string> options = {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(vocab_size)},
      {"byte_fallback", "true"},
      {"character_coverage", "0.9999"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"add_dummy_prefix", "false"},
      {"split_digits", "true"},
      {"user_defined_symbols", "\n"},
      {"num_threads", "1"},
      {"max_sentence_length", "16384"},
      {"minloglevel", "2"},
  };
  Sentences iterator(sentences);
  std::string serialized;
  const auto status = sentencepiece::SentencePieceTrainer::Train(options, &iterator, &serialized);
  if (status.ok()) return write_whole(model, serialized);
  // The library refuses a vocabulary that is too small for the text's characters, or too large for what can be made of them.
  const std::string why = status.ToString();
  if (why.find("smaller than required_chars") != std::string::npos)
    throw user_error("a tokenizer of {} tokens has no room for the text's characters and the 256 bytes; ask for more with --vocab-size", vocab_size);
  throw user_error("a tokenizer of {} tokens cannot be trained on this text ({}); ask for fewer with --vocab-size", vocab_size,
                   why.substr(why.find_last_of(']') + 1));  // without the location in the library's source, if there is one
}

}  // namespace tersor
