#include "core/base/log.h"
#include "core/cli/commands.h"
#include "core/data/tokenize.h"

namespace tersor {

void add_tokenize_command(CLI::App& app) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "turn text into token shards, once, before training");
  command->add_option("--input", options->inputs, "folders and files, also .gz and .zst: a .txt is one document, or several separated by lines <|endoftext|>; each line of a .jsonl is one, its \"text\"")->required();
  command->add_option("--text-key", options->text_key, "key of the text in a line of a .jsonl")->capture_default_str();
  command->add_option("--output", options->output, "folder for the shards, the tokenizer and the manifest")->required();
  CLI::Option* tokenizer = command->add_option("--tokenizer", options->tokenizer, "SentencePiece model; when absent, one is trained on the text");
  CLI::Option* vocabulary = command->add_option("--vocab-size", options->vocab_size, "tokens of a tokenizer trained on the text")->check(CLI::Range(64, 1'000'000))->capture_default_str();
  vocabulary->excludes(tokenizer);
  command->add_option("--hold-out", options->hold_out, "every n-th document becomes validation; 0: none")->check(at_least_zero())->capture_default_str();
  command->add_option("--shard-tokens", options->shard_tokens, "tokens per shard; a document may continue in the next")->check(CLI::Range(int64_t{1}, int64_t{1} << 30))->capture_default_str();
  command->add_flag("--force", options->force, "redo even if the output is complete or was made from something else");
  command->callback([options] {
    const TokenizeResult result = tokenize(*options, [](const std::string& line) { log().info("{}", line); });
    const Manifest& m = result.manifest;
    if (result.was_complete) log().info("'{}' is up to date", options->output.string());
    const auto per_token = static_cast<double>(m.train.text_bytes) / static_cast<double>(m.train.tokens);
    fmt::print("{}: vocabulary {} | train {} documents, {} tokens ({:.2f} bytes each) | validation {} documents, {} tokens\n",
               options->output.string(), m.vocab_size, m.train.documents, m.train.tokens, per_token, m.validation.documents,
               m.validation.tokens);
  });
}

}  // namespace tersor
