// The model that the initial weights of a run were trained in.
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/interop/hugging_face.h"
#include "core/train/checkpoint.h"
#include "core/train/prepare.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

ModelConfig read_model(const ConfigNode& all, Diagnostics& diagnostics) {
  ModelConfig model;
  if (const ConfigNode* node = all.find("model")) read_fields(model, *node, diagnostics);
  diagnostics.throw_if_any();
  return model;
}

}  // namespace

std::optional<ModelConfig> model_of_start(const fs::path& start) {
  Diagnostics diagnostics;
  if (is_checkpoint(start))  // the model alone: plugins of its parameterizations may be missing
    return read_model(parse_config(to_yaml(read_trainer(start).at("structure")), (start / "trainer.json").string(), diagnostics), diagnostics);
  if (fs::exists(start / "config.json")) return is_llama(start) ? std::optional(read_hugging_face_config(start)) : std::nullopt;
  const fs::path file = start / "model.yaml";
  if (!fs::exists(file)) return std::nullopt;
  return read_model(parse_config(read_text(file), file.string(), diagnostics), diagnostics);
}

void check_heads_of_start(const ModelConfig& model, const fs::path& start) {
  const std::optional<ModelConfig> theirs = model_of_start(start);
  if (!theirs || theirs->hidden_size != model.hidden_size) return;  // loading the weights reports other shapes
  const auto check = [&](const char* option, int64_t was, int64_t is) {
    if (was == is) return;
    throw user_error("run.init_from: '{}' has {} {} but the run has {}: its weights would be split into other heads; leave model.{} as it was, or extend '{}'",
                     start.string(), option, was, is, option, (start / "model.yaml").string());
  };
  check("num_attention_heads", theirs->num_attention_heads, model.num_attention_heads);
  check("num_key_value_heads", theirs->kv_heads(), model.kv_heads());
  check("head_dim", theirs->head_width(), model.head_width());
}

void warn_of_another_function(const RunConfig& config) {
  if (config.run.init_from.empty()) return;
  const fs::path start = newest_of(config.run.init_from);
  std::optional<ModelConfig> theirs = model_of_start(start);
  if (!theirs && fs::exists(start / "config.json"))
    log().warn("run.init_from: '{}' is of another kind of model: whether its weights compute the same function here has not been verified", start.string());
  if (!theirs) return;
  ModelConfig model = config.model;
  const Json before = fields_to_json(*theirs), now = fields_to_json(model);
  std::string differ;
  for (const char* option : {"rope_theta", "rope_scaling", "rms_norm_eps"})
    if (before[option] != now[option]) differ += fmt::format("{}model.{} {} → {}", differ.empty() ? "" : ", ", option, before[option].dump(), now[option].dump());
  if (!differ.empty()) log().warn("run.init_from: the weights of '{}' will compute another function: {}", start.string(), differ);
  if (!is_checkpoint(start) && fs::exists(start / "config.json")) warn_of_what_is_left_out(start);
}

}  // namespace tersor
