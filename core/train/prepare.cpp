#include "core/train/prepare.h"

#include <fstream>

#include "core/base/error.h"
#include "core/base/pattern.h"
#include "core/interop/hugging_face.h"
#include "core/train/checkpoint.h"

namespace tersor {
namespace {

// Memory that can be had without swapping; 0 when the system does not say.
double available_bytes() {
  std::ifstream info("/proc/meminfo");
  for (std::string word; info >> word;) {
    if (word != "MemAvailable:") continue;
    double kilobytes = 0;
    info >> kilobytes;
    return kilobytes * 1024;
  }
  return 0;
}

at::ScalarType scalar_type(const RunConfig& config) {
  return config.run.dtype == Dtype::kBf16 ? at::kBFloat16 : at::kFloat;
}

void check_targets(const RunConfig& config, const Llama& shapes) {
  for (const ParameterizationConfig& one : config.parameterization) {
    const auto linears = shapes.linears();
    for (const std::string& target : one.targets)
      if (std::none_of(linears.begin(), linears.end(), [&](const auto& linear) { return fits_pattern(target, linear->name()); }))
        throw user_error("parameterization.targets: '{}' matches no weight; they are called like '{}'", target, linears.front()->name());
  }
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

Llama shapes_of(const RunConfig& config) {
  return {first_structure(config), at::TensorOptions(scalar_type(config)).device(at::kMeta), 0};
}

void validate(const RunConfig& config) {
  constexpr double kGiB = 0x1.0p30;
  Llama shapes = shapes_of(config);
  check_targets(config, shapes);
  double needed = 0;
  for (const PackedPart& part : shapes.tensors()) needed += static_cast<double>(part.value.nbytes());
  const double available = available_bytes();
  if (available > 0 && needed > available)
    throw user_error("model: its weights alone take {:.1f} GiB, and {:.1f} GiB of memory are free; choose a smaller model", needed / kGiB,
                     available / kGiB);
  const Timeline timeline(config.timeline);
  timeline.check(first_settings(config));
  check_groups(timeline.stages(shapes), config.optimizer.groups);
}

std::shared_ptr<Llama> build_model(const RunConfig& config, const Structure& structure) {
  auto model = std::make_shared<Llama>(structure, at::TensorOptions(scalar_type(config)), static_cast<uint64_t>(config.run.seed));
  model->set_recompute(config.train.recompute);
  return model;
}

std::shared_ptr<Llama> build_model(const RunConfig& config) {
  auto model = build_model(config, first_structure(config));
  if (!config.run.init_from.empty()) load_weights(newest_of(config.run.init_from), *model);
  return model;
}

}  // namespace tersor
