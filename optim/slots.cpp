#include "optim/slots.h"

#include <stdexcept>

namespace tersor {

std::vector<int64_t> ParamShape::per_slice() const {
  if (!slice_axis) return {};
  std::vector<int64_t> shape(sizes.size(), 1);
  const auto axis = static_cast<size_t>(*slice_axis);
  shape[axis] = sizes[axis];
  return shape;
}

void Slots::add(std::string name, at::Tensor value) {
  const uint32_t version = value._version();
  values_.push_back({std::move(name), std::move(value), version});
}

const Slots::Named& Slots::find(std::string_view name) const {
  const auto found = std::find_if(values_.begin(), values_.end(), [&](const Named& slot) { return slot.name == name; });
  if (found != values_.end()) return *found;
  std::vector<std::string_view> known;
  for (const Named& slot : values_) known.emplace_back(slot.name);
  throw std::runtime_error(fmt::format("there is no slot '{}' among those that slots() declares: {}", name, fmt::join(known, ", ")));
}

bool Slots::contains(std::string_view name) const {
  return std::any_of(values_.begin(), values_.end(), [&](const Named& slot) { return slot.name == name; });
}

bool Slots::written(std::string_view name) const {
  const Named& slot = find(name);
  return slot.value._version() != slot.version;
}

Slots Slots::scope(std::string_view prefix) const {
  Slots inner;
  for (const Named& slot : values_)
    if (slot.name.size() > prefix.size() && slot.name.starts_with(prefix) && slot.name[prefix.size()] == '.')
      inner.values_.push_back({slot.name.substr(prefix.size() + 1), slot.value, slot.version});
  return inner;
}

std::vector<SlotSpec> prefixed(std::string_view prefix, std::vector<SlotSpec> specs) {
  for (SlotSpec& spec : specs) spec.name = fmt::format("{}.{}", prefix, spec.name);
  return specs;
}

}  // namespace tersor
