// The token shards of one split, read as one long sequence of tokens: a document may begin in one shard and end in another.
#pragma once

#include <fmt/ranges.h>

#include "core/data/token_file.h"
#include "core/data/token_source.h"

namespace tersor {

class ShardSet {
 public:
  // `path`: a folder that 'tersor tokenize' made, a folder of llm.c shards, or one shard. `verify` compares each shard with its
  // checksum in the manifest. Throws UserError if anything is missing, damaged, or of a larger vocabulary than the model's.
  ShardSet(const std::filesystem::path& path, bool verify, const SourceInfo& info);

  [[nodiscard]] int64_t size() const { return size_; }
  // Reads tokens [first, first + out.size()), across shards. Throws UserError for a token outside the model's vocabulary.
  void read(int64_t first, std::span<int64_t> out) const;
  // The SentencePiece model that made the tokens; empty if unknown.
  [[nodiscard]] const std::filesystem::path& tokenizer() const { return tokenizer_; }
  // The token that ends a document, if known.
  [[nodiscard]] std::optional<int64_t> eos() const { return eos_; }
  // From the checksums in the manifest; without one, from file names and sizes.
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
  std::vector<std::string> marks_;  // what identifies each shard
  std::vector<int64_t> starts_;  // of each shard in the long sequence
  int64_t size_ = 0;
};

}  // namespace tersor
