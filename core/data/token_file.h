// Token shards in llm.c's format: a header of 256 int32 (magic, version, number of tokens), then the tokens.
//
//   magic 20240520, version 1: uint16        magic 20240801, version 7: uint32, for vocabularies above 65,536
#pragma once

#include <cstdint>
#include <span>

#include "core/base/files.h"

namespace tersor {

class TokenFile {
 public:
  // Maps the file. Throws UserError if it is not a token shard, truncated, or empty.
  explicit TokenFile(const std::filesystem::path& file);

  [[nodiscard]] int64_t size() const { return size_; }
  // Copies tokens [first, first + out.size()).
  void read(int64_t first, std::span<int64_t> out) const;

 private:
  MappedFile file_;
  int64_t size_ = 0;
  int64_t width_ = 2;  // bytes per token
};

class TokenFileWriter {
 public:
  // Writes to a temporary file, which `close` renames to `file`.
  TokenFileWriter(const std::filesystem::path& file, int64_t vocab_size);
  void append(std::span<const int32_t> tokens);
  void close();
  [[nodiscard]] int64_t size() const { return size_; }

 private:
  void write_header();

  WholeFile file_;
  int64_t size_ = 0;
  bool wide_;
};

}  // namespace tersor
