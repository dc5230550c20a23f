// From text to shards: reading documents, training a tokenizer, encoding.
#include <sentencepiece_trainer.h>
#include <zlib.h>
#include <zstd.h>

#include "core/base/files.h"
#include "core/base/rng.h"
#include "core/data/documents.h"
#include "core/data/encoder.h"
#include "core/data/token_file.h"
#include "core/data/tokenize.h"
#include "core/data/tokenizer.h"
#include "tests/support/catch.h"
#include "tests/support/open_shards.h"
#include "tests/support/temporary_folder.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using testing::open_shards;
using testing::TemporaryFolder;

std::string some_text(int lines, int seed) {
  static const std::vector<std::string> words{"the", "union", "state", "of", "congress", "people", "law", "war", "peace", "year"};
  std::string text;
  const RandomStream random = random_stream(static_cast<uint64_t>(seed), "text");
  for (int i = 0; i < lines * 8; ++i) text += words[random.below(static_cast<uint64_t>(i), words.size())] + (i % 8 == 7 ? ".\n" : " ");
  return text;
}

TEST_CASE("documents: packed files read as plain ones", "[data]") {
  const TemporaryFolder folder;
  const std::string text = "one\ntwo  \n<|endoftext|>\n\n<|endoftext|>\nthree";
  const std::string jsonl = "{\"text\": \"one\\ntwo  \\n\"}\n\n{\"text\": \"three\\n\", \"more\": 1}\n";
  write_whole(folder / "a.txt", text);
  write_whole(folder / "b.jsonl", jsonl);
  gzFile gz = gzopen((folder / "c.txt.gz").c_str(), "wb");
  gzwrite(gz, text.data(), static_cast<unsigned>(text.size()));
  gzclose(gz);
  std::string packed(ZSTD_compressBound(jsonl.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), jsonl.data(), jsonl.size(), 3));
  write_whole(folder / "d.jsonl.zst", packed);
  const std::vector<std::string> expected{"one\ntwo  \n", "three\n"};
  for (const std::string& name : std::vector<std::string>{"a.txt", "b.jsonl", "c.txt.gz", "d.jsonl.zst"}) {
    INFO(name);
    std::vector<std::string> documents;
    for_each_document({folder / name}, [&](std::string_view d) { documents.emplace_back(d); });
    CHECK(documents == expected);
  }
  fs::copy(folder / "d.jsonl.zst", folder / "e.json.zst");
  std::vector<std::string> documents;
  for_each_document({folder / "e.json.zst"}, [&](std::string_view d) { documents.emplace_back(d); });
  CHECK(documents == expected);
  write_whole(folder / "a.txt", "one\r\n<|endoftext|>\r\nthree");  // with Windows line endings
  documents.clear();
  for_each_document({folder / "a.txt"}, [&](std::string_view d) { documents.emplace_back(d); });
  CHECK(documents == std::vector<std::string>{"one\r\n", "three\n"});
  fs::remove(folder / "e.json.zst");
  write_whole(folder / "d.jsonl.zst", packed.substr(0, packed.size() / 2));
  CHECK_THROWS_AS(for_each_document({folder / "d.jsonl.zst"}, [](std::string_view) {}), UserError);
  write_whole(folder / "b.jsonl", "{\"text\": 1}\n");
  CHECK_THROWS_WITH(for_each_document({folder / "b.jsonl"}, [](std::string_view) {}), Catch::Contains("b.jsonl:1: not a JSON object"));
  CHECK_THROWS_WITH(list_text_files({folder / "e.pdf"}), Catch::Contains("does not exist"));
  CHECK(list_text_files({folder.path()}).files.size() == 4);
  CHECK(list_text_files({folder.path(), folder / "a.txt", folder.path() / "." / "c.txt.gz"}).files.size() == 4);
}

