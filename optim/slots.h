// The state that a rule declares for one parameter, and the view of it that the rule works on.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tersor {

// Tells a state format how it may round.
enum class SlotKind {
  kSigned,       // first moments, momentum
  kNonNegative,  // second moments
  kProjector,    // orthonormal or random bases
  kExact,        // counters, norms: fp32, never rounded
  kHost,         // fp32 in host memory, readable without waiting for a device: for deciding when something is due
};

struct ParamShape {
  std::vector<int64_t> sizes;
  std::optional<int64_t> slice_axis;
  int64_t rows_per_head = 0;  // as in Param

  // The shape that holds one number per slice and broadcasts over the parameter; {} without a slice axis.
  [[nodiscard]] std::vector<int64_t> per_slice() const;
};

struct SlotSpec {
  std::string name;
  std::vector<int64_t> shape;
  SlotKind kind = SlotKind::kSigned;
};

// Slots of one parameter by name, in fp32. Copies share the tensors. Write to them in place, and to bases with copy_, which is
// how a store knows that they have changed and must be rounded again.
class Slots {
 public:
  void add(std::string name, at::Tensor value);
  [[nodiscard]] const at::Tensor& operator[](std::string_view name) const { return find(name).value; }
  [[nodiscard]] bool contains(std::string_view name) const;
  // Whether LibTorch has seen a write since the slot was added.
  [[nodiscard]] bool written(std::string_view name) const;
  // The slots called "prefix.x", as "x": what a wrapping rule hands to the rule inside it.
  [[nodiscard]] Slots scope(std::string_view prefix) const;

 private:
  struct Named {
    std::string name;
    at::Tensor value;
    uint32_t version;
  };
  [[nodiscard]] const Named& find(std::string_view name) const;
  std::vector<Named> values_;
};

// `specs` with "prefix." before every name.
[[nodiscard]] std::vector<SlotSpec> prefixed(std::string_view prefix, std::vector<SlotSpec> specs);

}  // namespace tersor
