#include "core/train/kept_tokenizer.h"

#include "core/base/files.h"
#include "core/train/checkpoint.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

std::string read_if_there(const fs::path& file) { return !file.empty() && fs::exists(file) ? read_text(file) : ""; }

TextTokens tokens_of_model(const std::string& model, const std::string& name) {
  return model.empty() ? TextTokens{} : text_tokens_of(Tokenizer::from_bytes(model, name));
}

}  // namespace

TextTokens text_tokens_beside(const fs::path& weights) {
  const fs::path file = weights / Tokenizer::kFile;
  if (!is_checkpoint(weights)) return fs::exists(weights / "config.json") ? read_text_tokens(weights) : tokens_of_model(read_if_there(file), file.string());
  const Json trainer = read_trainer(weights);
  if (trainer.contains("text_tokens")) return read_text_tokens(trainer["text_tokens"], (weights / "trainer.json").string());
  return tokens_of_model(read_if_there(file), file.string());
}

KeptTokenizer keep_tokenizer(const fs::path& of_data, const fs::path& start) {
  const std::string model = read_if_there(of_data);
  const std::string before = start.empty() ? "" : read_if_there(start / Tokenizer::kFile);
  const bool begins = !start.empty() && fs::exists(start);
  if (begins && (model.empty() || model == before)) return {.model = before, .ids = text_tokens_beside(start)};
  return {.model = model, .ids = tokens_of_model(model, of_data.string())};
}

}  // namespace tersor