TEST_CASE("tokenize: text comes back, documents are held out, and nothing is done twice", "[data]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "text");
  for (int i = 0; i < 25; ++i) write_whole(folder / "text" / fmt::format("{:02}.txt", i), some_text(20, i));
  const auto silent = [](const std::string&) {};
  const TokenizeOptions options{.inputs = {folder / "text"}, .output = folder / "tokens", .vocab_size = 320, .hold_out = 10, .shard_tokens = 500};
  const TokenizeResult result = tokenize(options, silent);
  CHECK(result.manifest.train.documents == 23);
  CHECK(result.manifest.validation.documents == 2);
  CHECK(result.manifest.train.shards.size() > 1);
  CHECK(result.manifest.vocab_size == 320);

  const Tokenizer tokenizer(folder / "tokens" / "tokenizer.model");
  for (const std::string& text : {std::string("the  union\n\n of\tpeople "), std::string(" π ≈ 3.14159 😀\r\n"), some_text(3, 99), std::string("x")})
    CHECK(tokenizer.decode(tokenizer.encode(text)) == text);

  const auto source = open_shards(folder / "tokens", 16, 320);
  std::vector<int64_t> tokens(17);
  source->read(0, tokens);
  const std::vector<int32_t> first(tokens.begin(), tokens.end());
  CHECK(some_text(20, 0).starts_with(tokenizer.decode(first)));
  CHECK(source->tokenizer() == folder / "tokens" / "tokenizer.model");
  CHECK_THROWS_WITH(open_shards(folder / "tokens", 16, 100), Catch::Contains("set model.vocab_size: 320"));

  CHECK(tokenize(options, silent).was_complete);
  write_whole(folder / "text" / "25.txt", "the people");
  CHECK_THROWS_WITH(tokenize(options, silent), Catch::Contains("holds tokens of another text"));
  TokenizeOptions forced = options;
  forced.force = true;
  write_whole(folder / "text" / "26.jsonl", "not json\n");
  const std::string before = read_text(folder / "tokens" / "manifest.json");
  CHECK_THROWS_WITH(tokenize(forced, silent), Catch::Contains("26.jsonl:1"));
  CHECK(read_text(folder / "tokens" / "manifest.json") == before);  // the old tokens stay
  fs::remove(folder / "text" / "26.jsonl");
  CHECK_FALSE(tokenize(forced, silent).was_complete);
  CHECK_FALSE(fs::exists(folder / "tokens" / ".unfinished"));
  write_whole(folder / "tokens" / "manifest.json", "{");
  CHECK_THROWS_WITH(tokenize(options, silent), Catch::Contains("with --force"));
  forced.shard_tokens = 100'000;  // fewer shards, and none of the old ones remains
  const TokenizeResult fewer = tokenize(forced, silent);
  CHECK(fewer.manifest.train.shards.size() == 1);
  CHECK_FALSE(fs::exists(folder / "tokens" / "train_000001.bin"));
  forced.shard_tokens = options.shard_tokens;
  (void)tokenize(forced, silent);
  const fs::path shard = folder / "tokens" / result.manifest.train.shards[1].file;
  fs::remove(shard);
  CHECK_FALSE(tokenize(options, silent).was_complete);
  fs::resize_file(shard, fs::file_size(shard) - 2);
  CHECK_THROWS_WITH(open_shards(folder / "tokens", 16, 320), Catch::Contains("is damaged"));
  CHECK_FALSE(tokenize(options, silent).was_complete);
  CHECK(tokenize(options, silent).was_complete);
  fs::create_directories(folder / "tokens" / ".unfinished");  // killed while putting the shards in place
  CHECK_NOTHROW(open_shards(folder / "tokens", 16, 320));
  fs::remove(folder / "tokens" / "manifest.json");
  CHECK_THROWS_WITH(open_shards(folder / "tokens", 16, 320), Catch::Contains("did not finish there"));
  CHECK_FALSE(tokenize(options, silent).was_complete);
  CHECK_FALSE(fs::exists(folder / "tokens" / ".unfinished"));
}

std::vector<int64_t> all_tokens(const fs::path& folder, const std::vector<ShardEntry>& shards) {
  std::vector<int64_t> tokens;
  for (const ShardEntry& shard : shards) {
    const TokenFile file(folder / shard.file);
    tokens.resize(tokens.size() + static_cast<size_t>(file.size()));
    file.read(0, std::span(tokens).last(static_cast<size_t>(file.size())));
  }
  return tokens;
}

TEST_CASE("tokenize: a document larger than a shard goes on in the next ones", "[data]") {
  const TemporaryFolder folder;
  write_whole(folder / "a.txt", "the law\n<|endoftext|>\n" + some_text(40, 1) + "<|endoftext|>\nof peace");
  TokenizeOptions options{.inputs = {folder / "a.txt"}, .output = folder / "one", .vocab_size = 300, .hold_out = 0};
  const auto silent = [](const std::string&) {};
  const SplitEntry one = tokenize(options, silent).manifest.train;
  options.output = folder / "many";
  options.shard_tokens = one.tokens / 3;
  const SplitEntry many = tokenize(options, silent).manifest.train;
  REQUIRE(one.shards.size() == 1);
  REQUIRE(many.shards.size() == static_cast<size_t>(one.tokens % 3 == 0 ? 3 : 4));
  for (size_t i = 0; i < 3; ++i) CHECK(many.shards[i].tokens == options.shard_tokens);
  CHECK(many.documents == 3);
  CHECK(many.tokens == one.tokens);
  CHECK(all_tokens(folder / "many", many.shards) == all_tokens(folder / "one", one.shards));
}

