#include "core/train/training_step.h"

#include <ATen/record_function.h>

#include <chrono>

#include "core/memory/ledger.h"
#include "kernels/on_host.h"

namespace tersor {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point begin) { return std::chrono::duration<double, std::milli>(Clock::now() - begin).count(); }

// Returns the loss of one micro-batch; hooks receive the gradients.
at::Tensor forward_and_backward(Llama& model, const Batch& batch, double scale, const StepInput& input) {
  at::Tensor loss;
  {
    const MemoryScope scope(Segment::kActivations);
    RECORD_USER_SCOPE("forward");
    if (input.teachers == nullptr) {
      loss = model.loss(batch.inputs, batch.targets, scale, input.loss_chunk);
    } else {
      const kernels::SoftTargets soft = input.teachers->of(batch.inputs);
      loss = model.loss(batch.inputs, batch.targets, scale, input.loss_chunk, &soft);
    }
  }
  const MemoryScope scope(Segment::kTemporary);
  RECORD_USER_SCOPE("backward");
  loss.backward();
  return loss.detach();
}

// The same, recorded and replayed if the run records its passes.
at::Tensor passes(Llama& model, Optimizer& optimizer, const Batch& batch, double scale, const StepInput& input) {
  const auto once = [&](const Batch& b) { return forward_and_backward(model, b, scale, input); };
  return input.recorded == nullptr ? once(batch) : input.recorded->run(optimizer, batch, scale, once);
}

}  // namespace

std::optional<StepResult> training_step(Llama& model, Optimizer& optimizer, const StepInput& input) {
  const double scale = 1.0 / static_cast<double>(input.num_targets);
  optimizer.begin_step(input.progress, input.lr, input.num_micro_batches);
  StepResult result;
  at::Tensor sum;
  const int64_t processes = optimizer.comm().size();
  for (int64_t i = optimizer.comm().rank(); i < input.num_micro_batches; i += processes) {
    const auto data_begin = Clock::now();
    const MemoryScope scope(Segment::kData);
    const std::optional<Batch> batch = [&] {
      RECORD_USER_SCOPE("read");
      return input.read(i);
    }();
    if (!batch) {
      optimizer.abandon_step();
      return std::nullopt;
    }
    result.data_ms += milliseconds_since(data_begin);
    optimizer.begin_micro_batch();
    const at::Tensor loss = passes(model, optimizer, *batch, scale, input);
    sum = sum.defined() ? sum.add_(loss) : loss.to(at::kDouble);
    if (i + processes >= input.num_micro_batches && optimizer.begin_second_pass()) (void)passes(model, optimizer, *batch, scale, input);
  }
  const auto update_begin = Clock::now();
  RECORD_USER_SCOPE("update");
  // Before the update, which a GPU does while the host goes on to the next step.
  optimizer.comm().settle();
  result.loss = kernels::number_in(sum);
  result.outcome = optimizer.finish_step();
  result.update_ms = milliseconds_since(update_begin);
  return result;
}

}  // namespace tersor
