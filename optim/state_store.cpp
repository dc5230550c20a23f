#include "optim/state_store.h"

namespace tersor {
namespace {

const StateFormat& exact_format() {
  static const std::unique_ptr<StateFormat> format = state_formats().find("fp32")->build();
  return *format;
}

}  // namespace

void StateStore::declare(const std::string& param, const std::vector<SlotSpec>& specs, const SlotFormats& formats,
                         const at::TensorOptions& options) {
  std::vector<Record> records;
  for (const SlotSpec& spec : specs) {
    const bool exact = spec.kind == SlotKind::kExact || spec.kind == SlotKind::kHost;
    const bool projector = spec.kind == SlotKind::kProjector;
    const StateFormat& used = exact ? exact_format() : projector ? *formats.projector : *formats.state;
    const at::TensorOptions where = spec.kind == SlotKind::kHost ? options.device(at::kCPU) : options;
    records.push_back({spec, &used, exact ? "fp32" : projector ? formats.projector_name : formats.state_name,
                       used.allocate(spec.shape, spec.kind, where.requires_grad(false))});
  }
  TERSOR_CHECK(params_.emplace(param, std::move(records)).second, "the slots of '{}' are declared twice", param);
}

const std::vector<StateStore::Record>& StateStore::records(const std::string& param) const {
  const auto found = params_.find(param);
  TERSOR_CHECK(found != params_.end(), "no state for '{}'", param);
  return found->second;
}

Slots StateStore::open(const std::string& param) const {
  Slots slots;
  for (const Record& record : records(param))
    slots.add(record.spec.name, record.format->decode(record.resting, record.spec.kind, record.spec.shape));
  return slots;
}

Slots StateStore::open(const std::string& param, SlotKind kind) const {
  Slots slots;
  for (const Record& record : records(param))
    if (record.spec.kind == kind)
      slots.add(record.spec.name, record.format->decode(record.resting, kind, record.spec.shape));
  return slots;
}

void StateStore::close(const std::string& param, const Slots& slots, const RandomStream& random) {
  uint64_t index = 0;
  for (const Record& record : records(param)) {
    const at::Tensor& value = slots[record.spec.name];
    const RandomStream own = random.child(index++);
    if (value.is_alias_of(record.resting[0])) continue;  // the rule wrote into what rests
    if (record.spec.kind == SlotKind::kProjector && !slots.written(record.spec.name)) continue;
    record.format->encode(value, record.spec.kind, own, record.resting);
  }
}

std::vector<RestingSlot> StateStore::resting(const std::string& param) const {
  std::vector<RestingSlot> all;
  for (const Record& record : records(param)) all.push_back({record.spec.name, record.format_name, record.resting});
  return all;
}

int64_t StateStore::reset(const std::string& param) {
  const Slots slots = open(param);
  int64_t numbers = 0;
  for (const Record& record : records(param)) {
    slots[record.spec.name].zero_();
    numbers += slots[record.spec.name].numel();
  }
  close(param, slots, RandomStream(0));
  return numbers;
}

int64_t StateStore::bytes() const {
  int64_t total = 0;
  visit([&](const std::string&, const at::Tensor& value) { total += static_cast<int64_t>(value.nbytes()); });
  return total;
}

void StateStore::visit(const std::function<void(const std::string&, const at::Tensor&)>& each) const {
  for (const auto& [param, records] : params_) {
    for (const Record& record : records) {
      const std::string name = param + "/" + record.spec.name;
      const bool parts = record.resting.size() > 1;
      for (size_t i = 0; i < record.resting.size(); ++i)
        each(parts ? fmt::format("{}/{}", name, i) : name, record.resting[i]);
    }
  }
}

}  // namespace tersor
