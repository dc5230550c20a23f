#include "core/train/processes_plan.h"

#include <numeric>

#include "core/train/prepare.h"
#include "core/train/scattered_weights.h"

namespace tersor {
namespace {

// The number of elements that each process updates.
std::vector<int64_t> loads_of(const RunConfig& config, const Llama& shapes, int processes, Shard shard) {
  const auto comm = on_paper(0, processes);
  return Optimizer(shapes.params(), config.optimizer_on_device(), 0, {.comm = comm.get(), .shard = shard}).loads();
}

struct Sent {
  int64_t bytes = 0;
  int64_t rounds = 0;
};

// What is sent in the second of two steps, with `micro_batches` per process.
Sent sent_in_a_step(RunConfig config, int rank, int processes, Shard shard, int64_t micro_batches) {
  config.train.global_batch_size = micro_batches * processes * config.train.micro_batch_size;
  const auto comm = on_paper(rank, processes);
  Llama shapes = shapes_of(config);
  const Processes processes_of_step{.comm = comm.get(), .shard = shard};
  const auto scattered = scatter(shapes, processes_of_step);
  Optimizer optimizer(shapes.params(), config.optimizer_on_device(), static_cast<uint64_t>(config.run.seed), processes_of_step);
  take_step(config, shapes, optimizer, micro_batches * processes, 1);
  optimizer.catch_up_on_paper();
  const Sent before{comm->bytes_sent(), comm->rounds()};
  take_step(config, shapes, optimizer, micro_batches * processes, 2);
  return {comm->bytes_sent() - before.bytes, comm->rounds() - before.rounds};
}

}  // namespace

ProcessesPlan plan_processes(const RunConfig& config, int processes, Shard shard) {
  const Llama shapes = shapes_of(config);
  const std::vector<int64_t> loads = loads_of(config, shapes, processes, shard);
  const auto fullest = std::max_element(loads.begin(), loads.end());
  const auto rank = static_cast<int>(fullest - loads.begin());
  ProcessesPlan plan{.processes = processes, .shard = shard};
  plan.micro_batches = std::max<int64_t>(1, config.train.global_batch_size / config.train.micro_batch_size / processes);
  plan.balance = static_cast<double>(*fullest) * processes / static_cast<double>(std::accumulate(loads.begin(), loads.end(), int64_t{0}));
  const int64_t passes = plan.micro_batches + (config.optimizer.two_passes() ? 1 : 0);
  plan.flops = static_cast<double>(passes * config.train.micro_batch_size * config.data.sequence_length) *
               flops_per_token(config, config.model.num_hidden_layers);
  {
    const auto comm = on_paper(rank, processes);
    Llama model = shapes_of(config);
    const MemoryUse most = step_memory(config, model, {.comm = comm.get(), .shard = shard}).largest().whole;
    plan.peak = most.total;
    // Actions that touch weights need them whole, between steps.
    const bool touched = std::any_of(config.timeline.begin(), config.timeline.end(), [](const TimelineEntry& e) { return e.action.build()->touches_weights(); });
    if (shard == Shard::kWeights && touched) plan.peak = std::max(plan.peak, shapes.bytes() + most.of(Segment::kOptimizer));
  }
  // Every further micro-batch of a step sends equally much, possibly nothing.
  const Sent one = sent_in_a_step(config, rank, processes, shard, 1);
  const Sent two = sent_in_a_step(config, rank, processes, shard, 2);
  plan.sent = static_cast<double>(one.bytes + (plan.micro_batches - 1) * (two.bytes - one.bytes)) / processes;
  plan.rounds = one.rounds + (plan.micro_batches - 1) * (two.rounds - one.rounds);
  return plan;
}

}  // namespace tersor
