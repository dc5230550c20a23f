#include "core/data/tokenize.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/pattern.h"
#include "core/data/encoder.h"
#include "core/data/token_file.h"
#include "core/data/tokenizer.h"
#include "core/data/utf8.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
constexpr size_t kSampleBytes = 20'000'000;  // of text that a tokenizer is trained on, about; more from compressed files
constexpr size_t kLineBytes = 4000;          // longer lines are split for the trainer

// Lines of text for the tokenizer's trainer. From large inputs only every n-th document is taken.
std::vector<std::string> sample_lines(const std::vector<fs::path>& files, const std::string& text_key) {
  size_t whole = 0;
  for (const fs::path& file : files) whole += fs::file_size(file);
  const size_t every = whole / kSampleBytes + 1;  // one document in so many, to spread the sample over all files
  std::vector<std::string> lines;
  size_t number = 0;
  for_each_document(files, [&](std::string_view text) {
    if (number++ % every != 0) return;
    while (!text.empty()) {
      size_t end = std::min(text.find('\n'), text.size());
      if (end > kLineBytes) {
        const size_t blank = text.rfind(' ', kLineBytes);
        end = blank == std::string_view::npos || blank == 0 ? whole_characters(text, kLineBytes) : blank;
      }
      if (end > 0) lines.emplace_back(text.substr(0, end));
      text.remove_prefix(std::min(text.size(), end + (end < text.size() && text[end] == '\n' ? 1 : 0)));
    }
  }, text_key);
  return lines;
}

// Writes the shards of one split, one after another. A document continues in the next shard when one is full, as in llm.c's.
class SplitWriter {
 public:
  SplitWriter(fs::path folder, std::string name, const TokenizeOptions& options, int64_t vocab_size)
      : folder_(std::move(folder)), name_(std::move(name)), options_(options), vocab_size_(vocab_size) {
    TERSOR_CHECK(options_.shard_tokens > 0, "shards of {} tokens", options_.shard_tokens);
  }

  void append(std::span<const int32_t> tokens, size_t text_bytes) {
    entry_.tokens += static_cast<int64_t>(tokens.size());
    entry_.text_bytes += static_cast<int64_t>(text_bytes);
    ++entry_.documents;
    while (!tokens.empty()) {
      if (writer_ && writer_->size() >= options_.shard_tokens) close();
      if (!writer_) writer_ = std::make_unique<TokenFileWriter>(folder_ / file_name(), vocab_size_);
      const auto room = static_cast<size_t>(options_.shard_tokens - writer_->size());
      const auto part = tokens.first(std::min(tokens.size(), room));
      writer_->append(part);
      tokens = tokens.subspan(part.size());
    }
  }

  SplitEntry finish() {
    close();
    return entry_;
  }

 private:
  std::string file_name() const { return fmt::format("{}_{:06}.bin", name_, entry_.shards.size()); }

  void close() {
    if (!writer_) return;
    const std::string file = file_name();
    writer_->close();
    entry_.shards.push_back({file, writer_->size(), sha256_of_file(folder_ / file)});
    writer_.reset();
  }

  fs::path folder_;
  std::string name_;
  const TokenizeOptions& options_;
  int64_t vocab_size_;
  std::unique_ptr<TokenFileWriter> writer_;
  SplitEntry entry_;
};

nlohmann::ordered_json describe_inputs(const TokenizeOptions& options, const std::vector<fs::path>& files) {
  Sha256 sum;
  for (const fs::path& file : files) sum.add(sha256_of_file(file));
  nlohmann::ordered_json made_from = {{"files", files.size()},
                                      {"contents", sum.hex()},
                                      {"tokenizer", options.tokenizer.empty() ? "trained on the text" : sha256_of_file(options.tokenizer)},
                                      {"vocab_size", options.tokenizer.empty() ? options.vocab_size : 0},
                                      {"hold_out", options.hold_out},
                                      {"shard_tokens", options.shard_tokens}};
  if (options.text_key != kTextKey) made_from["text_key"] = options.text_key;  // tokens made before this option existed stay up to date
  return made_from;
}

