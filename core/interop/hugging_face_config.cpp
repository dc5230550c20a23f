// Reading and writing config.json.
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/interop/hugging_face.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

// Reads the keys of a JSON object and checks their types. A key that is null counts as absent.
class KeyReader {
 public:
  KeyReader(const Json& json, std::string file, std::string inside = {}) : json_(json), file_(std::move(file)), inside_(std::move(inside)) {}

  [[nodiscard]] bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  void take(const char* key, int64_t& value) const {
    if (has(key)) value = checked(key, json_[key].is_number_integer(), "not a whole number").get<int64_t>();
  }
  void take(const char* key, double& value) const {
    if (has(key)) value = checked(key, json_[key].is_number(), "not a number").get<double>();
  }
  void take(const char* key, bool& value) const {
    if (has(key)) value = checked(key, json_[key].is_boolean(), "neither true nor false").get<bool>();
  }
  void take(const char* key, std::string& value) const {
    if (has(key)) value = checked(key, json_[key].is_string(), "not a string").get<std::string>();
  }
  template <class T>
  void take(const char* key, std::optional<T>& value) const {
    if (has(key)) take(key, value.emplace());
  }
  template <class T>
  void need(const char* key, T& value) const {
    if (!has(key)) throw user_error("'{}' does not say {}{}", file_, inside_, key);
    take(key, value);
  }

 private:
  [[nodiscard]] const Json& checked(const char* key, bool fits, const char* wrong) const {
    if (!fits) throw user_error("'{}': {}{} is {}, which is {}", file_, inside_, key, json_[key].dump(), wrong);
    return json_[key];
  }

  const Json& json_;
  std::string file_;
  std::string inside_;
};

// Merges `rope_scaling` and Transformers 5's `rope_parameters`, which also holds θ.
Json rope_of(const Json& json, const std::string& file) {
  Json rope = Json::object();
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Json one = json.value(key, Json());
    if (one.is_null()) continue;
    if (!one.is_object()) throw user_error("'{}': {} is {}, which is not a map", file, key, one.dump());
    for (const auto& [inner, value] : one.items())
      if (value.is_object()) throw user_error("'{}': {}.{} is a map: rotary frequencies that differ by layer are not supported", file, key, inner);
    rope.update(one);
  }
  return rope;
}

void read_rope(const Json& json, const std::string& file, ModelConfig& config) {
  const Json rope = rope_of(json, file);
  const KeyReader read(rope, file, "rope_scaling.");
  KeyReader(json, file).take("rope_theta", config.rope_theta);
  read.take("rope_theta", config.rope_theta);
  double share = 1;
  read.take("partial_rotary_factor", share);
  if (share != 1) throw user_error("'{}': rope_scaling.partial_rotary_factor {} is not supported; only 1 is", file, share);
  const char* kind = read.has("rope_type") ? "rope_type" : "type";
  std::string type = "default";
  if (read.has("factor")) read.need(kind, type);  // a factor without a type is ambiguous
  read.take(kind, type);
  if (type == "default") return;
  RopeScaling& scaling = config.rope_scaling.emplace();
  if (type != enum_name(RopeType::kLinear) && type != enum_name(RopeType::kLlama3))
    throw user_error("'{}': rope scaling '{}' is not supported; linear and llama3 are", file, type);
  read.need("factor", scaling.factor);
  scaling.type = type == enum_name(RopeType::kLinear) ? RopeType::kLinear : RopeType::kLlama3;
  if (scaling.type == RopeType::kLinear) return;
  read.need("low_freq_factor", scaling.low_freq_factor);
  read.need("high_freq_factor", scaling.high_freq_factor);
  read.need("original_max_position_embeddings", scaling.original_max_position_embeddings);
}

// Transformers 4 and 5 both read this.
Json rope_json(const RopeScaling& c) {
  Json json = {{"rope_type", enum_name(c.type)}, {"factor", c.factor}};
  if (c.type == RopeType::kLinear) return json;
  json["low_freq_factor"] = c.low_freq_factor;
  json["high_freq_factor"] = c.high_freq_factor;
  json["original_max_position_embeddings"] = c.original_max_position_embeddings;
  return json;
}

Json read_object(const std::string& file) {
  Json json = Json::parse(read_text(file), nullptr, false);
  if (!json.is_object()) throw user_error("'{}' is not JSON", file);
  return json;
}

void check_kind(const Json& json, const std::string& file) {
  if (!json.contains("model_type") || json["model_type"] != "llama")
    throw user_error("'{}' is of type {}; only \"llama\" can be imported", file, json.value("model_type", Json("unknown")).dump());
  if (json.contains("hidden_act") && json["hidden_act"] != "silu" && json["hidden_act"] != "swish")  // another name for silu
    throw user_error("'{}': hidden_act {} is not supported; only silu is", file, json["hidden_act"].dump());
  if (json.contains("quantization_config") && !json["quantization_config"].is_null())
    throw user_error("'{}' is of a quantized model (quantization_config); dequantize the model first", file);
}

Json read_config(const std::string& file) {
  Json json = read_object(file);
  check_kind(json, file);
  return json;
}

}  // namespace

bool is_llama(const fs::path& folder) {
  const Json json = Json::parse(read_text(folder / "config.json"), nullptr, false);
  return json.is_object() && json.value("model_type", Json()) == "llama";
}

