#include "core/interop/hugging_face.h"

#include <cstring>

#include "tests/support/catch.h"
#include "tests/support/tiny_run.h"
#include "tests/support/warnings.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryFolder;

RunConfig tiny() { return testing::tiny_config("unused"); }

void write_model(const fs::path& folder, const Llama& model) {
  fs::create_directories(folder);
  write_safetensors(folder / "model.safetensors", dense_weights(model), {{"format", "pt"}});
  write_whole(folder / "config.json", hugging_face_config(model.config(), at::kFloat, TextTokens{}).dump());
}

TEST_CASE("hugging_face: a model goes out and comes back bit for bit", "[interop]") {
  const TemporaryFolder folder;
  const RunConfig config = tiny();
  const auto model = build_model(config);
  write_model(folder.path(), *model);
  const ModelConfig read = read_hugging_face_config(folder.path());
  CHECK(read.num_key_value_heads == config.model.num_key_value_heads);
  Llama again(read, config.parameterization.front(), at::TensorOptions(at::kFloat), 9);
  load_weights(folder.path(), again);
  const auto before = model->params();
  const auto after = again.params();
  REQUIRE(before.size() == after.size());
  for (size_t i = 0; i < before.size(); ++i) CHECK(at::equal(before[i].value, after[i].value));
}

TEST_CASE("hugging_face: a config names the tokens of its tokenizer, and none that it does not know", "[interop]") {
  const TemporaryFolder folder;
  train_tokenizer({"one and two and three", "three and two and one", "once more"}, 280, folder / Tokenizer::kFile);
  const Json known = hugging_face_config(tiny().model, at::kFloat, text_tokens_of(Tokenizer(folder / Tokenizer::kFile)));
  CHECK(known["bos_token_id"] == 1);
  CHECK(known["eos_token_id"] == 2);
  const Json unknown = hugging_face_config(tiny().model, at::kFloat, TextTokens{});
  CHECK(unknown.at("bos_token_id").is_null());  // if absent, Transformers would take them to be 1 and 2
  CHECK(unknown.at("eos_token_id").is_null());
}

TEST_CASE("hugging_face: the tokens around a text are kept, whether one, several or none", "[interop]") {
  const auto kept = [](const Json& json) { return text_tokens_json(read_text_tokens(json, "config.json")); };
  const Json several = {{"bos_token_id", nullptr}, {"eos_token_id", {7, 9}}, {"pad_token_id", 0}};
  CHECK(kept(several) == several);
  CHECK(kept(Json::object()) == Json{{"bos_token_id", 1}, {"eos_token_id", 2}});  // LlamaConfig's defaults
  CHECK_THROWS_WITH(kept({{"eos_token_id", "</s>"}}), Catch::Contains("eos_token_id is \"</s>\""));
}

TEST_CASE("hugging_face: a tokenizer's configuration says what its SentencePiece model does", "[interop]") {
  const TemporaryFolder folder;
  train_tokenizer({"one and two and three", "three and two and one", "once more"}, 280, folder / Tokenizer::kFile);
  const Json json = hugging_face_tokenizer_config(Tokenizer(folder / Tokenizer::kFile), 512);
  CHECK(json["bos_token"] == "<s>");
  CHECK(json["eos_token"] == "</s>");
  CHECK(json["unk_token"] == "<unk>");
  CHECK(json["add_prefix_space"] == false);  // as train_tokenizer sets it
  CHECK(json["model_max_length"] == 512);
}

