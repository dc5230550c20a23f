#include "core/base/blame.h"
#include "core/data/token_source.h"

namespace tersor {
namespace {

class CheckedSource final : public TokenSource {
 public:
  CheckedSource(std::unique_ptr<TokenSource> source, std::string name, int64_t vocab_size) : source_(std::move(source)), name_(std::move(name)), vocab_size_(vocab_size) {}

  int64_t size() const override { return source_->size(); }
  int64_t num_targets(int64_t window) const override { return source_->num_targets(window); }
  std::filesystem::path tokenizer() const override { return source_->tokenizer(); }
  std::string fingerprint() const override { return source_->fingerprint(); }

  void read(int64_t window, std::span<int64_t> tokens) const override {
    const auto who = [&] { return fmt::format("data: source '{}', window {}", name_, window); };
    blaming(who, [&] { source_->read(window, tokens); });
    size_t end = tokens.size();
    while (end > 0 && tokens[end - 1] == kPadding) --end;
    for (const int64_t token : tokens.first(end))
      if (token < 0 || token >= vocab_size_) throw std::runtime_error(fmt::format("{}: token {} is not in the vocabulary, 0 to {}", who(), token, vocab_size_ - 1));
    const auto targets = static_cast<int64_t>(end) - 1;
    if (const int64_t said = source_->num_targets(window); targets < 1 || said != targets)
      throw std::runtime_error(fmt::format("{}: {} targets are not padding, but num_targets returns {}", who(), std::max<int64_t>(0, targets), said));
  }

 private:
  std::unique_ptr<TokenSource> source_;
  std::string name_;
  int64_t vocab_size_;
};

}  // namespace

std::unique_ptr<TokenSource> build_source(const Choice<token_sources>& choice, const std::string& name, const SourceInfo& info) {
  const auto who = [&] { return fmt::format("data: source '{}' ({})", name, choice.type()); };
  std::unique_ptr<TokenSource> source = blaming(who, [&] { return choice.build(info); });
  if (const int64_t windows = source->size(); windows < 1)
    throw user_error("{} has {} {} windows of {} tokens", who(), windows, info.split, info.sequence_length);
  return std::make_unique<CheckedSource>(std::move(source), name, info.vocab_size);
}

}  // namespace tersor
