#include "core/interop/hugging_face.h"

#include <set>

#include "core/base/error.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

void check_whole(const Json& json, const char* key, int64_t) {
  if (!json[key].is_number_integer()) throw user_error("config.json: {} is {}, which is not a whole number", key, json[key].dump());
}
template <class T>
void check_whole(const Json&, const char*, const T&) {}

template <class T>
void take(const Json& json, const char* key, T& value) {
  if (json.contains(key) && !json[key].is_null()) check_whole(json, key, T{});
  if (json.contains(key) && !json[key].is_null()) value = json[key].get<T>();
}

template <class T>
void take(const Json& json, const char* key, std::optional<T>& value) {
  if (json.contains(key) && !json[key].is_null()) value = json[key].get<T>();
}

// The weights of a folder, in one file or several.
std::vector<SafetensorsFile> open_weights(const fs::path& folder) {
  std::vector<SafetensorsFile> files;
  const fs::path index = folder / "model.safetensors.index.json";
  if (fs::exists(folder / "model.safetensors")) {
    files.emplace_back(folder / "model.safetensors");
  } else if (fs::exists(index)) {
    const Json json = Json::parse(read_text(index), nullptr, false);
    if (!json.is_object() || !json.contains("weight_map")) throw user_error("'{}' has no weight_map", index.string());
    std::set<std::string> names;
    for (const auto& [tensor, file] : json["weight_map"].items()) {
      if (!file.is_string()) throw user_error("'{}': the file of '{}' is {}, which is no name", index.string(), tensor, file.dump());
      names.insert(file.get<std::string>());
    }
    for (const std::string& name : names) files.emplace_back(folder / name);
  } else {
    throw user_error("'{}' holds neither model.safetensors nor model.safetensors.index.json; of a run, name a checkpoint; other formats "
                     "become safetensors with Transformers' save_pretrained",
                     folder.string());
  }
  return files;
}

bool is_ignored(const std::string& name) { return name.ends_with("rotary_emb.inv_freq"); }

}  // namespace

ModelConfig read_hugging_face_config(const fs::path& folder) {
  const fs::path file = folder / "config.json";
  const Json json = Json::parse(read_text(file), nullptr, false);
  if (!json.is_object()) throw user_error("'{}' is not JSON", file.string());
  if (!json.contains("model_type") || json["model_type"] != "llama")
    throw user_error("'{}' is of type {}; only \"llama\" can be imported", file.string(), json.value("model_type", Json("unknown")).dump());
  if (json.contains("hidden_act") && json["hidden_act"] != "silu")
    throw user_error("'{}': hidden_act {} is not supported; only silu is", file.string(), json["hidden_act"].dump());
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"})
    if (!json.contains(key)) throw user_error("'{}' does not say {}", file.string(), key);
  ModelConfig config;
  try {
    Json rope = json.value("rope_parameters", Json::object());  // Transformers 5 keeps θ there
    if (json.contains("rope_scaling") && !json["rope_scaling"].is_null()) rope.update(json["rope_scaling"]);
    const std::string kind = rope.value("rope_type", rope.value("type", "default"));
    if (kind != "default") throw user_error("'{}': rope scaling '{}' is not supported", file.string(), kind);
    take(json, "rope_theta", config.rope_theta);
    take(rope, "rope_theta", config.rope_theta);
    take(json, "vocab_size", config.vocab_size);
    take(json, "hidden_size", config.hidden_size);
    take(json, "intermediate_size", config.intermediate_size);
    take(json, "num_hidden_layers", config.num_hidden_layers);
    take(json, "num_attention_heads", config.num_attention_heads);
    take(json, "num_key_value_heads", config.num_key_value_heads);
    take(json, "head_dim", config.head_dim);
    take(json, "max_position_embeddings", config.max_position_embeddings);
    take(json, "rms_norm_eps", config.rms_norm_eps);
    take(json, "tie_word_embeddings", config.tie_word_embeddings);
    take(json, "attention_bias", config.attention_bias);
    take(json, "mlp_bias", config.mlp_bias);
    take(json, "initializer_range", config.initializer_range);
  } catch (const nlohmann::json::exception& e) {
    throw user_error("'{}' cannot be understood: {}", file.string(), e.what());
  }
  return config;
}

Json hugging_face_config(const ModelConfig& c, std::string_view dtype) {
  return {{"architectures", Json::array({"LlamaForCausalLM"})},
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
          {"bos_token_id", 1},
          {"eos_token_id", 2},
          {"torch_dtype", dtype}};
}

void load_weights(const fs::path& folder, const std::vector<Param>& params) {
  const std::vector<SafetensorsFile> files = open_weights(folder);
  std::set<std::string> unused;
  for (const SafetensorsFile& file : files)
    for (const auto& [name, entry] : file.entries())
      if (!is_ignored(name)) unused.insert(name);
  std::string problems;
  const auto holder = [&](const std::string& name) {
    return std::find_if(files.begin(), files.end(), [&](const auto& f) { return f.entries().contains(name); });
  };
  const auto load = [&](const std::string& name, const at::Tensor& target) {
    unused.erase(name);
    const auto file = holder(name);
    try {
      if (file == files.end())
        problems += fmt::format("\n  '{}' is missing", name);
      else if (target.is_floating_point() && !c10::isFloatingType(file->entries().at(name).dtype))
        problems += fmt::format("\n  '{}' holds whole numbers; only floating-point weights can be loaded (dequantize the model first)", name);
      else
        file->copy_into(name, target);
    } catch (const UserError& e) {
      problems += fmt::format("\n  {}", e.what());
    }
  };
  for (const Param& param : params) {
    if (param.packed && holder(param.name) != files.end()) {  // a dense weight, for instance imported
      const at::Tensor dense = at::empty(param.value.sizes(), at::kFloat);
      load(param.name, dense);
      param.packed->pack(dense, std::nullopt);
    } else {
      for (const PackedPart& part : param.resting()) load(part.name, part.value);
    }
  }
  const bool tied = std::none_of(params.begin(), params.end(), [](const Param& p) { return p.name == "lm_head.weight"; });
  if (tied) unused.erase("lm_head.weight");  // some writers keep the tied copy
  for (const std::string& name : unused) problems += fmt::format("\n  '{}' is not a tensor of this model", name);
  if (!problems.empty()) throw user_error("the weights of '{}' do not fit the model:{}", folder.string(), problems);
}

NamedTensors dense_weights(const Llama& model) {
  std::map<std::string, at::Tensor> materialized;
  std::set<std::string> parts;
  for (const auto& linear : model.linears()) {
    materialized[linear->name() + ".weight"] = linear->weight().materialize();
    for (const Param& param : linear->weight().params()) parts.insert(param.name);
  }
  NamedTensors all;
  for (const Param& param : model.params())
    if (!parts.contains(param.name)) all.emplace_back(param.name, param.value.detach());
  for (const auto& [name, weight] : materialized) all.emplace_back(name, weight);
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return all;
}

}  // namespace tersor
