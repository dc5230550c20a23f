#include "core/train/recorded_passes.h"

#include "core/base/error.h"
#include "core/base/log.h"

namespace tersor {

void RecordedPasses::forget() {
  runs_ = 0;
  results_.clear();
  recorder_->forget();
}

void RecordedPasses::warn_where_nothing_repeats() {
  constexpr int64_t kOften = 20;
  if (repeated_ || ++forgotten_ != kOften) return;
  log().warn("run.device.graphs: the number of targets differs from step to step, as with padded documents, so no recording is ever repeated; leave graphs out");
}

at::Tensor RecordedPasses::run(Optimizer& optimizer, const Batch& batch, double scale, const std::function<at::Tensor(const Batch&)>& passes) {
  if (runs_ > 0 && (scale != scale_ || batch.inputs.sizes() != batch_.inputs.sizes())) {
    warn_where_nothing_repeats();
    forget();
  }
  scale_ = scale;
  if (runs_++ == 0) {
    batch_ = {batch.inputs.clone(), batch.targets.clone()};
    at::Tensor loss;
    recorder_->warm([&] { loss = passes(batch); });
    return loss;
  }
  batch_.inputs.copy_(batch.inputs);
  batch_.targets.copy_(batch.targets);
  if (results_.empty()) {
    optimizer.comm().settle();  // recording waits for the device, which would wait for a lost process forever
    results_ = recorder_->record([&] {
      optimizer.hold_gradients();
      const at::Tensor loss = passes(batch_);
      std::vector<at::Tensor> results{loss};
      parameters_.clear();
      for (auto& [parameter, gradient] : optimizer.held_gradients()) {
        parameters_.push_back(parameter);
        results.push_back(std::move(gradient));
      }
      return results;
    });
  } else {
    recorder_->replay();
    repeated_ = true;
  }
  for (size_t i = 0; i < parameters_.size(); ++i) optimizer.receive(parameters_[i], results_[i + 1]);
  return results_[0].clone();
}

std::unique_ptr<RecordedPasses> record_passes(const RunConfig& config, const DeviceKind& kind, const Communicator& comm) {
  std::unique_ptr<Recorder> recorder = kind.recorder();
  if (!recorder) return nullptr;
  const auto refuse = [](std::string_view why, std::string_view remedy) {
    throw user_error("run.device.graphs: {}; {}, or leave graphs out", why, remedy);
  };
  if (config.optimizer.update == UpdateMode::kDuringBackward)
    refuse("a recording gives all gradients at once", "set optimizer.update=after_backward");
  if (config.distill) refuse("the passes of teachers are not recorded", "train without distill");
  if (!comm.alone() && config.distributed.shard == Shard::kWeights)
    refuse("weights that come from other processes are not recorded", "set distributed.shard=gradients");
  return std::make_unique<RecordedPasses>(std::move(recorder));
}

}  // namespace tersor
