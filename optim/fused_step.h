// One parameter's step with its state as it rests, for rules that can do it in a single pass.
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
  std::span<const at::Tensor> parts;  // as the format keeps them
  bool away = false;                  // in host memory between steps, where the parameter is on a GPU
};

struct FusedStep {
  at::Tensor weight;             // fp32 or bf16, contiguous, changed in place; bf16 is rounded stochastically
  at::Tensor grad;               // of the weight's type, or fp32; contiguous, not clipped yet
  double grad_scale = 1;         // what clipping multiplies it by
  double lr = 0;
  double weight_decay = 0;       // decoupled: w ← (1 − lr · weight_decay) · w first
  RandomStream rounding{0};      // of a weight in bf16
  int64_t first = 0;             // the index of its first number among the draws
  std::vector<RestingSlot> slots;

  // nullptr when there is none.
  [[nodiscard]] const RestingSlot* find(std::string_view name) const {
    for (const RestingSlot& slot : slots)
      if (slot.name == name) return &slot;
    return nullptr;
  }
};

}  // namespace tersor
