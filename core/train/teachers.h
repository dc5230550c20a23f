// Distillation: a run learns what finished runs predict beside what comes next.    Hinton et al. 2015, arXiv:1503.02531
//
//   q = mean over teachers of softmax(their logits / T)        loss: kernels/linear_cross_entropy.h
//
// Several teachers are an ensemble. They keep their weights as they were trained, on the device of the run; their logits, like the
// run's own, exist for `train.loss_chunk` tokens at a time.
#pragma once

#include "core/model/llama.h"
#include "core/train/run_config.h"

namespace tersor {

class Teachers {
 public:
  // Those of config.distill. UserError where one knows other tokens than the run, whose tokenizer may be not known (empty), or fewer
  // positions. On the meta device they are shapes alone.
  Teachers(const RunConfig& config, const std::filesystem::path& tokenizer, const at::Device& device);

  // What they predict after each of tokens (B, L).
  [[nodiscard]] kernels::SoftTargets of(const at::Tensor& tokens) const;

 private:
  double weight_;
  double temperature_;
  std::vector<std::shared_ptr<Llama>> models_;
};

}  // namespace tersor