bool is_shard_of_weights(std::string_view file) {
  return file.starts_with("model-") && file.find("-of-") != std::string_view::npos && file.ends_with(".safetensors");
}

ModelConfig read_hugging_face_config(const fs::path& folder) {
  const std::string file = (folder / "config.json").string();
  const Json json = read_config(file);
  const KeyReader read(json, file);
  ModelConfig config;
  read.need("vocab_size", config.vocab_size);
  read.need("hidden_size", config.hidden_size);
  read.need("intermediate_size", config.intermediate_size);
  read.need("num_hidden_layers", config.num_hidden_layers);
  read.need("num_attention_heads", config.num_attention_heads);
  read.take("num_key_value_heads", config.num_key_value_heads);
  read.take("head_dim", config.head_dim);
  read.take("max_position_embeddings", config.max_position_embeddings);
  read.take("rms_norm_eps", config.rms_norm_eps);
  read.take("tie_word_embeddings", config.tie_word_embeddings);
  read.take("attention_bias", config.attention_bias);
  read.take("mlp_bias", config.mlp_bias);
  read.take("initializer_range", config.initializer_range);
  read_rope(json, file, config);
  Diagnostics diagnostics;  // applies the limits that hold for YAML
  ModelConfig checked;
  read_fields(checked, parse_config(to_yaml(fields_to_json(config)), file, diagnostics), diagnostics);
  diagnostics.throw_if_any();
  return config;
}

void warn_of_what_is_left_out(const fs::path& folder) {
  const std::string file = (folder / "config.json").string();
  double dropout = 0;
  const Json json = read_config(file);
  KeyReader(json, file).take("attention_dropout", dropout);
  if (dropout != 0) log().warn("'{}': attention_dropout {} is ignored: tersor has no dropout", file, dropout);
}

TextTokens text_tokens_of(const Tokenizer& tokenizer) {
  const auto id = [](int32_t token) { return token < 0 ? Json(nullptr) : Json(token); };
  return {.bos = id(tokenizer.bos_id()), .eos = id(tokenizer.eos_id()), .pad = nullptr};
}

TextTokens read_text_tokens(const Json& json, const std::string& file) {
  const auto take = [&](const char* key, const Json& absent) {
    Json value = json.value(key, absent);
    const bool list = value.is_array() && std::ranges::all_of(value, [](const Json& id) { return id.is_number_integer(); });
    if (!value.is_null() && !value.is_number_integer() && !list)
      throw user_error("'{}': {} is {}, which is neither a token, a list of tokens nor null", file, key, value.dump());
    return value;
  };
  return {.bos = take("bos_token_id", 1), .eos = take("eos_token_id", 2), .pad = take("pad_token_id", nullptr)};
}

TextTokens read_text_tokens(const fs::path& folder) {
  const std::string file = (folder / "config.json").string();
  return read_text_tokens(read_object(file), file);
}

Json text_tokens_json(const TextTokens& tokens) {
  Json json = {{"bos_token_id", tokens.bos}, {"eos_token_id", tokens.eos}};
  if (!tokens.pad.is_null()) json["pad_token_id"] = tokens.pad;
  return json;
}

Json hugging_face_config(const ModelConfig& c, at::ScalarType type, const TextTokens& tokens) {
  Json json = {{"architectures", Json::array({"LlamaForCausalLM"})},
               {"model_type", "llama"},
               {"vocab_size", c.vocab_size},
               {"hidden_size", c.hidden_size},
               {"intermediate_size", c.intermediate_size},
               {"num_hidden_layers", c.num_hidden_layers},
               {"num_attention_heads", c.num_attention_heads},
               {"num_key_value_heads", c.kv_heads()},
               {"head_dim", c.head_width()},
               {"hidden_act", "silu"},
               {"max_position_embeddings", c.max_position_embeddings},
               {"rope_theta", c.rope_theta},
               {"rms_norm_eps", c.rms_norm_eps},
               {"tie_word_embeddings", c.tie_word_embeddings},
               {"attention_bias", c.attention_bias},
               {"mlp_bias", c.mlp_bias},
               {"initializer_range", c.initializer_range},
               {"torch_dtype", type == at::kBFloat16 ? "bfloat16" : "float32"}};
  json.update(text_tokens_json(tokens));
  if (c.rope_scaling) json["rope_scaling"] = rope_json(*c.rope_scaling);
  return json;
}

Json hugging_face_tokenizer_config(const Tokenizer& tokenizer, int64_t longest) {
  Json json = {{"tokenizer_class", "LlamaTokenizer"},
               {"add_bos_token", false},
               {"add_eos_token", false},
               {"add_prefix_space", tokenizer.adds_prefix()},
               {"legacy", false},
               {"clean_up_tokenization_spaces", false},
               {"model_max_length", longest}};
  // For absent keys Transformers would make up tokens of its own, beyond the vocabulary.
  const auto say = [&](const char* key, int32_t id) { json[key] = id < 0 ? Json(nullptr) : Json(tokenizer.piece(id)); };
  say("bos_token", tokenizer.bos_id());
  say("eos_token", tokenizer.eos_id());
  say("unk_token", tokenizer.unk_id());
  return json;
}

}  // namespace tersor
