// One matrix under one rule, with gradients given by hand: for trajectories worked out from a paper's equations.
#pragma once

#include "kernels/fill_normal.h"
#include "optim/optimizer.h"

namespace tersor::testing {

// Normal random numbers in fp32, the same for the same name.
inline at::Tensor normal(at::IntArrayRef shape, const std::string& name, double std = 1) {
  const at::Tensor x = at::empty(shape, at::kFloat);
  kernels::fill_normal(x, std, random_stream(1, name));
  return x;
}

class SingleParam {
 public:
  SingleParam(const at::Tensor& start, const std::string& rule, double lr, const std::string& more = "",
              const std::string& group = "")
      : weight_(start.clone().requires_grad_(true)), lr_(lr) {
    Diagnostics out;
    OptimizerConfig config;
    const ConfigNode node = parse_config(fmt::format("{{groups: [{{rule: {}{}}}]{}}}", rule, group.empty() ? "" : ", " + group, more), "test", out);
    read_fields(config, node, out);
    out.throw_if_any();
    const std::vector<Param> params{{"w", weight_, start.dim() == 2 ? Role::kMatrix : Role::kVector, std::nullopt}};
    optimizer_ = std::make_unique<Optimizer>(params, config, 1);
  }

  void step(const at::Tensor& gradient) {
    ++step_;
    optimizer_->begin_step({step_, step_ * 10, (step_ - 1) * 10, 1000, 10000}, lr_, 1);
    optimizer_->begin_micro_batch();
    (weight_ * gradient).sum().backward();
    (void)optimizer_->finish_step();
  }

  void set_fused(bool fused) { optimizer_->set_fused(fused); }
  [[nodiscard]] at::Tensor weight() const { return weight_.detach(); }
  [[nodiscard]] StateStore& state() { return optimizer_->state(); }
  [[nodiscard]] Slots slots() const { return optimizer_->state().open("w"); }

 private:
  at::Tensor weight_;
  double lr_;
  int64_t step_ = 0;
  std::unique_ptr<Optimizer> optimizer_;
};

}  // namespace tersor::testing
