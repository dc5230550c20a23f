// What a configuration becomes before the first step, and what is checked then.
#pragma once

#include "core/timeline/timeline.h"
#include "core/train/run_config.h"

namespace tersor {

[[nodiscard]] Structure first_structure(const RunConfig& config);
[[nodiscard]] LiveSettings first_settings(const RunConfig& config);

// What sources are told of a run; `split` is "train" or "validation".
[[nodiscard]] SourceInfo source_info(const RunConfig& config, const std::string& split);

// Opens the training data. UserError where some of it is missing or does not suit the model.
[[nodiscard]] Mixture training_data(const RunConfig& config);

// The model without numbers: shapes and types alone.
[[nodiscard]] Llama shapes_of(const RunConfig& config);
[[nodiscard]] Llama shapes_of(const RunConfig& config, const Structure& structure);

// Finds, without allocating the model, what no single option can tell: parameters that no group matches or that their rule
// refuses, actions with nothing to act on, and a peak that does not fit into memory. UserError.
void validate(const RunConfig& config, const Communicator& comm = alone());
// Warns where the SentencePiece models that made the data's tokens are not one, or know far fewer tokens than the model. Warns, too, of
// files that are not there; empty names tell nothing.
void check_tokenizers(const RunConfig& config, const std::vector<std::filesystem::path>& tokenizers);
// Warns where the weights that a run begins with know the tokens of another one.
void check_tokenizer_of_start(const RunConfig& config, const std::filesystem::path& tokenizer);

// What run.init_from is a model of: a checkpoint's structure, config.json, or the model of a model.yaml; nothing where none of them is there.
[[nodiscard]] std::optional<ModelConfig> model_of_start(const std::filesystem::path& start);
// UserError where weights of the same shapes would be cut into other heads than those of the start.
void check_heads_of_start(const ModelConfig& model, const std::filesystem::path& start);
// Warns where the weights that a run begins with were trained as another function of them: other rotary frequencies, another ε.
void warn_of_another_function(const RunConfig& config);

// The model of a configuration on a device, with fresh weights or those of run.init_from; of another structure than the
// configuration's, with weights that are to be loaded. With a keeper (core/train/scattered_weights.h) it is never whole.
[[nodiscard]] std::shared_ptr<Llama> build_model(const RunConfig& config, const at::Device& device = at::kCPU, WeightKeeper* keeper = nullptr);
[[nodiscard]] std::shared_ptr<Llama> build_model(const RunConfig& config, const Structure& structure, const at::Device& device = at::kCPU,
                                                 WeightKeeper* keeper = nullptr);

}  // namespace tersor
