// Growth in depth: the blocks of the model are repeated, and each copy goes on learning on its own.
//
//   - {do: {type: grow, growth: {type: stack, factor: 4}}, when: at 10B tokens}
//
// New block i takes the weights of block sources[i] (core/growth); embedding, final norm and head stay. Of the optimizer state
//
//   moments: reset   nothing is kept, as in the G_stack code, which builds a new optimizer
//   moments: copy    each block takes a copy of the state of its source block, and everything else keeps its own
//
// With `zero_outputs`, all copies of a block but the first have o_proj and down_proj zeroed: they add nothing to the residual
// stream, and the model computes the same function as before. The learning rate follows its schedule; the action `rewarm` at
// the same step makes it rise again, as G_stack's does.
//
// With `reset`, state is freed before weights are created, and blocks that keep their place are not copied: peak memory is
// what the grown model takes.
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

// The name of a parameter's source in the old model: "model.layers.7.x" ← "model.layers.1.x"; names outside blocks stay.
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
      v("moments", moments, "what becomes of the optimizer state: all of it is reset, or copied along with the blocks");
      v("zero_outputs", zero_outputs, "whether copies add nothing at first, so that the model computes the same function");
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
      throw user_error("timeline: grow would make {} blocks from {}; run it less often, for instance 'at 10%', or with a smaller factor",
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
    std::vector<std::string> anew;  // stored differently from the source, so that no state can be copied
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
