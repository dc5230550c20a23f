// One window per document, as in the scripts of GaLore (arXiv:2403.03507) and its successors: a longer document is cut off, a shorter
// one padded. Padding is excluded from the loss.
#include "core/data/shard_set.h"

namespace tersor {
namespace {

constexpr int64_t kBlock = 1 << 20;  // tokens read at a time when searching for documents

class DocumentRows final : public TokenSource {
 public:
  struct Config {
    std::filesystem::path path;
    bool verify = false;
    std::optional<int64_t> eos;
    void fields(FieldVisitor& v) {
      v("path", path, required, "folder that 'tersor tokenize' made, a folder of llm.c shards (*train*.bin, *val*.bin), or one shard");
      v("verify", verify, "compare every shard with its checksum before the run");
      v("eos", eos, at_least(0), "the token that ends a document; the tokenizer's when absent");
    }
  };

  DocumentRows(const Config& config, const SourceInfo& info) : length_(info.sequence_length), tokens_(config.path, config.verify, info) {
    const std::optional<int64_t> eos = config.eos ? config.eos : tokens_.eos();
    if (!eos) throw user_error("'{}' does not say which token ends a document; set eos, for instance 50256 for GPT-2's vocabulary", config.path.string());
    find_documents(*eos);
    if (starts_.empty())
      throw user_error("'{}' holds no {} document of two tokens or more; {}", config.path.string(), info.split,
                       info.split == "train" ? "tokenize more text" : "tokenize more documents, or with a smaller --hold-out, or set evaluation.every=never");
  }

  int64_t size() const override { return static_cast<int64_t>(starts_.size()); }
  int64_t num_targets(int64_t window) const override { return lengths_[static_cast<size_t>(window)] - 1; }
  void read(int64_t window, std::span<int64_t> tokens) const override {
    const auto length = static_cast<size_t>(lengths_[static_cast<size_t>(window)]);
    tokens_.read(starts_[static_cast<size_t>(window)], tokens.first(length));
    std::fill(tokens.begin() + static_cast<std::ptrdiff_t>(length), tokens.end(), kPadding);
  }
  std::filesystem::path tokenizer() const override { return tokens_.tokenizer(); }
  std::string fingerprint() const override { return tokens_.fingerprint(); }

 private:
  // A document runs up to and including its end token. One of a single token has nothing to predict and is skipped.
  void find_documents(int64_t eos) {
    std::vector<int64_t> block(kBlock);
    int64_t start = 0;
    const auto end_at = [&](int64_t end) {
      if (end - start >= 2) {
        starts_.push_back(start);
        lengths_.push_back(static_cast<int32_t>(std::min(end - start, length_ + 1)));
      }
      start = end;
    };
    for (int64_t first = 0; first < tokens_.size(); first += kBlock) {
      const std::span<int64_t> part(block.data(), static_cast<size_t>(std::min(kBlock, tokens_.size() - first)));
      tokens_.read(first, part);
      for (size_t i = 0; i < part.size(); ++i)
        if (part[i] == eos) end_at(first + static_cast<int64_t>(i) + 1);
    }
    end_at(tokens_.size());
  }

  int64_t length_;
  ShardSet tokens_;
  std::vector<int64_t> starts_;   // where each document begins, in tokens
  std::vector<int32_t> lengths_;  // of the part that its window holds
};

const bool registered =
    token_sources().add<DocumentRows>("documents", "token files on disk, one document a window, cut off or filled up with padding");

}  // namespace
}  // namespace tersor
