// Growth in depth: the blocks of the model are repeated and go on learning on their own.
//
//   - {do: {type: grow, growth: {type: stack, factor: 4}}, when: at 10B tokens}
//
// Weights of new block i are those of block sources[i] (core/growth), embedding, last norm and head stay. Of the optimizer's
// state
//
//   moments: reset   nothing is kept, as the G_stack code does, which builds a new optimizer
//   moments: copy    each block takes along the state of the block it is copied from, and all else keeps its own
//
// With `zero_outputs` all copies but the first of a block have o_proj and down_proj zeroed: they add nothing to the residual
// stream, and the model is the same function as before. The learning rate goes on as scheduled: the action `rewarm` at the
// same step lets it rise anew, as G_stack's does.
//
// With `reset` state is freed before weights are made, and blocks that keep their place are not copied: the most that
// exists is what exists afterwards.
#include "core/growth/growth.h"
#include "core/timeline/timeline.h"

namespace tersor {

enum class GrownMoments { kReset, kCopy };
template <>
struct EnumNames<GrownMoments> {
  static constexpr std::array values{std::pair{GrownMoments::kReset, std::string_view("reset")},
                                     std::pair{GrownMoments::kCopy, std::string_view("copy")}};
};

namespace {

// The name that a parameter's source has in the model before: "model.layers.7.x" ← "model.layers.1.x"; others keep theirs.
std::string source_name(const std::string& name, const std::vector<BlockSource>& sources) {
  if (!name.starts_with(Llama::kBlocks)) return name;
  size_t digits = 0;
  const auto block = static_cast<size_t>(std::stoll(name.substr(Llama::kBlocks.size()), &digits));
  return fmt::format("{}{}{}", Llama::kBlocks, sources.at(block).block, name.substr(Llama::kBlocks.size() + digits));
}

class Grow final : public Action {
 public:
  struct Config {
    Choice<growths> growth{"stack"};
    GrownMoments moments = GrownMoments::kReset;
    bool zero_outputs = false;
    void fields(FieldVisitor& v) {
      v("growth", growth, "which blocks are repeated, and where");
      v("moments", moments, "what becomes of the optimizer's state: all of it begins anew, or copies take it along");
      v("zero_outputs", zero_outputs, "copies add nothing at first, so that the model stays the same function");
    }
  };
  explicit Grow(const Config& config) : name_(config.growth.type()), schedule_(config.growth.build()), moments_(config.moments), zero_outputs_(config.zero_outputs) {}

  std::string run(RunContext& context) const override {
    Llama& model = context.model;
    Optimizer& optimizer = context.optimizer;
    const std::vector<BlockSource> sources = sources_of(model);
    const int64_t depth = model.config().num_hidden_layers;
    const int64_t parameters = model.num_parameters();
    const std::set<std::string> frozen = optimizer.frozen();
    for (const std::string& name : frozen) optimizer.set_frozen(name, false);
    if (moments_ == GrownMoments::kReset) {
      optimizer.replace_params({});  // frees the state
      model.grow(sources);
      optimizer.replace_params(model.params());
    } else {
      copy_state(model, optimizer, sources);
    }
    for (const Param& param : model.params())
      if (frozen.contains(source_name(param.name, sources))) optimizer.set_frozen(param.name, true);
    return fmt::format("{} → {} blocks, {} → {} parameters", depth, model.config().num_hidden_layers, parameters, model.num_parameters());
  }

  bool change_structure(Llama& model) const override {
    model.grow(sources_of(model));
    return true;
  }

 private:
  std::vector<BlockSource> sources_of(const Llama& model) const {
    const std::vector<int64_t> blocks = checked_sources(*schedule_, name_, model.config().num_hidden_layers);
    if (static_cast<double>(blocks.size()) > ModelConfig::kDeepest)
      throw user_error("timeline: grow would make {} blocks of {}; let it run less often, for instance 'at 10%', or by a smaller factor",
                       blocks.size(), model.config().num_hidden_layers);
    const std::vector<bool> copy = copies(blocks);
    std::vector<BlockSource> sources;
    for (size_t i = 0; i < blocks.size(); ++i) sources.push_back({blocks[i], zero_outputs_ && copy[i]});
    return sources;
  }

  static void copy_state(Llama& model, Optimizer& optimizer, const std::vector<BlockSource>& sources) {
    std::map<std::string, std::vector<int64_t>> before;
    for (const Param& param : model.params()) before[param.name] = param.value.sizes().vec();
    model.grow(sources);
    std::map<std::string, Inheritance> inherited;
    std::vector<std::string> anew;  // stored otherwise than the source, so that there is nothing to take along
    for (const Param& param : model.params()) {
      const std::string from = source_name(param.name, sources);
      const auto old = before.find(from);
      if (old != before.end() && old->second == param.value.sizes().vec())
        inherited[param.name] = {.from = from};
      else
        anew.push_back(param.name);
    }
    optimizer.replace_params(model.params(), inherited);
    for (const std::string& name : anew) optimizer.reset(name);
  }

  std::string name_;
  std::unique_ptr<GrowthSchedule> schedule_;
  GrownMoments moments_;
  bool zero_outputs_;
};

const bool registered = actions().add<Grow>("grow", "deepens the model by copies of its blocks");

}  // namespace
}  // namespace tersor
