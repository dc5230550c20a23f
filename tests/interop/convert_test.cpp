// import and export, as a user calls them.
#include "core/interop/hugging_face.h"
#include "tests/support/catch.h"
#include "tests/support/shell.h"
#include "tests/support/tiny_run.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryFolder;

testing::Ended tersor(const TemporaryFolder& folder, const std::string& words) { return testing::shell(folder, fmt::format("{} {}", TERSOR_PROGRAM, words)); }

// A Hugging Face folder of a model with tokens of its own around a text.
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

}  // namespace
}  // namespace tersor
