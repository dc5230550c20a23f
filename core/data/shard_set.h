// The token shards of one split, read as one long row of tokens: a document may begin in one and end in another.
#pragma once

#include <fmt/ranges.h>

#include "core/data/token_file.h"
#include "core/data/token_source.h"

namespace tersor {

class ShardSet {
 public:
  // `path`: a folder that 'tersor tokenize' made, a folder of llm.c shards, or one shard. `verify` compares each shard with its
  // checksum in the manifest. UserError for what is missing, damaged, or of a larger vocabulary than the model's.
  ShardSet(const std::filesystem::path& path, bool verify, const SourceInfo& info);

  [[nodiscard]] int64_t size() const { return size_; }
  // Tokens [first, first + out.size()), over the borders of shards. UserError for a token that the model does not know.
  void read(int64_t first, std::span<int64_t> out) const;
  // The SentencePiece model that made the tokens, where it is known.
  [[nodiscard]] const std::filesystem::path& tokenizer() const { return tokenizer_; }
  // The token that ends a document, where it is known.
  [[nodiscard]] std::optional<int64_t> eos() const { return eos_; }
  // By the checksums of a manifest; without one by names and sizes.
  [[nodiscard]] std::string fingerprint() const { return sha256_of_text(fmt::format("{}", fmt::join(marks_, "\n"))); }

 private:
  void open(const std::filesystem::path& path, bool verify);
  void open_manifest(const std::filesystem::path& folder, bool verify);
  void open_by_name(const std::filesystem::path& folder);
  void add_by_name(const std::filesystem::path& file);

  SourceInfo info_;
  std::filesystem::path tokenizer_;
  std::optional<int64_t> eos_;
  std::vector<TokenFile> shards_;
  std::vector<std::string> marks_;  // of each, what it can be told by
  std::vector<int64_t> starts_;  // of each shard in the long row
  int64_t size_ = 0;
};

}  // namespace tersor
