// Windows over token shards on disk. The shards of a split are read as one long row of tokens: window i takes tokens
// [i·L, i·L + L], so that targets follow inputs by one and nothing lies between windows.
#include <algorithm>

#include "core/data/manifest.h"
#include "core/data/token_file.h"
#include "core/data/token_source.h"

namespace tersor {

TokenSourceRegistry& token_sources() {
  static TokenSourceRegistry registry("token source", "where training and validation tokens come from");
  return registry;
}

namespace {

namespace fs = std::filesystem;

class Shards final : public TokenSource {
 public:
  struct Config {
    fs::path path;
    bool verify = false;
    void fields(FieldVisitor& v) {
      v("path", path, required, "folder that 'tersor tokenize' made, a folder of llm.c shards (*train*.bin, *val*.bin), or one shard");
      v("verify", verify, "compare every shard with its checksum before the run");
    }
  };

  Shards(const Config& config, const SourceInfo& info) : info_(info) {
    open(config);
    for (const TokenFile& shard : shards_) {
      starts_.push_back(total_);
      total_ += shard.size();
    }
    if (size() < 1)
      throw user_error("'{}' holds {} {} tokens, too few for one window of {}; {}", config.path.string(), total_, info.split,
                       info.sequence_length + 1,
                       info.split == "train" ? "shorten data.sequence_length"
                                             : "tokenize again with a smaller --hold-out, or set evaluation.every=never");
  }

  int64_t size() const override { return (total_ - 1) / info_.sequence_length; }
  fs::path tokenizer() const override { return tokenizer_; }

  void read(int64_t window, std::span<int64_t> tokens) const override {
    int64_t first = window * info_.sequence_length;
    size_t done = 0;
    auto shard = static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), first) - starts_.begin() - 1);
    while (done < tokens.size()) {
      const int64_t inside = first - starts_[shard];
      const int64_t wanted = static_cast<int64_t>(tokens.size() - done);
      const int64_t count = std::min(wanted, shards_[shard].size() - inside);
      shards_[shard].read(inside, tokens.subspan(done, static_cast<size_t>(count)));
      done += static_cast<size_t>(count);
      first += count;
      ++shard;
    }
    const int64_t largest = *std::max_element(tokens.begin(), tokens.end());
    if (largest >= info_.vocab_size)
      throw user_error("the data holds token {}, but the model knows only {}; set model.vocab_size to that of the tokenizer",
                       largest, info_.vocab_size);
  }

 private:
  void open(const Config& config) {
    if (fs::is_regular_file(config.path)) {
      if (info_.shares_path)
        throw user_error("'{}' is a single shard and holds no validation tokens: set data.validation, or evaluation.every=never",
                         config.path.string());
      shards_.emplace_back(config.path);
    } else if (fs::exists(config.path / Manifest::kFile)) {
      open_manifest(config);
    } else if (fs::is_directory(config.path)) {
      open_by_name(config.path);
    } else {
      throw user_error("'{}' does not exist; make it with 'tersor tokenize'", config.path.string());
    }
  }

  void open_manifest(const Config& config) {
    const Manifest manifest = Manifest::read(config.path);
    if (manifest.vocab_size > info_.vocab_size)
      throw user_error("'{}' was made with a tokenizer of {} tokens, and the model knows {}; set model.vocab_size: {}",
                       config.path.string(), manifest.vocab_size, info_.vocab_size, manifest.vocab_size);
    tokenizer_ = config.path / manifest.tokenizer;
    const SplitEntry& split = info_.split == "train" ? manifest.train : manifest.validation;
    for (const ShardEntry& entry : split.shards) {
      const fs::path file = config.path / entry.file;
      shards_.emplace_back(file);
      if (shards_.back().size() != entry.tokens)
        throw user_error("'{}' holds {} tokens, the manifest says {}; run 'tersor tokenize' again", file.string(),
                         shards_.back().size(), entry.tokens);
      if (config.verify && sha256_of_file(file) != entry.sha256)
        throw user_error("'{}' does not have the checksum in its manifest; run 'tersor tokenize' again", file.string());
    }
  }

  // llm.c's scripts write fineweb_train_000001.bin and fineweb_val_000000.bin.
  void open_by_name(const fs::path& folder) {
    const std::string word = info_.split == "train" ? "train" : "val";
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".bin" && entry.path().filename().string().find(word) != std::string::npos)
        files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) shards_.emplace_back(file);
    if (files.empty())
      throw user_error("'{}' holds neither a {} nor shards called *{}*.bin; make them with 'tersor tokenize'", folder.string(),
                       Manifest::kFile, word);
  }

  SourceInfo info_;
  fs::path tokenizer_;
  std::vector<TokenFile> shards_;
  std::vector<int64_t> starts_;  // of each shard in the long row
  int64_t total_ = 0;
};

const bool registered = token_sources().add<Shards>("shards", "token files on disk, in llm.c's format");

}  // namespace
}  // namespace tersor
