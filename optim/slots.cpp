#include "optim/slots.h"

#include "core/base/error.h"

namespace tersor {

std::vector<int64_t> ParamShape::per_slice() const {
  if (!slice_axis) return {};
  std::vector<int64_t> shape(sizes.size(), 1);
  const auto axis = static_cast<size_t>(*slice_axis);
  shape[axis] = sizes[axis];
  return shape;
}

const at::Tensor& Slots::operator[](std::string_view name) const {
  for (const auto& [slot, value] : values_)
    if (slot == name) return value;
  TERSOR_CHECK(false, "no slot called '{}'", name);
  return values_.front().second;
}

Slots Slots::scope(std::string_view prefix) const {
  Slots inner;
  for (const auto& [slot, value] : values_)
    if (slot.size() > prefix.size() && slot.starts_with(prefix) && slot[prefix.size()] == '.')
      inner.add(slot.substr(prefix.size() + 1), value);
  return inner;
}

std::vector<SlotSpec> prefixed(std::string_view prefix, std::vector<SlotSpec> specs) {
  for (SlotSpec& spec : specs) spec.name = fmt::format("{}.{}", prefix, spec.name);
  return specs;
}

}  // namespace tersor
