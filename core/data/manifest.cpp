#include "core/data/manifest.h"

#include "core/base/error.h"
#include "core/base/files.h"

namespace tersor {

using Json = nlohmann::ordered_json;

namespace {

constexpr int kFormat = 1;

Json to_json(const SplitEntry& split) {
  Json shards = Json::array();
  for (const ShardEntry& s : split.shards) shards.push_back({{"file", s.file}, {"tokens", s.tokens}, {"sha256", s.sha256}});
  return {{"documents", split.documents}, {"tokens", split.tokens}, {"text_bytes", split.text_bytes}, {"shards", shards}};
}

SplitEntry split_from(const Json& json) {
  SplitEntry split{.documents = json.at("documents"), .tokens = json.at("tokens"), .text_bytes = json.at("text_bytes")};
  for (const Json& s : json.at("shards")) split.shards.push_back({s.at("file"), s.at("tokens"), s.at("sha256")});
  return split;
}

}  // namespace

void Manifest::write(const std::filesystem::path& folder) const {
  const Json json = {{"format", kFormat},
                     {"tokenizer", {{"file", tokenizer}, {"sha256", tokenizer_sha256}, {"vocab_size", vocab_size}, {"eos_id", eos_id}}},
                     {"train", to_json(train)},
                     {"validation", to_json(validation)},
                     {"made_from", made_from}};
  write_whole(folder / kFile, json.dump(2) + "\n");
}

Manifest Manifest::read(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / kFile;
  if (!std::filesystem::exists(file))
    throw user_error("'{}' holds no {}: make the tokens with 'tersor tokenize --output {}'", folder.string(), kFile, folder.string());
  const Json json = Json::parse(read_text(file), nullptr, false);
  try {
    if (json.at("format") != kFormat)
      throw user_error("'{}' has format {}; this version of tersor reads format {}", file.string(), json.at("format").dump(), kFormat);
    const Json& tokenizer = json.at("tokenizer");
    return {.vocab_size = tokenizer.at("vocab_size"),
            .eos_id = tokenizer.at("eos_id"),
            .tokenizer = tokenizer.at("file"),
            .tokenizer_sha256 = tokenizer.at("sha256"),
            .train = split_from(json.at("train")),
            .validation = split_from(json.at("validation")),
            .made_from = json.at("made_from")};
  } catch (const nlohmann::json::exception& e) {
    throw user_error("'{}' is damaged ({}); run 'tersor tokenize' again, with --force", file.string(), e.what());
  }
}

}  // namespace tersor
