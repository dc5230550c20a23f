// From a configuration to a model: several parameterizations in one model, and the weights of an earlier run.
#include "core/data/tokenizer.h"
#include "core/interop/hugging_face.h"
#include "core/train/checkpoint.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_run.h"
#include "tests/support/warnings.h"

namespace tersor {
namespace {

using testing::TemporaryFolder;

const char* const kMixed =
    "parameterization=[{targets: ['*.mlp.*'], method: {type: sltrain, rank: 4}}, {targets: ['*.down_proj'], method: {type: lora, rank: 4}}]";

// The tensors that a weight is stored as.
std::set<std::string> stored_as(const RunConfig& config, const std::string& weight) {
  std::set<std::string> names;
  const Llama shapes = shapes_of(config);
  for (const auto& linear : shapes.linears())
    if (linear->name() == weight)
      for (const PackedPart& part : tensors_of(linear->weight())) names.insert(part.name.substr(weight.size() + 1));
  return names;
}

TEST_CASE("prepare: of several parameterizations the last whose targets match a weight holds", "[train][param]") {
  const TemporaryFolder folder;
  const RunConfig config = testing::tiny_config(folder.path(), {kMixed});
  CHECK(stored_as(config, "model.layers.0.mlp.up_proj").contains("values"));
  CHECK(stored_as(config, "model.layers.0.mlp.down_proj").contains("base"));
  CHECK(stored_as(config, "model.layers.0.self_attn.q_proj") == std::set<std::string>{"weight"});
  const RunConfig one = testing::tiny_config(folder.path(), {"parameterization={method: {type: low_rank, rank: 4}}"});
  CHECK(stored_as(one, "model.layers.1.mlp.up_proj") == std::set<std::string>{"A", "B"});
}

TEST_CASE("prepare: a list of parameterizations is written and read back as it is", "[train][config]") {
  const TemporaryFolder folder;
  RunConfig config = testing::tiny_config(folder.path(), {kMixed});
  const Json written = fields_to_json(config)["parameterization"];
  REQUIRE(written.is_array());
  RunConfig again = testing::tiny_config(folder.path(), {"parameterization=" + written.dump()});
  CHECK(fields_to_json(again) == fields_to_json(config));
  RunConfig plain = testing::tiny_config(folder.path());
  CHECK(fields_to_json(plain)["parameterization"].is_object());
}

TEST_CASE("prepare: targets that match no weight are refused", "[train][config]") {
  const TemporaryFolder folder;
  const RunConfig config = testing::tiny_config(folder.path(), {"parameterization={targets: ['*.mpl.*'], method: {type: lora, rank: 4}}"});
  CHECK_THROWS_WITH(validate(config), Catch::Contains("'*.mpl.*' matches no weight") && Catch::Contains("model.layers.0."));
}

TEST_CASE("prepare: a run begins with the weights that another ended with", "[train]") {
  const TemporaryFolder folder;
  CHECK(testing::train(testing::tiny_config(folder.path(), {kMixed})) == 0);
  const auto path = (folder / "tiny").string();
  const RunConfig next = testing::tiny_config(folder.path(), {kMixed, "run.name=next", "run.init_from=" + path});
  const auto model = build_model(next);
  const SafetensorsFile saved(newest_of(folder / "tiny") / "model.safetensors");
  for (const PackedPart& part : model->tensors()) {
    INFO(part.name);
    const at::Tensor before = at::empty_like(part.value);
    saved.copy_into(part.name, before);
    CHECK(at::equal(part.value, before));
  }
  CHECK_THROWS_WITH(build_model(testing::tiny_config(folder.path(), {"run.init_from=" + path})), Catch::Contains("tersor export"));
  CHECK_THROWS_WITH(build_model(testing::tiny_config(folder.path(), {"run.init_from=" + (folder / "nowhere").string()})),
                    Catch::Contains("nowhere"));
  const std::filesystem::path weights = newest_of(folder / "tiny") / "model.safetensors";
  std::string bytes = read_text(weights);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_whole(weights, bytes);
  CHECK_THROWS_WITH(build_model(next), Catch::Contains("model.safetensors' is damaged"));
}

TEST_CASE("prepare: weights that begin a run stay the heads that they were, and another function of them is told", "[train]") {
  const TemporaryFolder folder;
  testing::Warnings warnings;
  const auto model = build_model(testing::tiny_config(folder.path()));
  for (const char* name : {"hf", "factors"}) std::filesystem::create_directories(folder / name);
  write_safetensors(folder / "hf" / "model.safetensors", dense_weights(*model));
  write_whole(folder / "hf" / "config.json", hugging_face_config(model->config(), at::kFloat, TextTokens{}).dump());
  write_safetensors(folder / "factors" / "model.safetensors", dense_weights(*model));
  ModelConfig same = model->config();
  write_whole(folder / "factors" / "model.yaml", to_yaml({{"model", fields_to_json(same)}}));
  REQUIRE(testing::train(testing::tiny_config(folder.path())) == kExitDone);
  for (const char* start : {"hf", "factors", "tiny"}) {
    INFO(start);
    const auto with = [&](std::vector<std::string> words) {
      words.push_back("run.init_from=" + (folder / start).string());
      return testing::tiny_config(folder.path(), words);
    };
    CHECK_NOTHROW(build_model(with({})));
    CHECK_THROWS_WITH(build_model(with({"model.num_attention_heads=8", "model.num_key_value_heads=4"})),
                      Catch::Contains("num_attention_heads 4 but the run has 8") && Catch::Contains("split into other heads"));
    CHECK_THROWS_WITH(build_model(with({"model.num_key_value_heads=4"})), Catch::Contains("num_key_value_heads 2 but the run has 4"));
    (void)warnings.take();
    warn_of_another_function(with({}));
    CHECK(warnings.take().empty());
    CHECK_NOTHROW(build_model(with({"model.rope_theta=500000"})));
    warn_of_another_function(with({"model.rope_theta=500000", "model.rope_scaling={type: linear, factor: 2}"}));
    CHECK_THAT(warnings.take(), Catch::Contains("model.rope_theta 10000 → 500000") && Catch::Contains("model.rope_scaling null → {"));
  }
}

TEST_CASE("prepare: what a run of its length makes nothing of is told", "[train][config]") {
  const TemporaryFolder folder;
  testing::Warnings warnings;
  const auto told = [&](std::vector<std::string> words) {
    validate(testing::tiny_config(folder.path(), std::move(words)));
    return warnings.take();
  };
  CHECK(told({"schedule={type: wsd, warmup: 2, decay: 4}", "timeline=[{do: reset_moments, when: at 6}]"}).empty());
  CHECK_THAT(told({"timeline=[{do: reset_moments, when: at 7}]"}), Catch::Contains("reset_moments is never due in 6 steps"));
  CHECK_THAT(told({"schedule={type: cosine, warmup: 7}"}), Catch::Contains("schedule.warmup takes 7 steps, but the run has 6"));
  CHECK_THAT(told({"schedule={type: wsd, warmup: 3, decay: 4}"}), Catch::Contains("the decay begins late"));
}

TEST_CASE("prepare: tokenizers that do not go with each other or with the model are told", "[train][data]") {
  const TemporaryFolder folder;
  testing::Warnings warnings;
  const auto tokenizer = [&](const std::string& name, const std::string& text) {
    std::filesystem::create_directories(folder / name);
    train_tokenizer({text, "three and two and one", "once more"}, 280, folder / name / Tokenizer::kFile);
    return folder / name / Tokenizer::kFile;
  };
  const std::filesystem::path first = tokenizer("first", "one and two and three");
  const std::filesystem::path copy = tokenizer("copy", "one and two and three");
  const std::filesystem::path second = tokenizer("second", "four or five, or six");
  const auto told = [&](const std::string& vocabulary, const std::vector<std::filesystem::path>& files) {
    check_tokenizers(testing::tiny_config(folder.path(), {"model.vocab_size=" + vocabulary}), files);
    return warnings.take();
  };
  CHECK(told("300", {first, copy, {}}).empty());
  CHECK_THAT(told("300", {first, folder / "gone.model"}), Catch::Contains("gone.model', the tokenizer of the tokens, does not exist"));
  CHECK(told("30000", {}).empty());
  CHECK_THAT(told("300", {first, second}), Catch::Contains("are different tokenizers"));
  CHECK_THAT(told("30000", {first}), Catch::Contains("set model.vocab_size=" + std::to_string(Tokenizer(first).vocab_size())));

  const auto of_start = [&](const std::string& start) {
    check_tokenizer_of_start(testing::tiny_config(folder.path(), {"run.init_from=" + (folder / start).string()}), first);
    return warnings.take();
  };
  CHECK(of_start("copy").empty());
  CHECK(of_start("nowhere").empty());
  CHECK_THAT(of_start("second"), Catch::Contains("is not the tokenizer of the data"));
}

}  // namespace
}  // namespace tersor
