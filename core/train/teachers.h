// Distillation: a run learns what finished runs predict, besides what comes next.    Hinton et al. 2015, arXiv:1503.02531
//
//   q = mean over teachers of softmax(their logits / T)        loss: kernels/linear_cross_entropy.h
//
// Several teachers form an ensemble. Their weights stay as trained, on the run's device; their logits, like the run's own, are in
// memory for `train.loss_chunk` tokens at a time.
#pragma once

#include "core/model/llama.h"
#include "core/train/run_config.h"

namespace tersor {

class Teachers {
 public:
  // Loads those of config.distill; on the meta device only their shapes. Throws UserError if one knows other tokens than the run, or
  // fewer positions. `tokenizer` is the run's, empty if unknown.
  Teachers(const RunConfig& config, const std::filesystem::path& tokenizer, const at::Device& device);

  // What the teachers predict after each of `tokens` (B, L).
  [[nodiscard]] kernels::SoftTargets of(const at::Tensor& tokens) const;

 private:
  double weight_;
  double temperature_;
  std::vector<std::shared_ptr<Llama>> models_;
};

}  // namespace tersor
