#include "core/train/together.h"

#include "core/base/files.h"
#include "core/base/log.h"
#include "core/train/run_folder.h"
#include "core/train/walk.h"
#include "kernels/square_norm.h"

namespace tersor {

void check_shares(const RunConfig& config, int processes) {
  if (processes == 1) return;
  walk_run(config, {.stage = [&](int64_t step, Llama&, const LiveSettings& settings) {
    const int64_t count = settings.global_batch_size / settings.micro_batch_size;
    if (count % processes == 0) return;
    throw user_error("from step {} on there are {} micro-batches in a step ({} windows, {} at a time), which {} processes cannot share; "
                     "make train.global_batch_size a multiple of {} × train.micro_batch_size, or start another number of processes",
                     step, count, settings.global_batch_size, settings.micro_batch_size, processes, processes);
  }});
}

void check_same_options(const RunConfig& config, Communicator& comm) {
  RunConfig own = config;
  own.run.threads = 0;
  own.run.device = {};
  own.plugins.clear();
  const std::string text = fields_to_json(own).dump();
  const std::vector<std::string> sums = comm.gather(sha256_of_text(text));
  if (std::all_of(sums.begin(), sums.end(), [&](const std::string& sum) { return sum == sums[0]; })) return;
  const std::vector<std::string> all = comm.gather(text);
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    std::string others;
    for (const Difference& one : differences(Json::parse(all[0]), Json::parse(all[rank]))) others += "\n  " + one.text;
    throw user_error("process {} was started with other options than process 0; start all with the same files and overrides:{}", rank, others);
  }
}

void share_weights(Llama& model, Communicator& comm) {
  if (comm.alone()) return;
  std::vector<Pending> all;
  for (const PackedPart& part : model.tensors()) all.push_back(comm.broadcast(part.value, 0));
  for (Pending& one : all) one.wait();
}

void check_replicas(const Llama& model, Communicator& comm) {
  if (comm.alone()) return;
  Sha256 sum;
  for (const PackedPart& part : model.tensors()) {
    const at::Tensor value = part.value.detach().cpu().contiguous();
    sum.add({static_cast<const char*>(value.const_data_ptr()), value.nbytes()});
  }
  const std::vector<std::string> sums = comm.gather(sum.hex());
  for (size_t rank = 1; rank < sums.size(); ++rank)
    if (sums[rank] != sums[0])
      throw std::runtime_error(fmt::format("the weights of process {} no longer equal those of process 0; nothing was saved. Either their machines compute differently: "
                                           "set distributed.shard=states, where one process updates for all. Or a method of your own draws random numbers that are not the run's "
                                           "(StepInfo::random, RunContext::random, WeightShape::seed), or keeps something outside of its slots", rank));
}

std::string weight_not_finite(const Llama& model) {
  for (const PackedPart& part : model.tensors())
    if (part.value.is_floating_point() && is_here(part.value) && !std::isfinite(kernels::square_norm(part.value.detach()).item<double>())) return part.name;
  return "";
}

bool are_finite(const Llama& model, Communicator& comm) {
  const std::vector<std::string> all = comm.gather(weight_not_finite(model));
  return std::all_of(all.begin(), all.end(), [](const std::string& one) { return one.empty(); });
}

void Laggard::note(const at::Tensor& milliseconds) {
  constexpr double kMuch = 1.5;      // times the median
  constexpr double kSeen = 50;       // ms above it
  constexpr int64_t kInARow = 5;
  constexpr int64_t kAgain = 200;    // steps later
  const double median = milliseconds.median().item<double>();
  const auto slowest = milliseconds.argmax().item<int64_t>();
  const double took = milliseconds[slowest].item<double>();
  const bool lags = took > kMuch * median && took > median + kSeen;
  steps_ = lags && slowest == rank_ ? steps_ + 1 : lags ? 1 : 0;
  rank_ = lags ? slowest : -1;
  if (comm_.rank() == 0 && steps_ % kAgain == kInARow)
    log().warn("process {} of {} has taken {:.1f} times as long as the others for {} steps, and all wait for it: is its machine slower, or busy?",
               slowest, comm_.size(), took / median, steps_);
}

}  // namespace tersor
