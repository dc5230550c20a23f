#include "core/data/shard_set.h"

#include <algorithm>

#include "core/data/manifest.h"

namespace tersor {

namespace fs = std::filesystem;

ShardSet::ShardSet(const fs::path& path, bool verify, const SourceInfo& info) : info_(info) {
  open(path, verify);
  for (const TokenFile& shard : shards_) {
    starts_.push_back(size_);
    size_ += shard.size();
  }
}

void ShardSet::read(int64_t first, std::span<int64_t> out) const {
  size_t done = 0;
  auto shard = static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), first) - starts_.begin() - 1);
  while (done < out.size()) {
    const int64_t inside = first - starts_[shard];
    const int64_t wanted = static_cast<int64_t>(out.size() - done);
    const int64_t count = std::min(wanted, shards_[shard].size() - inside);
    shards_[shard].read(inside, out.subspan(done, static_cast<size_t>(count)));
    done += static_cast<size_t>(count);
    first += count;
    ++shard;
  }
  const int64_t largest = *std::max_element(out.begin(), out.end());
  if (largest >= info_.vocab_size)
    throw user_error("the data holds token {}, but the model knows only {}; set model.vocab_size to that of the tokenizer", largest,
                     info_.vocab_size);
}

void ShardSet::open(const fs::path& path, bool verify) {
  if (fs::is_regular_file(path)) {
    if (info_.shares_path)
      throw user_error("'{}' is a single shard and holds no validation tokens: set data.validation, or evaluation.every=never", path.string());
    add_by_name(path);
  } else if (fs::exists(path / Manifest::kFile)) {
    open_manifest(path, verify);
  } else if (fs::exists(path / Manifest::kUnfinished) || (fs::exists(path / Manifest().tokenizer) && fs::exists(path / "train_000000.bin"))) {
    throw user_error("'{}' has no {}: 'tersor tokenize' did not finish there; run it again", path.string(), Manifest::kFile);
  } else if (fs::is_directory(path)) {
    open_by_name(path);
  } else {
    throw user_error("'{}' does not exist; make it with 'tersor tokenize' (for the quickstart's text, scripts/quickstart does)", path.string());
  }
}

void ShardSet::open_manifest(const fs::path& folder, bool verify) {
  const Manifest manifest = Manifest::read(folder);
  if (manifest.vocab_size > info_.vocab_size)
    throw user_error("'{}' was made with a tokenizer of {} tokens, but the model knows {}; set model.vocab_size: {}", folder.string(),
                     manifest.vocab_size, info_.vocab_size, manifest.vocab_size);
  tokenizer_ = folder / manifest.tokenizer;
  if (manifest.eos_id >= 0) eos_ = manifest.eos_id;
  const SplitEntry& split = info_.split == "train" ? manifest.train : manifest.validation;
  for (const ShardEntry& entry : split.shards) {
    const fs::path file = folder / entry.file;
    shards_.emplace_back(file);
    if (shards_.back().size() != entry.tokens)
      throw user_error("'{}' holds {} tokens, the manifest says {}; run 'tersor tokenize' again", file.string(), shards_.back().size(),
                       entry.tokens);
    marks_.push_back(entry.sha256);
    if (verify && sha256_of_file(file) != entry.sha256)
      throw user_error("'{}' does not have the checksum in its manifest; run 'tersor tokenize' again", file.string());
  }
}

void ShardSet::add_by_name(const fs::path& file) {
  shards_.emplace_back(file);
  marks_.push_back(fmt::format("{} {}", file.filename().string(), shards_.back().size()));
}

// llm.c's scripts write fineweb_train_000001.bin and fineweb_val_000000.bin.
void ShardSet::open_by_name(const fs::path& folder) {
  const std::string word = info_.split == "train" ? "train" : "val";
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".bin" && entry.path().filename().string().find(word) != std::string::npos) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) add_by_name(file);
  if (files.empty())
    throw user_error("'{}' holds neither a {} nor shards called *{}*.bin; make them with 'tersor tokenize'", folder.string(), Manifest::kFile, word);
}

}  // namespace tersor