TEST_CASE("hugging_face: what would silently be another model is refused", "[interop]") {
  const TemporaryFolder folder;
  const auto model = build_model(tiny());
  write_model(folder.path(), *model);
  const Json whole = Json::parse(read_text(folder / "config.json"));
  const auto with = [&](const std::function<void(Json&)>& change) {
    Json json = whole;
    change(json);
    write_whole(folder / "config.json", json.dump());
    try {
      (void)read_hugging_face_config(folder.path());
    } catch (const UserError& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(with([](Json&) {}).empty());
  CHECK(with([](Json& j) { j.erase("num_attention_heads"); }).find("does not say num_attention_heads") != std::string::npos);
  CHECK(with([](Json& j) { j["hidden_size"] = 32.5; }).find("not a whole number") != std::string::npos);
  CHECK(with([](Json& j) { j["head_dim"] = "8"; }).find("head_dim is \"8\", which is not a whole number") != std::string::npos);
  CHECK(with([](Json& j) { j["rms_norm_eps"] = Json::array(); }).find("rms_norm_eps is [], which is not a number") != std::string::npos);
  CHECK(with([](Json& j) { j["tie_word_embeddings"] = 1; }).find("neither true nor false") != std::string::npos);
  CHECK(with([](Json& j) { j["hidden_act"] = "swish"; }).empty());
  CHECK(with([](Json& j) { j["quantization_config"] = {{"bits", 4}}; }).find("dequantize the model first") != std::string::npos);
  CHECK(with([](Json& j) { j["quantization_config"] = nullptr; }).empty());
  CHECK(with([](Json& j) { j["model_type"] = 7; }).find("only \"llama\"") != std::string::npos);
  CHECK(with([](Json& j) { j["hidden_act"] = nullptr; }).find("hidden_act null") != std::string::npos);
  CHECK(with([](Json& j) { j["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 2.0}}; }).find("rope scaling 'yarn'") != std::string::npos);
  CHECK(with([](Json& j) { j["rope_scaling"] = {{"factor", 2.0}}; }).find("does not say rope_scaling.type") != std::string::npos);
  CHECK(with([](Json& j) { j["rope_scaling"] = {{"type", "llama3"}, {"factor", 2.0}}; }).find("does not say rope_scaling.low_freq_factor") != std::string::npos);
  CHECK(with([](Json& j) { j["rope_parameters"] = {{"full_attention", {{"rope_type", "default"}}}}; }).find("differ by layer") != std::string::npos);
  CHECK(with([](Json& j) { j["rope_parameters"] = {{"partial_rotary_factor", 0.5}}; }).find("partial_rotary_factor 0.5") != std::string::npos);
}

TEST_CASE("hugging_face: rotary frequencies are scaled as either place of a config says, and written as they are read", "[interop]") {
  const TemporaryFolder folder;
  const Json plain = hugging_face_config(tiny().model, at::kFloat, TextTokens{});
  const auto read = [&](const char* key, const Json& rope) {
    Json json = plain;
    json[key] = rope;
    write_whole(folder / "config.json", json.dump());
    return read_hugging_face_config(folder.path());
  };
  const RopeScaling llama3{.type = RopeType::kLlama3, .factor = 8, .low_freq_factor = 2, .high_freq_factor = 5, .original_max_position_embeddings = 64};
  const RopeScaling linear{.type = RopeType::kLinear, .factor = 4};
  for (const RopeScaling& scaling : {llama3, linear}) {
    ModelConfig config = tiny().model;
    config.rope_scaling = scaling;
    const Json written = hugging_face_config(config, at::kFloat, TextTokens{});
    CHECK(read("rope_scaling", written["rope_scaling"]).rope_scaling == scaling);
  }
  CHECK(read("rope_scaling", {{"type", "linear"}, {"factor", 4}}).rope_scaling == linear);  // as older files have it
  const ModelConfig five = read("rope_parameters", {{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 5e5}});
  CHECK(five.rope_scaling == linear);
  CHECK(five.rope_theta == 5e5);
  for (const char* key : {"rope_scaling", "rope_parameters"}) CHECK_FALSE(read(key, nullptr).rope_scaling);
  CHECK_FALSE(read("rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e4}}).rope_scaling);
}

TEST_CASE("hugging_face: whole numbers are not weights", "[interop]") {
  const TemporaryFolder folder;
  const auto model = build_model(tiny());
  NamedTensors weights = dense_weights(*model);
  weights[0].second = weights[0].second.to(at::kChar);
  write_safetensors(folder / "model.safetensors", weights);
  CHECK_THROWS_WITH(load_weights(folder.path(), *model), Catch::Contains("holds whole numbers"));
}

TEST_CASE("hugging_face: dropout is told to be left out", "[interop]") {
  const TemporaryFolder folder;
  testing::Warnings warnings;
  for (const double dropout : {0.0, 0.1}) {
    Json json = hugging_face_config(tiny().model, at::kFloat, TextTokens{});
    json["attention_dropout"] = dropout;
    write_whole(folder / "config.json", json.dump());
    warn_of_what_is_left_out(folder.path());
    CHECK((warnings.take().find("attention_dropout 0.1 is ignored") != std::string::npos) == (dropout > 0));
  }
}

TEST_CASE("hugging_face: of weights of other sizes the sizes are told, and a few tensors", "[interop]") {
  const TemporaryFolder folder;
  write_model(folder.path(), *build_model(testing::tiny_config("unused", {"model.hidden_size=64"})));
  const auto model = build_model(tiny());
  CHECK_THROWS_WITH(load_weights(folder.path(), *model), Catch::Contains("model.hidden_size is 32, in the file 64") && Catch::Contains("and 13 more"));
}

TEST_CASE("hugging_face: a head beside a tied embedding is a copy of it, or refused", "[interop]") {
  const TemporaryFolder folder;
  const auto model = build_model(testing::tiny_config("unused", {"model.tie_word_embeddings=true"}));
  NamedTensors weights = dense_weights(*model);
  const auto table = std::find_if(weights.begin(), weights.end(), [](const auto& one) { return one.first == "model.embed_tokens.weight"; });
  weights.emplace_back("lm_head.weight", table->second.clone());
  const auto load = [&] {
    write_safetensors(folder / "model.safetensors", weights);
    load_weights(folder.path(), *model);
  };
  CHECK_NOTHROW(load());
  weights.back().second = weights.back().second.to(at::kDouble);  // the same numbers in another type
  CHECK_NOTHROW(load());
  weights.back().second[3][5] += 1;
  CHECK_THROWS_WITH(load(), Catch::Contains("differs from the embedding") && Catch::Contains("model.tie_word_embeddings=false"));
}

TEST_CASE("hugging_face: numbers that fp32 does not hold are told, and where they are infinite refused", "[interop]") {
  const TemporaryFolder folder;
  testing::Warnings told;
  const auto model = build_model(tiny());
  NamedTensors weights = dense_weights(*model);
  weights.front().second = weights.front().second.to(at::kDouble);
  write_safetensors(folder / "model.safetensors", weights);
  load_weights(folder.path(), *model);
  CHECK_THAT(told.take(), Catch::Contains("fp64 is rounded in 1 of its tensors"));
  CHECK_NOTHROW(check_finite(dense_weights(*model), folder.path()));
  weights.front().second.view({-1})[0] = 1e200;
  write_safetensors(folder / "model.safetensors", weights);
  load_weights(folder.path(), *model);
  CHECK_THROWS_WITH(check_finite(dense_weights(*model), folder.path()), Catch::Contains("'" + weights.front().first + "'"));
}

TEST_CASE("hugging_face: what of a folder was not fetched is told", "[interop]") {
  const TemporaryFolder folder;
  const auto model = build_model(tiny());
  const auto load = [&] { load_weights(folder.path(), *model); };
  write_safetensors(folder / "model-00001-of-00002.safetensors", dense_weights(*model));
  CHECK_THROWS_WITH(load(), Catch::Contains("model.safetensors.index.json' is missing"));
  Json map = Json::object();
  for (const auto& [name, value] : dense_weights(*model)) map[name] = "model-00001-of-00002.safetensors";
  write_whole(folder / "model.safetensors.index.json", Json{{"weight_map", map}}.dump());
  CHECK_NOTHROW(load());
  map["more"] = "model-00002-of-00002.safetensors";
  write_whole(folder / "model.safetensors.index.json", Json{{"weight_map", map}}.dump());
  CHECK_THROWS_WITH(load(), Catch::Contains("index.json' names files that do not exist: model-00002-of-00002.safetensors"));
  write_whole(folder / "model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n");
  CHECK_THROWS_WITH(load(), Catch::Contains("git lfs pull"));
}

TEST_CASE("safetensors: offsets outside the file are refused, however large", "[interop]") {
  const TemporaryFolder folder;
  for (const char* offsets : {"[0, 400]", "[18446744073709551608, 18446744073709551612]", "[8, 4]"}) {
    std::string header = fmt::format(R"({{"x":{{"dtype":"F32","shape":[1],"data_offsets":{}}}}})", offsets);
    header.append((8 - header.size() % 8) % 8, ' ');
    const uint64_t length = header.size();
    std::string bytes(sizeof(length), '\0');
    std::memcpy(bytes.data(), &length, sizeof(length));
    write_whole(folder / "x.safetensors", bytes + header + std::string(16, 'x'));
    CHECK_THROWS_AS(SafetensorsFile(folder / "x.safetensors"), UserError);
  }
}

TEST_CASE("checkpoints: looking at a run leaves a save that is under way alone", "[train]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "checkpoints" / "step-00000004.unfinished");
  CheckpointStore store(folder / "checkpoints", 2);
  CHECK_FALSE(store.latest().has_value());
  CHECK(fs::exists(folder / "checkpoints" / "step-00000004.unfinished"));
  store.remove_unfinished();
  CHECK_FALSE(fs::exists(folder / "checkpoints" / "step-00000004.unfinished"));
}

}  // namespace
}  // namespace tersor
