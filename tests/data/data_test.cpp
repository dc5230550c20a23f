#include <set>

#include "core/base/files.h"
#include "core/base/rng.h"
#include "core/data/batch.h"
#include "core/data/token_file.h"
#include "tests/support/catch.h"
#include "tests/support/open_shards.h"
#include "tests/support/temporary_folder.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using testing::open_shards;
using testing::TemporaryFolder;

void write_shard(const fs::path& file, int64_t first, int64_t count, int64_t vocab = 60000) {
  TokenFileWriter writer(file, vocab);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(first + i));
  writer.append(tokens);
  writer.close();
}

TEST_CASE("token_file: bytes are llm.c's", "[data]") {
  const TemporaryFolder folder;
  for (const auto& [vocab, magic, version, width] : {std::tuple{60000, 20240520, 1, 2}, {200000, 20240801, 7, 4}}) {
    write_shard(folder / "a.bin", 5, 3, vocab);
    const std::string bytes = read_text(folder / "a.bin");
    REQUIRE(bytes.size() == 1024 + 3 * static_cast<size_t>(width));
    std::array<int32_t, 256> header{};
    std::memcpy(header.data(), bytes.data(), 1024);
    CHECK(header[0] == magic);
    CHECK(header[1] == version);
    CHECK(header[2] == 3);
    CHECK(header[3] == 0);
    for (size_t i = 0; i < 3; ++i) {
      int32_t token = 0;
      std::memcpy(&token, bytes.data() + 1024 + i * static_cast<size_t>(width), static_cast<size_t>(width));
      CHECK(token == static_cast<int32_t>(5 + i));
    }
  }
}

