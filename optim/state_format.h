// How a slot is stored between steps, "at rest". A rule always sees fp32; a format converts that to what is stored, and back.
#pragma once

#include <span>

#include "core/base/rng.h"
#include "core/config/registry.h"
#include "optim/slots.h"

namespace tersor {

class StateFormat {
 public:
  virtual ~StateFormat() = default;

  // Returns the stored form of an all-zero slot of this shape. Number, types and shapes of the tensors never change.
  [[nodiscard]] virtual std::vector<at::Tensor> allocate(at::IntArrayRef shape, SlotKind kind,
                                                         const at::TensorOptions& options) const = 0;
  // Writes `fp32` into `resting`. `random` is for formats that round stochastically.
  virtual void encode(const at::Tensor& fp32, SlotKind kind, const RandomStream& random,
                      std::span<const at::Tensor> resting) const = 0;
  // Returns the slot in fp32, of that shape. May alias `resting`, and then need not be encoded again.
  [[nodiscard]] virtual at::Tensor decode(std::span<const at::Tensor> resting, SlotKind kind,
                                          at::IntArrayRef shape) const = 0;
  // Bytes that `allocate` takes.
  [[nodiscard]] virtual int64_t bytes(at::IntArrayRef shape, SlotKind kind) const = 0;

  // Whether the first axis of every stored tensor is that of the slot, so that some rows of a matrix can be encoded and
  // decoded without the rest.
  [[nodiscard]] virtual bool by_rows() const { return false; }

  // Why slots of this kind cannot be stored this way; nullopt if they can.
  [[nodiscard]] virtual std::optional<std::string> refuses(SlotKind) const { return std::nullopt; }
};

// What the format `name` allocates and decodes for a slot, checked against the contract above, since formats may come from plugins. Throw a
// std::runtime_error that names format and slot if it is broken.
[[nodiscard]] std::vector<at::Tensor> allocated(const std::string& name, const StateFormat& format, const SlotSpec& slot, const at::TensorOptions& options);
[[nodiscard]] at::Tensor decoded(const std::string& name, const StateFormat& format, const SlotSpec& slot, std::span<const at::Tensor> resting, at::IntArrayRef shape);

using StateFormatRegistry = Registry<StateFormat>;
[[nodiscard]] StateFormatRegistry& state_formats();

}  // namespace tersor
