// Keeps the pattern that an op's backward pass needs in autograd's saved data.
#pragma once

#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <memory>

namespace tersor::kernels {

template <class Pattern>
struct HeldPattern : torch::CustomClassHolder {
  explicit HeldPattern(std::shared_ptr<const Pattern> p) : pattern(std::move(p)) {}
  std::shared_ptr<const Pattern> pattern;

  void save(torch::autograd::AutogradContext* ctx) {
    ctx->saved_data["pattern"] = c10::IValue::make_capsule(c10::intrusive_ptr<HeldPattern>::reclaim_copy(this));
  }
  [[nodiscard]] static const Pattern& of(torch::autograd::AutogradContext* ctx) {
    return *c10::static_intrusive_pointer_cast<HeldPattern>(ctx->saved_data["pattern"].toCapsule())->pattern;
  }
};

}  // namespace tersor::kernels
