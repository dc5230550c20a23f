#include "core/train/memory_plan.h"

namespace tersor {
namespace {

int64_t size_of(const at::Tensor& x) {
  return static_cast<int64_t>(x.element_size());
}
int64_t bytes_of(const at::Tensor& x) {
  return static_cast<int64_t>(x.nbytes());
}

// The row that `same` finds, or a new one like `fresh`.
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
  for (const auto& linear : shapes.linears())
    for (const PackedPart& part : linear->weight().kept())
      add_weight(rows, "kept", part.name.substr(linear->name().size() + 1), part.value);
  return rows;
}

// What an optimizer over these parameters keeps, by the very code that would keep it.
class StatePlan {
 public:
  StatePlan(const RunConfig& config, const Llama& shapes)
      : config_(config),
        params_(shapes.params()),
        methods_(build_methods(config.optimizer.groups)),
        assigned_(assign_groups(params_, config.optimizer.groups, methods_)),
        optimizer_(params_, config.optimizer, 0) {}

  [[nodiscard]] std::vector<StateBytes> rows() const {
    std::vector<StateBytes> rows;
    for (size_t i = 0; i < params_.size(); ++i) {
      const std::string& rule = config_.optimizer.groups[assigned_[i]].rule.type();
      for (const RestingSlot& slot : optimizer_.state().resting(params_[i].name)) {
        StateBytes fresh{
            .rule = rule, .slot = std::string(slot.name), .format = std::string(slot.format), .host = !slot.parts[0].is_meta()};
        StateBytes& row = row_of(rows, fresh, [&](const StateBytes& r) {
          return r.rule == rule && r.slot == slot.name && r.format == slot.format && r.host == fresh.host;
        });
        ++row.tensors;
        for (const at::Tensor& part : slot.parts) row.bytes += bytes_of(part);
      }
    }
    return rows;
  }

  [[nodiscard]] GradientBytes gradients() const {
    const bool several = config_.train.global_batch_size > config_.train.micro_batch_size;
    const bool during = config_.optimizer.update == UpdateMode::kDuringBackward;
    const Accumulate accumulate = config_.optimizer.accumulate.value_or(during ? Accumulate::kCompressed : Accumulate::kFull);
    GradientBytes all;
    int64_t whole = 0;
    int64_t compressed = 0;
    for (size_t i = 0; i < params_.size(); ++i) {
      const at::Tensor& value = params_[i].value;
      const int64_t own = value.numel() * size_of(value);
      const int64_t sum = value.numel() * (several ? std::max<int64_t>(4, size_of(value)) : size_of(value));
      whole += sum;
      compressed += accumulate == Accumulate::kCompressed ? compressed_bytes(i).value_or(sum) : sum;
      all.largest = std::max(all.largest, own);
      if (params_[i].role == Role::kHead) all.head = own;
      if (all.head == 0 && params_[i].role == Role::kEmbedding) all.head = own;  // tied, unless a head follows
    }
    if (during && !several) return all;  // each is used as it arrives
    all.most = whole;
    all.usual = compressed;
    return all;
  }

  // Of the largest update: the gradient and the weight in fp32 where they are not, the step, the moments decoded; where bases
  // are found, the gradient in double, its Gram matrix, eigenvectors and LAPACK's copy of them.
  [[nodiscard]] int64_t workspace() const {
    int64_t most = 0;
    for (size_t i = 0; i < params_.size(); ++i) {
      const at::Tensor& value = params_[i].value;
      const bool exact = value.scalar_type() == at::kFloat && !params_[i].packed;
      int64_t bytes = value.numel() * (exact ? 4 : 12);
      int64_t bases = 0;
      for (const SlotSpec& spec : rule(i).slots(shape(i))) {
        const auto& resting = optimizer_.state().resting(params_[i].name);
        const auto slot = std::find_if(resting.begin(), resting.end(), [&](const RestingSlot& r) { return r.name == spec.name; });
        if (slot->format != "fp32") bytes += 4 * c10::multiply_integers(spec.shape);
        if (spec.kind == SlotKind::kProjector) bases = std::max(bases, 8 * (value.numel() + 3 * spec.shape.back() * spec.shape.back()));
      }
      most = std::max(most, bytes + bases);
    }
    return most;
  }

 private:
  [[nodiscard]] const UpdateRule& rule(size_t i) const { return *methods_[assigned_[i]].rule; }
  [[nodiscard]] ParamShape shape(size_t i) const { return {params_[i].value.sizes().vec(), params_[i].slice_axis}; }

