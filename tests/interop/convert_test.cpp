// import and export, as a user calls them.
#include "core/interop/hugging_face.h"
#include "core/train/loaded_run.h"
#include "tests/support/catch.h"
#include "tests/support/shell.h"
#include "tests/support/tiny_run.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryFolder;

testing::Ended tersor(const TemporaryFolder& folder, const std::string& words) { return testing::shell(folder, fmt::format("{} {}", TERSOR_PROGRAM, words)); }

// Writes a Hugging Face folder of a model with its own tokens around a text. Returns its config.json.
Json write_folder(const fs::path& folder) {
  const auto model = build_model(testing::tiny_config("unused"));
  fs::create_directories(folder);
  write_safetensors(folder / "model.safetensors", dense_weights(*model), {{"format", "pt"}});
  const Json json = hugging_face_config(model->config(), at::kFloat, {.bos = nullptr, .eos = Json::array({7, 9}), .pad = 3});
  write_whole(folder / "config.json", json.dump());
  return json;
}

TEST_CASE("import: what comes out is a Hugging Face folder again, and nothing else is left in it", "[interop]") {
  const TemporaryFolder folder;
  const Json before = write_folder(folder / "hf");
  fs::create_directories(folder / "in");
  for (const char* file : {"tokenizer_config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "tokenizer.model", "notes.txt"})
    write_whole(folder / "in" / file, "old");
  const std::string words = fmt::format("import {} {}", (folder / "hf").string(), (folder / "in").string());
  REQUIRE(tersor(folder, words + " --force").code == kExitDone);
  CHECK(Json::parse(read_text(folder / "in" / "config.json")) == before);
  std::set<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder / "in")) files.insert(entry.path().filename().string());
  CHECK(files == std::set<std::string>{"config.json", "model.safetensors", "model.yaml", "notes.txt"});
  const testing::Ended again = tersor(folder, words);
  CHECK(again.code == kExitRejected);
  CHECK_THAT(again.output, Catch::Contains("--force replaces it"));
}

TEST_CASE("import: a run from it keeps the tokenizer and the tokens around a text, over its own checkpoints and into an export", "[interop][train]") {
  const TemporaryFolder folder;
  write_folder(folder / "in");
  train_tokenizer({"one and two and three", "three and two and one", "once more"}, 280, folder / "in" / Tokenizer::kFile);
  const std::string model = read_text(folder / "in" / Tokenizer::kFile);
  const std::vector<std::string> words{"run.init_from=" + (folder / "in").string(), "checkpoint.keep=1", "checkpoint.every=every 1", "run.resume=auto"};
  const auto train = [&](const std::string& steps) {
    std::vector<std::string> all = words;
    all.push_back("train.steps=" + steps);
    return testing::train(testing::tiny_config(folder.path(), all));
  };
  REQUIRE(train("2") == kExitDone);
  fs::remove_all(folder / "in");
  REQUIRE(train("5") == kExitDone);  // resumes from a checkpoint that is gone at the end
  const fs::path last = newest_of(folder / "tiny");
  CHECK(read_text(last / Tokenizer::kFile) == model);
  CHECK(Json::parse(read_text(last / "trainer.json"))["text_tokens"]["eos_token_id"] == Json::array({7, 9}));
  REQUIRE(tersor(folder, fmt::format("export {} {}", (folder / "tiny").string(), (folder / "out").string())).code == kExitDone);
  CHECK(read_text(folder / "out" / Tokenizer::kFile) == model);
  CHECK(fs::exists(folder / "out" / "tokenizer_config.json"));
  const Json config = Json::parse(read_text(folder / "out" / "config.json"));
  CHECK(config["bos_token_id"].is_null());
  CHECK(config["eos_token_id"] == Json::array({7, 9}));
  CHECK(config["pad_token_id"] == 3);
}

