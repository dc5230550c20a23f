// What is built from a configuration, and checked, before the first step.
#pragma once

#include "core/timeline/timeline.h"
#include "core/train/run_config.h"

namespace tersor {

[[nodiscard]] Structure first_structure(const RunConfig& config);
[[nodiscard]] LiveSettings first_settings(const RunConfig& config);

// What data sources need to know of a run; `split` is "train" or "validation".
[[nodiscard]] SourceInfo source_info(const RunConfig& config, const std::string& split);

// Opens the training data. Throws UserError if some of it is missing or does not suit the model.
[[nodiscard]] Mixture training_data(const RunConfig& config);

// The model on the meta device: shapes and types only.
[[nodiscard]] Llama shapes_of(const RunConfig& config);
[[nodiscard]] Llama shapes_of(const RunConfig& config, const Structure& structure);

// Checks, without allocating the model, what no single option shows. Throws UserError for parameters that no group matches or that
// their rule refuses, actions with nothing to act on, and a peak that does not fit into memory.
void validate(const RunConfig& config, const Communicator& comm = alone());
// Warns if the SentencePiece models that made the data's tokens differ or have far fewer tokens than the model, and if a file is
// missing; empty names are ignored.
void check_tokenizers(const RunConfig& config, const std::vector<std::filesystem::path>& tokenizers);
// Warns if the weights that a run starts from were trained with another tokenizer.
void check_tokenizer_of_start(const RunConfig& config, const std::filesystem::path& tokenizer);

// The model of run.init_from, read from a checkpoint's structure, a LLaMA's config.json, or model.yaml; nothing if there is none of these.
[[nodiscard]] std::optional<ModelConfig> model_of_start(const std::filesystem::path& start);
// Throws UserError if weights of the same shapes would be split into other heads than those of the start.
void check_heads_of_start(const ModelConfig& model, const std::filesystem::path& start);
// Warns if the weights that a run starts from would compute another function than in training: other rotary frequencies, another ε.
void warn_of_another_function(const RunConfig& config);

// Builds the model of a configuration on a device, with fresh weights or those of run.init_from. Given a structure other than the
// configuration's, the caller is to load the weights. With a keeper (core/train/scattered_weights.h) the model is never whole.
[[nodiscard]] std::shared_ptr<Llama> build_model(const RunConfig& config, const at::Device& device = at::kCPU, WeightKeeper* keeper = nullptr);
[[nodiscard]] std::shared_ptr<Llama> build_model(const RunConfig& config, const Structure& structure, const at::Device& device = at::kCPU,
                                                 WeightKeeper* keeper = nullptr);

}  // namespace tersor