TEST_CASE("tokenize: another key makes other tokens, and the usual one is nothing new", "[data]") {
  const TemporaryFolder folder;
  std::string lines;
  for (int i = 0; i < 20; ++i) lines += nlohmann::json{{"text", some_text(5, i)}, {"content", some_text(4, i)}}.dump() + "\n";
  write_whole(folder / "a.jsonl", lines);
  TokenizeOptions options{.inputs = {folder / "a.jsonl"}, .output = folder / "t", .vocab_size = 300};
  const auto silent = [](const std::string&) {};
  const TokenizeResult text = tokenize(options, silent);
  CHECK_FALSE(text.manifest.made_from.contains("text_key"));
  options.text_key = "content";
  CHECK_THROWS_WITH(tokenize(options, silent), Catch::Contains("holds tokens of another text"));
  options.force = true;
  CHECK(tokenize(options, silent).manifest.train.text_bytes < text.manifest.train.text_bytes);
  options.force = false;
  CHECK(tokenize(options, silent).was_complete);
}

TEST_CASE("tokenize: no --hold-out is advised for a single document", "[data]") {
  const TemporaryFolder folder;
  write_whole(folder / "a.txt", some_text(20, 1));
  TokenizeOptions options{.inputs = {folder / "a.txt"}, .output = folder / "t", .vocab_size = 300};
  std::string said;
  const auto say = [&](const std::string& text) { said += text + "\n"; };
  CHECK(tokenize(options, say).manifest.train.documents == 1);
  CHECK_THAT(said, Catch::Contains("a single document, and validation needs one of its own: split it by lines <|endoftext|>"));
  CHECK_THAT(said, Catch::Contains("--hold-out 0"));
  CHECK_THAT(said, !Catch::Contains("smaller --hold-out"));
  options.hold_out = 1;
  options.force = true;
  CHECK_THROWS_WITH(tokenize(options, say), Catch::Contains("a single document"));
  options.hold_out = 0;
  said.clear();
  (void)tokenize(options, say);
  CHECK_THAT(said, !Catch::Contains("single"));
  write_whole(folder / "a.txt", some_text(20, 1) + "<|endoftext|>\n" + some_text(20, 2));
  options.hold_out = 3;
  (void)tokenize(options, say);
  CHECK_THAT(said, Catch::Contains("none of 2 documents became validation: use a smaller --hold-out"));
}

TEST_CASE("tokenize: files of other kinds are named, three of them", "[data]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "text/more");
  write_whole(folder / "text/a.txt", some_text(20, 1));
  write_whole(folder / "text/more/b.md", "of");
  TokenizeOptions options{.inputs = {folder / "text"}, .output = folder / "t", .vocab_size = 300, .hold_out = 0};
  std::string said;
  const auto say = [&](const std::string& text) { said += text + "\n"; };
  (void)tokenize(options, say);
  CHECK_THAT(said, Catch::Contains("1 file of another kind is left out: more/b.md; .txt and .jsonl are read"));
  for (const std::string& name : std::vector<std::string>{"c.json", "LICENSE", "e.pdf"}) write_whole(folder / ("text/" + name), "of");
  said.clear();
  options.force = true;
  options.hold_out = 1000;
  (void)tokenize(options, say);
  CHECK_THAT(said, Catch::Contains("4 files of other kinds are left out: LICENSE, c.json, e.pdf, …;"));
}

TEST_CASE("tokenize: text of another encoding is told", "[data]") {
  const TemporaryFolder folder;
  write_whole(folder / "a.txt", some_text(20, 1));
  write_whole(folder / "b.txt", some_text(20, 2) + "caf\xe9");
  std::string said;
  (void)tokenize({.inputs = {folder / "a.txt", folder / "b.txt"}, .output = folder / "t", .vocab_size = 320, .hold_out = 0}, [&](const std::string& text) { said += text; });
  CHECK_THAT(said, Catch::Contains("1 document is not UTF-8"));
}

// Trains as others do: newlines and repeated blanks are normalized away, and characters that `text` does not hold are unknown.
void train_foreign(const std::string& text, const fs::path& folder, std::unordered_map<std::string, std::string> options) {
  write_whole(folder / "words.txt", text);
  options.insert({{"input", (folder / "words.txt").string()}, {"model_type", "bpe"}, {"vocab_size", "50"}, {"num_threads", "1"}, {"minloglevel", "2"}});
  REQUIRE(sentencepiece::SentencePieceTrainer::Train(options).ToString() == "OK");
}

