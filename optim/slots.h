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
  kExact,        // counters: never rounded
};

struct ParamShape {
  std::vector<int64_t> sizes;
  std::optional<int64_t> slice_axis;

  // The shape of one number per slice that broadcasts over the parameter; {} without a slice axis.
  [[nodiscard]] std::vector<int64_t> per_slice() const;
};

struct SlotSpec {
  std::string name;
  std::vector<int64_t> shape;
  SlotKind kind = SlotKind::kSigned;
};

// Slots of one parameter by name, in fp32. Copies share the tensors: write to them in place.
class Slots {
 public:
  void add(std::string name, at::Tensor value) { values_.emplace_back(std::move(name), std::move(value)); }
  [[nodiscard]] const at::Tensor& operator[](std::string_view name) const;
  // The slots called "prefix.x", as "x": what a wrapping rule hands to the rule inside it.
  [[nodiscard]] Slots scope(std::string_view prefix) const;

 private:
  std::vector<std::pair<std::string, at::Tensor>> values_;
};

// `specs` with "prefix." before every name.
[[nodiscard]] std::vector<SlotSpec> prefixed(std::string_view prefix, std::vector<SlotSpec> specs);

}  // namespace tersor