TEST_CASE("token_file: what is no whole shard is refused by name", "[data]") {
  const TemporaryFolder folder;
  write_shard(folder / "good.bin", 0, 100);
  const std::string good = read_text(folder / "good.bin");
  const auto message = [&](const std::string& bytes) {
    write_whole(folder / "bad.bin", bytes);
    try {
      const TokenFile file(folder / "bad.bin");
    } catch (const UserError& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(message("") .find("bad.bin' is not a token shard: 0 bytes") != std::string::npos);
  CHECK(message(good.substr(0, 500)).find("less than a header") != std::string::npos);
  CHECK(message(good.substr(0, good.size() - 1)).find("is damaged: its header says 100 tokens") != std::string::npos);
  CHECK(message(good + "x").find("is damaged") != std::string::npos);
  CHECK(message(std::string(2000, 'x')).find("magic") != std::string::npos);
  CHECK(message(std::string(good).replace(8, 4, std::string(4, '\0')).substr(0, 1024)).find("holds no tokens") != std::string::npos);
}

TEST_CASE("shards: windows tile the row of all shards without a gap", "[data]") {
  const TemporaryFolder folder;
  write_shard(folder / "x_train_000.bin", 0, 10);
  write_shard(folder / "x_train_001.bin", 10, 3);
  write_shard(folder / "x_train_002.bin", 13, 17);
  write_shard(folder / "x_val_000.bin", 500, 9);
  for (const int64_t length : {1, 2, 3, 7, 29}) {
    const auto source = open_shards(folder.path(), length);
    REQUIRE(source->size() == 29 / length);
    std::vector<int64_t> tokens(static_cast<size_t>(length + 1));
    for (int64_t w = 0; w < source->size(); ++w) {
      source->read(w, tokens);
      for (int64_t i = 0; i <= length; ++i) CHECK(tokens[static_cast<size_t>(i)] == w * length + i);
    }
  }
  std::vector<int64_t> tokens(5);
  open_shards(folder.path(), 4, 60000, "validation")->read(1, tokens);
  CHECK(tokens == std::vector<int64_t>{504, 505, 506, 507, 508});
}

TEST_CASE("shards: too little data and a wrong vocabulary are refused", "[data]") {
  const TemporaryFolder folder;
  write_shard(folder / "x_train.bin", 90, 20);
  CHECK_THROWS_WITH(open_shards(folder.path(), 20), Catch::Contains("too few for one window of 21"));
  CHECK_THROWS_WITH(open_shards(folder / "nowhere", 2), Catch::Contains("does not exist"));
  CHECK_THROWS_WITH(open_shards(folder.path(), 2, 60000, "validation"), Catch::Contains("*val*.bin"));
  std::vector<int64_t> tokens(20);
  CHECK_THROWS_WITH(open_shards(folder.path(), 19, 100)->read(0, tokens), Catch::Contains("the model knows only 100"));
}

TEST_CASE("sample_order: every epoch is a permutation of its own, and seeking is walking", "[data]") {
  for (const int64_t size : {1, 2, 3, 5, 64, 100, 1009}) {
    const SampleOrder order(Order::kShuffled, 3, size);
    for (const int64_t epoch : {0, 1, 17}) {
      std::set<int64_t> seen;
      for (int64_t i = 0; i < size; ++i) seen.insert(order.window(epoch * size + i));
      CHECK(static_cast<int64_t>(seen.size()) == size);
      CHECK(*seen.begin() == 0);
      CHECK(*seen.rbegin() == size - 1);
    }
  }
  const SampleOrder a(Order::kShuffled, 3, 1000);
  const SampleOrder b(Order::kShuffled, 4, 1000);
  int same_epoch = 0, same_seed = 0, in_place = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    same_epoch += a.window(i) == a.window(1000 + i);
    same_seed += a.window(i) == b.window(i);
    in_place += a.window(i) == i;
  }
  CHECK(same_epoch < 10);  // random permutations have one on average
  CHECK(same_seed < 10);
  CHECK(in_place < 10);
  CHECK(SampleOrder(Order::kSequential, 3, 10).window(25) == 5);
}

TEST_CASE("sources: every one is deterministic and stays in the vocabulary", "[data][conformance]") {
  const TemporaryFolder folder;
  write_shard(folder / "x_train.bin", 0, 50);
  for (const std::string& name : token_sources().names()) {
    INFO(name);
    Diagnostics out;
    Choice<token_sources> choice(name);
    if (name == "shards") choice.read(parse_config("{type: shards, path: " + folder.path().string() + "}", "x", out), out);
    if (name == "documents") choice.read(parse_config("{type: documents, eos: 30, path: " + folder.path().string() + "}", "x", out), out);
    out.throw_if_any();
    const SourceInfo info{.sequence_length = 7, .vocab_size = 64, .split = "train", .seed = 5};
    const auto one = choice.build(info);
    const auto other = choice.build(info);
    REQUIRE(one->size() > 0);
    for (const int64_t window : {int64_t{0}, one->size() / 2, one->size() - 1}) {
      std::vector<int64_t> a(8), b(8);
      one->read(window, a);
      other->read(window, b);
      CHECK(a == b);
      const auto end = a.begin() + one->num_targets(window) + 1;
      CHECK(*std::min_element(a.begin(), end) >= 0);
      CHECK(std::count(end, a.end(), kPadding) == a.end() - end);
      CHECK(*std::max_element(a.begin(), a.end()) < 64);
    }
  }
}

TEST_CASE("batch: targets are inputs moved on by one", "[data]") {
  const TemporaryFolder folder;
  write_shard(folder / "x_train.bin", 0, 100);
  const auto source = open_shards(folder.path(), 8);
  const Batch batch = read_windows(*source, {2, 3, 4}, 8);
  CHECK(at::equal(batch.inputs, at::arange(16, 40).view({3, 8})));
  CHECK(at::equal(batch.targets, at::arange(17, 41).view({3, 8})));
}

std::unique_ptr<TokenSource> open_documents(const fs::path& path, int64_t length, const std::string& more = "") {
  Diagnostics out;
  Choice<token_sources> choice("documents");
  choice.read(parse_config("{type: documents, path: " + path.string() + more + "}", "test", out), out);
  out.throw_if_any();
  return choice.build(SourceInfo{.sequence_length = length, .vocab_size = 100, .split = "train", .seed = 1});
}

TEST_CASE("document rows: one document a window, cut off or filled up, over the borders of shards", "[data]") {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& name, const std::vector<int32_t>& tokens) {
    TokenFileWriter writer(folder / name, 100);
    writer.append(tokens);
    writer.close();
  };
  write("a_train_0.bin", {9, 1, 2, 9, 9, 3, 4, 5});     // a lone 9 is no document
  write("a_train_1.bin", {6, 7, 9, 8, 9, 10, 11, 12});  // the last document has no end
  const auto source = open_documents(folder.path(), 3, ", eos: 9");
  REQUIRE(source->size() == 4);
  const std::vector<std::vector<int64_t>> expected{{1, 2, 9, kPadding}, {3, 4, 5, 6}, {8, 9, kPadding, kPadding}, {10, 11, 12, kPadding}};
  const std::vector<int64_t> targets{2, 3, 1, 2};
  for (int64_t window = 0; window < 4; ++window) {
    std::vector<int64_t> tokens(4);
    source->read(window, tokens);
    CHECK(tokens == expected[static_cast<size_t>(window)]);
    CHECK(source->num_targets(window) == targets[static_cast<size_t>(window)]);
  }
  const Batch batch = read_windows(*source, {2, 1}, 3);
  CHECK(at::equal(batch.inputs, at::tensor({8, 9, 0, 3, 4, 5}, at::kLong).view({2, 3})));
  CHECK(at::equal(batch.targets, at::tensor({9, -100, -100, 4, 5, 6}, at::kLong).view({2, 3})));
  CHECK_THROWS_WITH(open_documents(folder.path(), 3), Catch::Contains("set eos"));
}

}  // namespace
}  // namespace tersor