  [[nodiscard]] std::optional<int64_t> compressed_bytes(size_t i) const {
    const Compression* compression = rule(i).compression();
    if (compression == nullptr) return std::nullopt;
    const at::TensorOptions meta = at::TensorOptions(at::kFloat).device(at::kMeta);
    Slots projectors;
    for (const SlotSpec& spec : rule(i).slots(shape(i)))
      if (spec.kind == SlotKind::kProjector) projectors.add(spec.name, at::empty(spec.shape, meta));
    const StepInfo step{.param = params_[i].name, .num_micro_batches = config_.train.global_batch_size / config_.train.micro_batch_size};
    return bytes_of(compression->compress(at::empty(params_[i].value.sizes(), meta), projectors, step));
  }

  const RunConfig& config_;
  std::vector<Param> params_;
  std::vector<GroupMethods> methods_;
  std::vector<size_t> assigned_;
  Optimizer optimizer_;
};

ActivationBytes activations_of(const RunConfig& config, const Llama& shapes) {
  const ModelConfig& m = shapes.config();
  const int64_t e = config.run.dtype == Dtype::kBf16 ? 2 : 4;
  const int64_t tokens = config.train.micro_batch_size * config.data.sequence_length;
  const int64_t blocks = m.num_hidden_layers;
  const int64_t d = m.hidden_size;
  const int64_t q = m.num_attention_heads * m.head_width();
  const int64_t f = m.intermediate_size;
  const int64_t chunk = std::min(tokens, config.train.loss_chunk);
  ActivationBytes all;
  const Recompute again = config.train.recompute;
  const bool attention_again = again == Recompute::kAttention || again == Recompute::kBlock;
  const bool mlp_again = again == Recompute::kMlp || again == Recompute::kBlock;
  const int64_t norm = tokens * ((4 + 2 * e) * d + 4);
  const int64_t attention = tokens * (4 * q * e + 4 * m.num_attention_heads);
  const int64_t mlp = tokens * 4 * f * e;
  all.norms = blocks * ((attention_again ? 0 : norm) + (mlp_again ? 0 : norm)) + tokens * ((4 + e) * d + 4);
  if (again != Recompute::kNone) all.norms += blocks * tokens * d * e;  // the inputs of what runs again
  all.attention = attention_again ? 0 : blocks * attention;
  all.mlp = mlp_again ? 0 : blocks * mlp;
  for (const auto& linear : shapes.linears()) {
    int64_t inner = 0;  // width between the factors: the first one's rows
    for (const Param& param : linear->weight().params())
      if (param.role == Role::kFactor && inner == 0) inner = std::min(param.value.size(0), param.value.size(-1));
    all.factors += tokens * inner * e;
  }
  all.loss = chunk * 8 * m.vocab_size + tokens * 2 * d * e;
  all.backward = tokens * (3 * f * e + 4 * d * e);
  if (attention_again) all.backward += norm + attention;  // of one block, once more
  if (mlp_again) all.backward += norm + mlp;
  return all;
}

}  // namespace

MemoryPlan plan_memory(const RunConfig& config, const Llama& shapes) {
  const StatePlan state(config, shapes);
  return {.weights = weights_of(shapes),
          .state = state.rows(),
          .gradients = state.gradients(),
          .activations = activations_of(config, shapes),
          .update = state.workspace(),
          .adds_up = config.train.global_batch_size > config.train.micro_batch_size};
}

int64_t MemoryPlan::weight_bytes() const {
  int64_t total = 0;
  for (const WeightBytes& row : weights) total += row.bytes;
  return total;
}

int64_t MemoryPlan::state_bytes() const {
  int64_t total = 0;
  for (const StateBytes& row : state) total += row.bytes;
  return total;
}

// The largest of three moments: the loss, the backward pass of the last block, and the largest update, when the activations
// are gone and all gradients are there.
int64_t MemoryPlan::peak() const {
  const int64_t held = adds_up ? gradients.most : 0;
  const int64_t loss = held + activations.saved() + activations.loss + gradients.head;
  const int64_t backward = held + activations.saved() + gradients.head + activations.backward;
  const int64_t updating = std::max(gradients.most, gradients.largest) + update;
  const int64_t arriving = gradients.most + gradients.largest;
  return weight_bytes() + state_bytes() + std::max({loss, backward, updating, arriving});
}

}  // namespace tersor
