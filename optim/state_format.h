// How a slot rests between steps. A rule always sees fp32; a format turns that into what is kept, and back.
#pragma once

#include <span>

#include "core/base/rng.h"
#include "core/config/registry.h"
#include "optim/slots.h"

namespace tersor {

class StateFormat {
 public:
  virtual ~StateFormat() = default;

  // What rests for `fp32`. May alias it. `random` is for formats that round stochastically.
  [[nodiscard]] virtual std::vector<at::Tensor> encode(const at::Tensor& fp32, SlotKind kind,
                                                       const RandomStream& random) const = 0;
  // The fp32 tensor of that shape. May alias what rests, and then nothing needs to be encoded again.
  [[nodiscard]] virtual at::Tensor decode(std::span<const at::Tensor> resting, SlotKind kind,
                                          at::IntArrayRef shape) const = 0;
  // Bytes that `encode` keeps for a slot of this shape.
  [[nodiscard]] virtual int64_t bytes(at::IntArrayRef shape, SlotKind kind) const = 0;
};

using StateFormatRegistry = Registry<StateFormat>;
[[nodiscard]] StateFormatRegistry& state_formats();

}  // namespace tersor
