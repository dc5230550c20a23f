#include "optim/state_format.h"

#include "core/base/blame.h"

namespace tersor {
namespace {

std::string who(const std::string& name, const SlotSpec& slot) { return fmt::format("state format '{}', slot '{}'", name, slot.name); }

}  // namespace

std::vector<at::Tensor> allocated(const std::string& name, const StateFormat& format, const SlotSpec& slot, const at::TensorOptions& options) {
  std::vector<at::Tensor> parts = blaming([&] { return who(name, slot); }, [&] { return format.allocate(slot.shape, slot.kind, options); });
  int64_t bytes = 0;
  for (const at::Tensor& part : parts) {
    if (!part.defined() || part.device().type() != options.device().type())
      throw std::runtime_error(who(name, slot) + ": allocate returned a tensor that is not on the device asked for");
    bytes += static_cast<int64_t>(part.nbytes());
  }
  if (const int64_t said = format.bytes(slot.shape, slot.kind); parts.empty() || bytes != said)
    throw std::runtime_error(fmt::format("{}: allocate takes {} bytes in {} tensors, but bytes() says {}", who(name, slot), bytes, parts.size(), said));
  return parts;
}

at::Tensor decoded(const std::string& name, const StateFormat& format, const SlotSpec& slot, std::span<const at::Tensor> resting, at::IntArrayRef shape) {
  at::Tensor value = blaming([&] { return who(name, slot); }, [&] { return format.decode(resting, slot.kind, shape); });
  if (value.defined() && value.scalar_type() == at::kFloat && value.sizes() == shape) return value;
  const std::string gives = value.defined() ? fmt::format("{} of shape [{}]", c10::toString(value.scalar_type()), fmt::join(value.sizes(), ", ")) : "nothing";
  throw std::runtime_error(fmt::format("{}: decode returned {}, not fp32 of shape [{}]", who(name, slot), gives, fmt::join(shape, ", ")));
}

}  // namespace tersor
