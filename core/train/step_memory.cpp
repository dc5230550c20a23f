#include "core/train/step_memory.h"

#include "core/train/run_plan.h"
#include "core/train/scattered_weights.h"
#include "core/train/training_step.h"
#include "kernels/sparse_low_rank_linear.h"

namespace tersor {
namespace {

// Subtracts what there is besides the model.
MemoryPeak without(const MemoryUse& others, MemoryPeak peak) {
  for (size_t i = 0; i < peak.most.size(); ++i) {
    peak.whole.bytes[i] -= others.bytes[i];
    peak.most[i] -= others.bytes[i];
  }
  peak.whole.total -= others.total;
  return peak;
}

// Everything allocated now except the model.
MemoryUse others_than(const Llama& model, at::DeviceType device) {
  kernels::free_workspace(device);  // allocated again in the first step, where it counts
  MemoryUse others = memory_now(device);
  others.bytes[static_cast<size_t>(Segment::kWeights)] -= model.bytes();
  others.total -= model.bytes();
  return others;
}

Batch any_tokens(int64_t rows, int64_t length, int64_t vocabulary, const at::Device& device) {
  const at::TensorOptions options = at::TensorOptions(at::kLong).device(device);
  if (device.is_meta()) return {at::empty({rows, length}, options), at::empty({rows, length}, options)};
  const at::Tensor tokens = at::arange(rows * length, options).mul_(31).remainder_(vocabulary).view({rows, length});
  return {tokens, tokens.roll(-1, 1)};
}

}  // namespace

StepMemory step_memory(const RunConfig& config, Llama& model, Processes processes) {
  const at::Device device = model.params().front().value.device();
  const MemoryUse others = others_than(model, device.type());
  const auto scattered = scatter(model, processes);
  Optimizer optimizer(model.params(), config.optimizer_on_device(), static_cast<uint64_t>(config.run.seed), processes);
  const auto teachers = config.distill ? std::make_unique<Teachers>(config, std::filesystem::path(), device) : nullptr;
  model.set_recompute(config.train.recompute);
  constexpr int64_t kMicroBatches = 2;
  const int64_t of_run = config.train.global_batch_size / config.train.micro_batch_size;
  const int64_t micro_batches = processes.comm->size() * std::clamp<int64_t>(of_run / processes.comm->size(), 1, kMicroBatches);
  StepMemory memory;
  for (int64_t step = 1; step <= 2; ++step) {
    reset_memory_peak(device.type());
    take_step(config, model, optimizer, micro_batches, step, teachers.get());
    (step == 1 ? memory.first : memory.usual) = without(others, memory_peak(device.type()));
    if (device.is_meta()) optimizer.catch_up_on_paper();
  }
  model.set_keeper(nullptr);
  return memory;
}

void take_step(const RunConfig& config, Llama& model, Optimizer& optimizer, int64_t micro_batches, int64_t step, const Teachers* teachers) {
  const at::Device device = model.params().front().value.device();
  const auto read = [&](int64_t) {
    return any_tokens(config.train.micro_batch_size, config.data.sequence_length, config.model.vocab_size, device);
  };
  // The learning rate is 0: the step is only for measuring.
  (void)training_step(model, optimizer, {.progress = first_step(config, model.num_active()).shifted(step - 1),
                                         .num_micro_batches = micro_batches, .num_targets = config.tokens_per_step(),
                                         .loss_chunk = config.train.loss_chunk, .teachers = teachers, .read = read});
}

}  // namespace tersor
