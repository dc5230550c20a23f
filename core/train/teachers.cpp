#include "core/train/teachers.h"

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/train/loaded_run.h"

namespace tersor {

Teachers::Teachers(const RunConfig& config, const std::filesystem::path& tokenizer, const at::Device& device)
    : weight_(config.distill->weight), temperature_(config.distill->temperature) {
  if (config.distill->from.empty()) throw user_error("distill.from: needs a run to learn from");
  const std::string own = tokenizer.empty() ? "" : sha256_of_file(tokenizer);
  for (const std::filesystem::path& place : config.distill->from) {
    const LoadedRun run = load_run(place, device);
    const ModelConfig& teacher = run.config.model;
    if (teacher.vocab_size != config.model.vocab_size)
      throw user_error("distill.from: '{}' knows {} tokens and this run {}; they must have the same tokenizer", place.string(),
                       teacher.vocab_size, config.model.vocab_size);
    if (teacher.max_position_embeddings < config.data.sequence_length)
      throw user_error("distill.from: '{}' knows {} positions, but data.sequence_length is {}", place.string(), teacher.max_position_embeddings,
                       config.data.sequence_length);
    const std::string sum = own.empty() ? "" : run.tokenizer_sum();
    if (!sum.empty() && sum != own)
      throw user_error("distill.from: '{}' was trained with a tokenizer other than '{}'", place.string(), tokenizer.string());
    models_.push_back(run.model);
  }
}

kernels::SoftTargets Teachers::of(const at::Tensor& tokens) const {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> hidden;
  for (const auto& model : models_) hidden.push_back(model->hidden(tokens).flatten(0, 1));
  const auto probabilities = [models = models_, hidden, t = temperature_](int64_t begin, int64_t end) {
    at::Tensor sum;
    for (size_t i = 0; i < models.size(); ++i) {
      const at::Tensor logits = models[i]->head_logits(hidden[i].slice(0, begin, end)).to(at::kFloat);
      const at::Tensor p = at::softmax(t == 1 ? logits : logits / t, 1);
      sum = sum.defined() ? sum.add_(p) : p;
    }
    return models.size() == 1 ? sum : sum.div_(static_cast<double>(models.size()));
  };
  return {.weight = weight_, .temperature = temperature_, .probabilities = probabilities};
}

}  // namespace tersor