TEST_CASE("tokenize: what a foreign tokenizer loses is told, in shares and with a remedy", "[data]") {
  const TemporaryFolder folder;
  const std::string words = "the people of the union\nwar and peace of the year\nthe law of congress\n";
  train_foreign(words, folder.path(), {{"model_prefix", folder / "foreign"}, {"eos_id", "-1"}});
  train_foreign(words, folder.path(), {{"model_prefix", folder / "faithful"}, {"user_defined_symbols", "\n"},
                                        {"normalization_rule_name", "identity"}, {"remove_extra_whitespaces", "false"}});
  const auto said = [&](const std::string& text, const std::string& model) {
    write_whole(folder / "a.txt", text);
    std::string all;
    const fs::path tokenizer = model.empty() ? fs::path() : folder / model;
    (void)tokenize({.inputs = {folder / "a.txt"}, .output = folder / "t", .tokenizer = tokenizer, .vocab_size = 300, .hold_out = 0, .force = true},
                   [&](const std::string& line) { all += line + "\n"; });
    return all;
  };
  const std::string two = "the law π\nof the\n<|endoftext|>\npeople Ж Ж\n";
  const Tokenizer foreign(folder / "foreign.model");
  const size_t tokens = foreign.encode("the law π\nof the\n").size() + foreign.encode("people Ж Ж\n").size();
  CHECK_THAT(said(two, "foreign.model"), Catch::Contains(fmt::format("3 of {} tokens are unknown to '{}'", tokens, (folder / "foreign.model").string())) &&
                                             Catch::Contains("by leaving --tokenizer out") && Catch::Contains("of 2 documents checked, 2 did not come back") &&
                                             Catch::Contains("has no end-of-text token"));
  const std::string known = "the law  of\n\nthe people\n";
  CHECK_THAT(said(known, "foreign.model"), Catch::Contains("of 1 document checked, 1 did not come back") && !Catch::Contains("unknown"));
  CHECK(said(known, "faithful.model") == "encoding 1 file\n");
  CHECK(said(known + "π\n", "faithful.model").find("1 of ") != std::string::npos);
  CHECK(said(some_text(20, 1) + two, "") == "training a tokenizer of 300 tokens\nencoding 1 file\n");
}

TEST_CASE("encoder: of much text a hundredth is looked at again, and of a long document the beginning", "[data]") {
  const TemporaryFolder folder;
  train_foreign("the people of the union\nwar and peace\n", folder.path(), {{"model_prefix", folder / "foreign"}, {"vocab_size", "30"}});
  const Tokenizer tokenizer(folder / "foreign.model");
  const auto counts = [&](const std::string& text, int times) {
    Encoder encoder(tokenizer, true, [](std::span<const int32_t>, size_t) {});
    for (int i = 0; i < times; ++i) encoder.add(text);
    encoder.flush();
    return encoder.counts();
  };
  std::string words;
  while (words.size() < 10'000) words += "the people ";
  const EncoderCounts many = counts(words + "\n", 200);
  CHECK(many.looked_at > 100);  // one mebibyte
  CHECK(many.looked_at < 115);  // plus a hundredth of two
  CHECK(many.changed == many.looked_at);
  while (words.size() < 1'200'000) words += "the people ";
  const EncoderCounts one = counts(words + "\n", 1);
  CHECK(one.looked_at == 1);
  CHECK(one.changed == 0);  // the newline is past the beginning that is looked at
}

TEST_CASE("tokenize: a vocabulary too large for the text is refused with a remedy", "[data]") {
  const TemporaryFolder folder;
  write_whole(folder / "a.txt", some_text(5, 1));
  CHECK_THROWS_WITH(tokenize({.inputs = {folder / "a.txt"}, .output = folder / "t", .vocab_size = 30000}, [](const std::string&) {}),
                    Catch::Contains("ask for fewer with --vocab-size"));
  CHECK_THROWS_WITH(tokenize({.inputs = {folder / "a.txt"}, .output = folder / "t", .vocab_size = 64}, [](const std::string&) {}),
                    Catch::Contains("ask for more with --vocab-size"));
  write_whole(folder / "a.txt", "  \n");
  CHECK_THROWS_WITH(tokenize({.inputs = {folder / "a.txt"}, .output = folder / "t"}, [](const std::string&) {}),
                    Catch::Contains("no text"));
}

}  // namespace
}  // namespace tersor
