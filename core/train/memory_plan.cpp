#include "core/train/memory_plan.h"

namespace tersor {
namespace {

int64_t bytes_of(const at::Tensor& x) {
  return static_cast<int64_t>(x.nbytes());
}

constexpr std::string_view kDerived = "derived";

// Returns the row that `same` accepts, or appends `fresh`.
template <class Row, class Same>
Row& row_of(std::vector<Row>& rows, Row fresh, const Same& same) {
  for (Row& row : rows)
    if (same(row)) return row;
  return rows.emplace_back(std::move(fresh));
}

void add_weight(std::vector<WeightBytes>& rows, std::string_view role, const std::string& part, const at::Tensor& value) {
  WeightBytes& row = row_of(rows, WeightBytes{.role = std::string(role), .part = part},
                            [&](const WeightBytes& r) { return r.role == role && r.part == part; });
  ++row.tensors;
  row.numbers += value.numel();
  row.bytes += bytes_of(value);
}

std::vector<WeightBytes> weights_of(const Llama& shapes) {
  std::vector<WeightBytes> rows;
  for (const Param& param : shapes.params()) {
    const size_t module = param.name.rfind('.') + 1;
    for (const PackedPart& part : param.resting()) add_weight(rows, role_name(param.role), part.name.substr(module), part.value);
  }
  for (const auto& linear : shapes.linears()) {
    const auto add = [&](std::string_view role, const std::vector<PackedPart>& parts) {
      for (const PackedPart& part : parts) add_weight(rows, role, part.name.substr(linear->name().size() + 1), part.value);
    };
    add("kept", linear->weight().kept());
    add(kDerived, linear->weight().derived());
  }
  return rows;
}

// The state of an optimizer over these parameters, computed by the code that would allocate it.
std::vector<StateBytes> state_of(const RunConfig& config, const Llama& shapes) {
  const std::vector<Param> params = shapes.params();
  const std::vector<GroupMethods> methods = build_methods(config.optimizer.groups);
  const std::vector<size_t> assigned = assign_groups(params, config.optimizer.groups, methods);
  const Optimizer optimizer(params, config.optimizer_on_device(), 0);
  std::vector<StateBytes> rows;
  for (size_t i = 0; i < params.size(); ++i) {
    const std::string& rule = config.optimizer.groups[assigned[i]].rule.type();
    for (const RestingSlot& slot : optimizer.state().resting(params[i].name)) {
      StateBytes fresh{.rule = rule, .slot = std::string(slot.name), .format = std::string(slot.format), .host = slot.away || !slot.parts[0].is_meta()};
      StateBytes& row = row_of(rows, fresh, [&](const StateBytes& r) {
        return r.rule == rule && r.slot == slot.name && r.format == slot.format && r.host == fresh.host;
      });
      ++row.tensors;
      for (const at::Tensor& part : slot.parts) row.bytes += bytes_of(part);
    }
  }
  return rows;
}

}  // namespace

MemoryPlan plan_memory(const RunConfig& config, Llama& shapes) {
  return {.weights = weights_of(shapes), .state = state_of(config, shapes), .step = step_memory(config, shapes)};
}

int64_t MemoryPlan::weight_bytes() const {
  int64_t total = 0;
  for (const WeightBytes& row : weights) total += row.bytes;
  return total;
}

int64_t MemoryPlan::checkpoint_bytes() const {
  int64_t total = state_bytes();
  for (const WeightBytes& row : weights)
    if (row.role != kDerived) total += row.bytes;
  return total;
}

int64_t MemoryPlan::state_bytes() const {
  int64_t total = 0;
  for (const StateBytes& row : state) total += row.bytes;
  return total;
}

}  // namespace tersor
