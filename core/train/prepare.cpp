#include "core/train/prepare.h"

#include <map>
#include <set>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/base/pattern.h"
#include "core/base/quantity.h"
#include "core/data/tokenizer.h"
#include "core/interop/hugging_face.h"
#include "core/train/check_methods.h"
#include "core/train/checkpoint.h"
#include "core/train/processes_plan.h"

namespace tersor {
namespace {

void check_targets(const RunConfig& config) {
  const Llama shapes = shapes_of(config);
  const auto linears = shapes.linears();
  for (const ParameterizationConfig& one : config.parameterization)
    for (const std::string& target : one.targets)
      if (std::none_of(linears.begin(), linears.end(), [&](const auto& linear) { return fits_pattern(target, linear->name()); }))
        throw user_error("{}: parameterization.targets: '{}' matches no weight; weights have names like '{}'", one.method.mark().text(), target, linears.front()->name());
}

// `peak`: bytes of one process.
void check_memory(const RunConfig& config, int64_t peak, const Communicator& comm) {
  const int64_t limit =
      config.run.memory_limit ? config.run.memory_limit->value : config.run.device.build()->free_memory(comm.local_rank(), comm.local_size());
  if (limit == 0 || peak <= limit) return;
  throw user_error("the run will take {} but {} {}; 'tersor plan … --budget {}MiB' looks for options that make it fit, and run.memory_limit=0 "
                   "runs it anyway", format_bytes(peak), format_bytes(limit), config.run.memory_limit ? "are allowed by run.memory_limit" : "are free",
                   std::max<int64_t>(1, limit >> 20));
}

// Warns of options that have no effect in a run of this length.
void warn_of_what_does_not_fit(const RunConfig& config, const RunPlan& plan) {
  for (size_t i = 0; i < plan.actions.size(); ++i)
    if (plan.actions[i].steps.empty())
      log().warn("{}: timeline: {} is never due in {} steps", config.timeline[i].action.mark().text(), plan.actions[i].name, plan.steps);
  const Progress first = first_step(config, plan.stages.front().active);
  const int64_t warmup = steps_in(config.schedule.warmup, first);
  const int64_t decay = config.schedule.type == ScheduleType::kWsd ? steps_in(config.schedule.decay, first) : 0;
  if (warmup > plan.steps) log().warn("schedule.warmup takes {} steps, but the run has {}: the rate never reaches optimizer.lr", warmup, plan.steps);
  else if (warmup + decay > plan.steps) log().warn("schedule: a warm-up of {} steps and a decay of {} do not fit into {}; the decay begins late", warmup, decay, plan.steps);
}

}  // namespace

Structure first_structure(const RunConfig& config) {
  return {config.model, config.parameterization};
}

LiveSettings first_settings(const RunConfig& config) {
  std::vector<double> weights;
  for (const SourceShare& share : config.data.shares()) weights.push_back(share.weight);
  return {.global_batch_size = config.train.global_batch_size, .micro_batch_size = config.train.micro_batch_size,
          .sequence_length = config.data.sequence_length, .mixture = weights};
}

SourceInfo source_info(const RunConfig& config, const std::string& split) {
  return {.sequence_length = config.data.sequence_length, .vocab_size = config.model.vocab_size, .split = split,
          .seed = static_cast<uint64_t>(config.run.seed)};
}

Mixture training_data(const RunConfig& config) { return {config.data.shares(), source_info(config, "train"), config.data.order}; }

Llama shapes_of(const RunConfig& config) { return shapes_of(config, first_structure(config)); }

Llama shapes_of(const RunConfig& config, const Structure& structure) {
  return {structure, at::TensorOptions(config.run.scalar_type()).device(at::kMeta), 0};
}

void validate(const RunConfig& config, const Communicator& comm) {
  check_targets(config);
  check_parameterizations(config);
  const RunPlan plan = plan_run(config);
  if (comm.rank() == 0) warn_of_what_does_not_fit(config, plan);
  const int64_t whole = plan.largest().memory.peak();
  const int64_t peak = comm.alone() ? whole : plan_processes(config, comm.size(), config.distributed.shard).peak;
  check_memory(config, peak, comm);
}

void check_tokenizers(const RunConfig& config, const std::vector<std::filesystem::path>& tokenizers) {
  std::map<std::string, std::filesystem::path> known;  // by checksum
  int64_t most = 0;
  for (const std::filesystem::path& file : std::set(tokenizers.begin(), tokenizers.end())) {
    if (file.empty()) continue;
    if (!std::filesystem::exists(file)) {
      log().warn("data: '{}', the tokenizer of the tokens, does not exist, so checkpoints cannot include it", file.string());
      continue;
    }
    const Tokenizer tokenizer(file);
    known.emplace(tokenizer.hash(), file);
    most = std::max(most, tokenizer.vocab_size());
  }
  if (known.empty()) return;
  if (known.size() > 1)
    log().warn("data: '{}' and '{}' are different tokenizers: the same number means a different token in each", known.begin()->second.string(),
               std::next(known.begin())->second.string());
  constexpr double kMuch = 1.25;  // vocabularies are often padded to a round number
  if (static_cast<double>(config.model.vocab_size) > kMuch * static_cast<double>(most))
    log().warn("model.vocab_size is {}, but the data's tokenizer has {} tokens: the unused rows of embedding and head waste memory and time; set model.vocab_size={}",
               config.model.vocab_size, most, most);
}

void check_tokenizer_of_start(const RunConfig& config, const std::filesystem::path& tokenizer) {
  if (config.run.init_from.empty() || tokenizer.empty() || !std::filesystem::exists(tokenizer)) return;
  const std::filesystem::path theirs = newest_of(config.run.init_from) / Tokenizer::kFile;
  if (std::filesystem::exists(theirs) && sha256_of_file(theirs) != sha256_of_file(tokenizer))
    log().warn("run.init_from: '{}' is not the tokenizer of the data, '{}': the weights were trained on other tokens", theirs.string(), tokenizer.string());
}

std::shared_ptr<Llama> build_model(const RunConfig& config, const Structure& structure, const at::Device& device, WeightKeeper* keeper) {
  auto model =
      std::make_shared<Llama>(structure, at::TensorOptions(config.run.scalar_type()).device(device), static_cast<uint64_t>(config.run.seed), keeper);
  model->set_recompute(config.train.recompute);
  return model;
}

std::shared_ptr<Llama> build_model(const RunConfig& config, const at::Device& device, WeightKeeper* keeper) {
  auto model = build_model(config, first_structure(config), device, keeper);
  if (config.run.init_from.empty()) return model;
  const std::filesystem::path start = newest_of(config.run.init_from);
  if (!std::filesystem::exists(start)) throw user_error("run.init_from: '{}' does not exist", start.string());
  if (is_checkpoint(start)) check_checkpoint(start, Summed::kWeights);
  check_heads_of_start(config.model, start);
  load_weights(start, *model);
  return model;
}

}  // namespace tersor
