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

  // What rests for a slot of this shape that is all zero: always the same number, types and shapes of tensors.
  [[nodiscard]] virtual std::vector<at::Tensor> allocate(at::IntArrayRef shape, SlotKind kind,
                                                         const at::TensorOptions& options) const = 0;
  // Writes `fp32` into what rests. `random` is for formats that round stochastically.
  virtual void encode(const at::Tensor& fp32, SlotKind kind, const RandomStream& random,
                      std::span<const at::Tensor> resting) const = 0;
  // The fp32 tensor of that shape. May alias what rests, and then nothing needs to be encoded again.
  [[nodiscard]] virtual at::Tensor decode(std::span<const at::Tensor> resting, SlotKind kind,
                                          at::IntArrayRef shape) const = 0;
  // Bytes that `allocate` takes.
  [[nodiscard]] virtual int64_t bytes(at::IntArrayRef shape, SlotKind kind) const = 0;

  // Whether the first axis of everything that rests is that of the slot, so that some rows of a matrix can be encoded and
  // decoded without the others.
  [[nodiscard]] virtual bool by_rows() const { return false; }

  // Why slots of this kind cannot be kept this way, if they cannot.
  [[nodiscard]] virtual std::optional<std::string> refuses(SlotKind) const { return std::nullopt; }
};

// What the format `name` allocates and decodes for a slot, held to the above: formats may come from outside. std::runtime_error names both.
[[nodiscard]] std::vector<at::Tensor> allocated(const std::string& name, const StateFormat& format, const SlotSpec& slot, const at::TensorOptions& options);
[[nodiscard]] at::Tensor decoded(const std::string& name, const StateFormat& format, const SlotSpec& slot, std::span<const at::Tensor> resting, at::IntArrayRef shape);

using StateFormatRegistry = Registry<StateFormat>;
[[nodiscard]] StateFormatRegistry& state_formats();

}  // namespace tersor