// Whether all files exist and match the manifest.
bool is_whole(const fs::path& folder, const Manifest& manifest) {
  const auto same = [&](const std::string& file, const std::string& sum) { return fs::exists(folder / file) && sha256_of_file(folder / file) == sum; };
  const auto whole = [&](const ShardEntry& shard) { return same(shard.file, shard.sha256); };
  return same(manifest.tokenizer, manifest.tokenizer_sha256) && std::all_of(manifest.train.shards.begin(), manifest.train.shards.end(), whole) &&
         std::all_of(manifest.validation.shards.begin(), manifest.validation.shards.end(), whole);
}

std::string documents(int64_t count) { return fmt::format("{} document{}", count, count == 1 ? "" : "s"); }
constexpr std::string_view kWhatADocumentIs = "a .txt is one document, unless lines <|endoftext|> separate several; a .jsonl has one per line";

// Output under construction, in a subfolder of the output; until it is complete, what was there before stays.
class Unfinished {
 public:
  explicit Unfinished(fs::path output) : output_(std::move(output)) {
    std::error_code error;
    fs::remove_all(folder(), error);
    fs::create_directories(folder(), error);
    if (error) throw user_error("'{}' cannot be created: {}", output_.string(), error.message());
  }
  ~Unfinished() {
    std::error_code ignored;
    fs::remove_all(folder(), ignored);
  }
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;

  [[nodiscard]] fs::path folder() const { return output_ / Manifest::kUnfinished; }
  // Replaces the old shards. Meanwhile there is this folder but no manifest, so nobody takes the shards for complete (shard_set.cpp).
  void put_in_place(const Manifest& manifest) const {
    fs::remove(output_ / Manifest::kFile);
    std::vector<fs::path> old;
    for (const fs::directory_entry& entry : fs::directory_iterator(output_)) {
      const std::string name = entry.path().filename().string();
      if (fits_pattern("train_??????.bin", name) || fits_pattern("validation_??????.bin", name)) old.push_back(entry.path());
    }
    for (const fs::path& shard : old) fs::remove(shard);
    std::vector<fs::path> made;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder())) made.push_back(entry.path());
    for (const fs::path& file : made) fs::rename(file, output_ / file.filename());
    manifest.write(output_);
  }

 private:
  fs::path output_;
};

}  // namespace

