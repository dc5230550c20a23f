// One parameter's step, taken directly on its state at rest, for rules that can do it in a single pass.
#pragma once

#include <ATen/ATen.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/rng.h"
#include "optim/slots.h"

namespace tersor {

struct RestingSlot {
  std::string_view name;
  std::string_view format;            // "fp32", "int8", …
  SlotKind kind;
  std::span<const at::Tensor> parts;  // as the format stores them
  bool away = false;                  // kept in host memory between steps while the parameter is on a GPU
};

struct FusedStep {
  at::Tensor weight;             // fp32 or bf16, contiguous, updated in place; bf16 is rounded stochastically
  at::Tensor grad;               // in the weight's type or fp32; contiguous, not yet clipped
  double grad_scale = 1;         // factor by which clipping scales it
  double lr = 0;
  double weight_decay = 0;       // decoupled: w ← (1 − lr · weight_decay) · w first
  RandomStream rounding{0};      // for a weight in bf16
  int64_t first = 0;             // index of the weight's first number among the draws
  std::vector<RestingSlot> slots;

  // Returns nullptr if there is no such slot.
  [[nodiscard]] const RestingSlot* find(std::string_view name) const {
    for (const RestingSlot& slot : slots)
      if (slot.name == name) return &slot;
    return nullptr;
  }
};

}  // namespace tersor
