// manifest.json of a folder of tokens: the tokenizer, the shards, and what they were made from.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/data/tokenizer.h"

namespace tersor {

struct ShardEntry {
  std::string file;  // within the folder
  int64_t tokens = 0;
  std::string sha256;
};

struct SplitEntry {
  int64_t documents = 0;
  int64_t tokens = 0;
  int64_t text_bytes = 0;
  std::vector<ShardEntry> shards;
};

struct Manifest {
  // Subfolder that exists while the shards are being made.
  static constexpr const char* kUnfinished = ".unfinished";
  static constexpr const char* kFile = "manifest.json";

  int64_t vocab_size = 0;
  int32_t eos_id = -1;
  std::string tokenizer = Tokenizer::kFile;  // file within the folder
  std::string tokenizer_sha256;
  SplitEntry train;
  SplitEntry validation;
  nlohmann::ordered_json made_from;  // inputs and options; if equal, nothing needs to be redone

  void write(const std::filesystem::path& folder) const;
  // Throws UserError if the folder has no manifest, or one that cannot be understood.
  [[nodiscard]] static Manifest read(const std::filesystem::path& folder);
};

}  // namespace tersor