namespace {

// Returns the existing manifest if it is what is wanted and complete. Throws UserError if it is another one and --force is not given.
std::optional<Manifest> made_before(const TokenizeOptions& options, const Manifest& wanted) {
  if (options.force || !fs::exists(options.output / Manifest::kFile)) return std::nullopt;
  Manifest there = Manifest::read(options.output);
  if (there.made_from != wanted.made_from)
    throw user_error("'{}' holds tokens of another text, or made with other options; choose another --output, or replace them with --force", options.output.string());
  return is_whole(options.output, there) ? std::optional(std::move(there)) : std::nullopt;
}

void say_left_out(const std::vector<fs::path>& files, const Say& say) {
  constexpr size_t kNamed = 3;
  std::string names;
  for (size_t i = 0; i < std::min(files.size(), kNamed); ++i) names += (i == 0 ? "" : ", ") + files[i].string();
  say(fmt::format("{} left out: {}{}; .txt and .jsonl are read, also with .gz or .zst",
                  files.size() == 1 ? "1 file of another kind is" : fmt::format("{} files of other kinds are", files.size()), names,
                  files.size() > kNamed ? ", …" : ""));
}

constexpr std::string_view kOwnTokenizer = "train a tokenizer on the text by leaving --tokenizer out";

// Reports what the tokens lose of the text.
void say_losses(const TokenizeOptions& options, const EncoderCounts& counts, const Say& say) {
  if (counts.not_utf8 > 0)
    say(fmt::format("{} not UTF-8, and invalid bytes became U+FFFD; convert the text with iconv, and tokenize it again with --force",
                    counts.not_utf8 == 1 ? "1 document is" : fmt::format("{} documents are", counts.not_utf8)));
  if (counts.unknown > 0)
    say(fmt::format("{} of {} tokens {} unknown to '{}': the text there is lost; {}", counts.unknown, counts.tokens, counts.unknown == 1 ? "is" : "are",
                    options.tokenizer.string(), kOwnTokenizer));
  if (counts.changed > 0)
    say(fmt::format("of {} checked, {} did not come back from the tokens of '{}' unchanged (its normalization drops newlines, for instance); {}",
                    documents(counts.looked_at), counts.changed, options.tokenizer.string(), kOwnTokenizer));
}

// Checks that there is text to train on and, if requested, to validate on. No --hold-out can split a single document.
void check_splits(const TokenizeOptions& options, int64_t number, const Manifest& manifest, const Say& say) {
  if (number == 0) throw user_error("there is no text in the inputs");
  const std::string one = fmt::format("the inputs are a single document, and validation needs one of its own: split it by lines <|endoftext|>, give more "
                                      "files, or use --hold-out 0 and train with evaluation.every=never; {}", kWhatADocumentIs);
  if (manifest.train.tokens == 0) {
    if (number == 1) throw user_error("{}", one);
    throw user_error("no text is left to train on: of {} in the inputs, --hold-out {} takes all for validation; {}", documents(number),
                     options.hold_out, kWhatADocumentIs);
  }
  if (options.hold_out == 0 || manifest.validation.documents > 0) return;
  say(number == 1 ? one : fmt::format("none of {} became validation: use a smaller --hold-out, or train with evaluation.every=never; {}",
                                      documents(number), kWhatADocumentIs));
}

// Encodes all documents into the shards of both splits, in `folder`.
void write_shards(const TokenizeOptions& options, const std::vector<fs::path>& files, const fs::path& folder, const Tokenizer& tokenizer,
                  Manifest& manifest, const Say& say) {
  SplitWriter train(folder, "train", options, manifest.vocab_size);
  SplitWriter validation(folder, "validation", options, manifest.vocab_size);
  const bool is_foreign = !options.tokenizer.empty();  // our own tokenizers lose nothing
  int64_t number = 0;
  Encoder encoder(tokenizer, is_foreign, [&](std::span<const int32_t> tokens, size_t text_bytes) {
    ++number;
    const bool held_out = options.hold_out > 0 && number % options.hold_out == 0;
    (held_out ? validation : train).append(tokens, text_bytes);
  });
  for_each_document(files, [&](std::string_view text) { encoder.add(text); }, options.text_key);
  encoder.flush();
  say_losses(options, encoder.counts(), say);
  manifest.train = train.finish();
  manifest.validation = validation.finish();
  check_splits(options, number, manifest, say);
}

}  // namespace

TokenizeResult tokenize(const TokenizeOptions& options, const Say& say) {
  const auto [files, left_out] = list_text_files(options.inputs);
  Manifest manifest{.made_from = describe_inputs(options, files)};
  if (auto there = made_before(options, manifest)) return {std::move(*there), true};
  if (!left_out.empty()) say_left_out(left_out, say);
  if (!options.tokenizer.empty()) (void)Tokenizer(options.tokenizer);  // reject a bad one before anything is written
  const Unfinished unfinished(options.output);
  const fs::path model = unfinished.folder() / manifest.tokenizer;
  if (options.tokenizer.empty()) {
    say(fmt::format("training a tokenizer of {} tokens", options.vocab_size));
    train_tokenizer(sample_lines(files, options.text_key), options.vocab_size, model);
  } else {
    write_whole(model, read_text(options.tokenizer));
  }
  const Tokenizer tokenizer(model);
  manifest.vocab_size = tokenizer.vocab_size();
  manifest.eos_id = tokenizer.eos_id();
  manifest.tokenizer_sha256 = tokenizer.hash();
  if (tokenizer.eos_id() < 0)
    say(fmt::format("'{}' has no end-of-text token: documents run into each other; use a tokenizer that has one, or {}", options.tokenizer.string(),
                    kOwnTokenizer));
  say(fmt::format("encoding {} file{}", files.size(), files.size() == 1 ? "" : "s"));
  write_shards(options, files, unfinished.folder(), tokenizer, manifest, say);
  unfinished.put_in_place(manifest);
  return {manifest, false};
}

}  // namespace tersor
