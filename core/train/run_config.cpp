#include "core/train/run_config.h"

#include <cmath>
#include <set>

#include "core/config/plugin.h"

namespace tersor {

void DataSection::check(const ConfigNode& node, Diagnostics& out) const {
  if (source.has_value() == !sources.empty()) return out.add(node, "needs `source`, or `sources` for several, but not both");
  double sum = sources.empty() ? 1 : 0;
  std::set<std::string> names;
  for (const SourceShare& share : sources) {
    sum += share.weight;
    if (share.name.empty() || share.name.find('/') != std::string::npos || !names.insert(share.name).second)
      out.add(node.nearest({"sources"}), fmt::format("'{}' cannot be the name of a source: names must differ and have no '/'", share.name));
  }
  if (sum <= 0) out.add(node.nearest({"sources"}), "at least one weight must be greater than 0");
}

std::vector<SourceShare> DataSection::shares() const {
  return source ? std::vector<SourceShare>{{.name = "train", .source = *source}} : sources;
}

void TrainSection::check(const ConfigNode& node, Diagnostics& out) const {
  if (global_batch_size % micro_batch_size != 0)
    out.add(node.nearest({"micro_batch_size"}),
            fmt::format("must divide global_batch_size: {} is not a multiple of {}", global_batch_size, micro_batch_size));
  constexpr double kMost = 1e15;
  if (steps.unit == Span::Unit::kSteps && (steps.value < 1 || steps.value != std::floor(steps.value)))
    out.add(node.nearest({"steps"}), fmt::format("must be a whole number of steps, not {}", steps.value));
  if (steps.value > kMost) out.add(node.nearest({"steps"}), fmt::format("{} is more than any run can count", steps.value));
  if (steps.unit != Span::Unit::kSteps && steps.unit != Span::Unit::kTokens) out.add(node.nearest({"steps"}), "must be a number of steps or of tokens");
}

void RunConfig::check(const ConfigNode& node, Diagnostics& out) const {
  if (data.sequence_length > model.max_position_embeddings)
    out.add(node.nearest({"data", "sequence_length"}),
            fmt::format("{} is longer than model.max_position_embeddings {}; raise that or shorten this",
                        data.sequence_length, model.max_position_embeddings));
  const bool has_control = std::any_of(run.name.begin(), run.name.end(), [](unsigned char c) { return c < ' '; });
  if (run.name.empty() || run.name.find('/') != std::string::npos || run.name.starts_with('.') || has_control)
    out.add(node.nearest({"run", "name"}), fmt::format("'{}' cannot be the name of a folder", run.name));
  const bool resizes = std::any_of(timeline.begin(), timeline.end(), [](const TimelineEntry& e) { return e.action.type() == "resize_batch"; });
  if (resizes && train.steps.unit == Span::Unit::kTokens)
    out.add(node.nearest({"train", "steps"}), "must be a number of steps if the timeline has resize_batch, which changes the tokens of a step");
}

OptimizerConfig RunConfig::optimizer_on_device() const {
  OptimizerConfig options = optimizer;
  if (run.device.build()->type() == at::kCPU)
    for (GroupConfig& group : options.groups) group.offload = false;
  return options;
}

int64_t RunConfig::total_steps() const {
  if (train.steps.unit == Span::Unit::kSteps) return std::max<int64_t>(1, std::llround(train.steps.value));
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(train.steps.value / static_cast<double>(tokens_per_step()))));
}

RunConfig read_run_config(const ConfigNode& node, Diagnostics& diagnostics) {
  load_plugins(node, diagnostics);
  diagnostics.throw_if_any();
  RunConfig config;
  read_fields(config, node, diagnostics);
  diagnostics.throw_if_any();
  return config;
}

RunConfig read_run_config(const std::vector<std::filesystem::path>& files, const std::vector<std::string>& overrides) {
  Diagnostics diagnostics;
  const ConfigNode node = load_config(files, overrides, diagnostics);
  diagnostics.throw_if_any();
  RunConfig config = read_run_config(node, diagnostics);
  // The resolved configuration is read again from the run's folder, so its paths must not depend on its location.
  config.run.out_dir = std::filesystem::absolute(config.run.out_dir).lexically_normal();
  return config;
}

}  // namespace tersor
