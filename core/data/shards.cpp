// Windows over token shards on disk, cut without regard to documents: window i takes tokens [i·L, i·L + L], so that targets are
// inputs shifted by one and no token between windows is lost.
#include "core/data/shard_set.h"

namespace tersor {

TokenSourceRegistry& token_sources() {
  static TokenSourceRegistry registry("token source", "where training and validation tokens come from");
  return registry;
}

namespace {

class Shards final : public TokenSource {
 public:
  struct Config {
    std::filesystem::path path;
    bool verify = false;
    void fields(FieldVisitor& v) {
      v("path", path, required, "folder that 'tersor tokenize' made, a folder of llm.c shards (*train*.bin, *val*.bin), or one shard");
      v("verify", verify, "compare every shard with its checksum before the run");
    }
  };

  Shards(const Config& config, const SourceInfo& info) : length_(info.sequence_length), tokens_(config.path, config.verify, info) {
    if (size() < 1)
      throw user_error("'{}' holds {} {} tokens, too few for one window of {}; {}", config.path.string(), tokens_.size(), info.split, length_ + 1,
                       info.split == "train" ? "shorten data.sequence_length"
                                             : "tokenize more documents, or with a smaller --hold-out, or set evaluation.every=never");
  }

  int64_t size() const override { return (tokens_.size() - 1) / length_; }
  int64_t num_targets(int64_t /*window*/) const override { return length_; }
  void read(int64_t window, std::span<int64_t> tokens) const override { tokens_.read(window * length_, tokens); }
  std::filesystem::path tokenizer() const override { return tokens_.tokenizer(); }
  std::string fingerprint() const override { return tokens_.fingerprint(); }

 private:
  int64_t length_;
  ShardSet tokens_;
};

const bool registered = token_sources().add<Shards>("shards", "token files on disk, in llm.c's format");

}  // namespace
}  // namespace tersor