TEST_CASE("eval, generate and export: a Hugging Face folder will do", "[interop]") {
  const TemporaryFolder folder;
  write_folder(folder / "hf");
  train_tokenizer({"one and two and three", "three and two and one", "once more"}, 280, folder / "hf" / Tokenizer::kFile);
  const std::string place = (folder / "hf").string();
  const LoadedRun run = load_run(folder / "hf", at::kCPU);
  CHECK(run.step == 0);
  CHECK(run.config.data.sequence_length == 2048);
  const testing::Ended eval = tersor(folder, "eval " + place);
  CHECK(eval.code == kExitRejected);
  CHECK_THAT(eval.output, Catch::Contains("name token shards with --data"));
  REQUIRE(tersor(folder, fmt::format("export {} {}", place, (folder / "out").string())).code == kExitDone);
  CHECK(Json::parse(read_text(folder / "out" / "config.json")) == Json::parse(read_text(folder / "hf" / "config.json")));
  CHECK_THAT(tersor(folder, fmt::format("export {} {} --keep-factors", place, (folder / "factors").string())).output, Catch::Contains("dense already"));
  const LoadedRun again = load_run(folder / "out", at::kCPU);
  const at::Tensor tokens = at::tensor(std::vector<int64_t>{1, 2, 3}).unsqueeze(0);
  CHECK(at::equal(again.model->logits(tokens), run.model->logits(tokens)));
  fs::create_directories(folder / "empty");
  CHECK_THROWS_WITH(load_run(folder / "empty", at::kCPU), Catch::Contains("nor a Hugging Face folder"));
  fs::remove(folder / "hf" / Tokenizer::kFile);
  CHECK_THAT(tersor(folder, "generate " + place).output, Catch::Contains("put the SentencePiece model of its tokens there"));
}

TEST_CASE("import: data of another tokenizer bring its tokens along", "[interop][train]") {
  const TemporaryFolder folder;
  write_folder(folder / "in");
  const fs::path theirs = folder / "in" / Tokenizer::kFile, other = folder / "other.model";
  train_tokenizer({"one and two and three", "three and two and one", "once more"}, 280, theirs);
  train_tokenizer({"four or five, or six", "three and two and one", "once more"}, 280, other);
  CHECK(keep_tokenizer({}, folder / "in").ids.eos == Json::array({7, 9}));
  CHECK(keep_tokenizer(theirs, folder / "in").ids.eos == Json::array({7, 9}));
  CHECK(keep_tokenizer(other, folder / "in").ids.eos == 2);
  CHECK(keep_tokenizer(other, folder / "in").model == read_text(other));
  CHECK(keep_tokenizer(other, {}).ids.eos == 2);
  CHECK(keep_tokenizer({}, {}).model.empty());
}

TEST_CASE("checkpoints: of those that do not tell, the tokenizer tells the tokens around a text", "[interop][train]") {
  const TemporaryFolder folder;
  REQUIRE(testing::train(testing::tiny_config(folder.path())) == kExitDone);
  const fs::path last = newest_of(folder / "tiny");
  CHECK(text_tokens_beside(last).eos.is_null());
  Json trainer = Json::parse(read_text(last / "trainer.json"));
  trainer.erase("text_tokens");
  write_whole(last / "trainer.json", trainer.dump());
  CHECK(text_tokens_beside(last).eos.is_null());
  train_tokenizer({"one and two and three", "three and two and one", "once more"}, 280, last / Tokenizer::kFile);
  CHECK(text_tokens_beside(last).eos == 2);
}

TEST_CASE("checkpoints: Transformers is shown those alone of which it would read all weights", "[interop][train]") {
  const TemporaryFolder folder;
  REQUIRE(testing::train(testing::tiny_config(folder.path(), {"run.name=dense"})) == kExitDone);
  REQUIRE(testing::train(testing::tiny_config(folder.path(), {"parameterization={method: {type: low_rank, rank: 4}, targets: ['*.mlp.*']}"})) == kExitDone);
  CHECK(fs::exists(newest_of(folder / "dense") / "config.json"));
  const fs::path factored = newest_of(folder / "tiny");
  CHECK_FALSE(fs::exists(factored / "config.json"));
  const testing::Ended import = tersor(folder, fmt::format("import {} {}", factored.string(), (folder / "in").string()));
  CHECK(import.code == kExitRejected);
  CHECK_THAT(import.output, Catch::Contains("tersor export"));
}

}  // namespace
}  // namespace tersor
