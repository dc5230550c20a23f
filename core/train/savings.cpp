#include "core/train/savings.h"

#include <limits>
#include <map>

#include "core/train/prepare.h"

namespace tersor {
namespace {

// The values of a memory-saving option, of which a combination has one or none.
struct Choices {
  std::vector<Saving> values;
};

// Recomputed work, as a share of the run's compute.
double recompute_share(const RunConfig& config, Recompute what) {
  const Llama shapes = shapes_of(config);
  const double attention = flops_per_token(config, config.model.num_hidden_layers) - training_flops(static_cast<double>(shapes.num_active()), 1);
  double again = what == Recompute::kMlp ? 0 : attention / 3;  // forward is a third of a step
  for (const auto& linear : shapes.linears()) {
    const bool mlp = linear->name().find(".mlp.") != std::string::npos;
    if (what == Recompute::kBlock || mlp == (what == Recompute::kMlp)) again += 2.0 * static_cast<double>(linear->weight().num_active());
  }
  return again / flops_per_token(config, config.model.num_hidden_layers);
}

// The override that those of groups need before them if no file has a list of groups.
std::vector<std::string> written_groups(const ReadConfig& read) {
  try {
    (void)read({"optimizer.groups.0.offload=false"});
    return {};
  } catch (const UserError&) {
    return {"optimizer.groups=[{match: any}]"};
  }
}

std::vector<std::string> for_all_groups(const RunConfig& config, std::vector<std::string> overrides, const std::string& key, const std::string& value) {
  for (size_t i = 0; i < config.optimizer.groups.size(); ++i) overrides.push_back(fmt::format("optimizer.groups.{}.{}={}", i, key, value));
  return overrides;
}

// Work that per-layer updates do twice, as a share of the run's compute.
double second_pass(RunConfig config, int64_t micro_batch_size) {
  config.optimizer.update = UpdateMode::kDuringBackward;
  config.train.micro_batch_size = micro_batch_size;
  return passes(config) - 1;
}

Choices update_choices(const RunConfig& config) {
  if (config.optimizer.update == UpdateMode::kDuringBackward) return {};
  const double again = second_pass(config, config.train.micro_batch_size);
  return {{{.overrides = {"optimizer.update=during_backward"}, .more_compute = again,
            .remark = again > 0 ? "the last micro-batch runs twice, to clip exactly" : "", .second_pass = again > 0}}};
}

Choices recompute_choices(const RunConfig& config) {
  Choices found;
  for (const auto& [value, name] : EnumNames<Recompute>::values) {
    if (value == Recompute::kNone || config.train.recompute != Recompute::kNone) continue;
    found.values.push_back({.overrides = {fmt::format("train.recompute={}", name)}, .more_compute = recompute_share(config, value)});
  }
  return found;
}

// All options, in the order in which they appear in a configuration. `groups`: overrides that those of groups need before them.
std::vector<Choices> all_choices(const RunConfig& config, const std::vector<std::string>& groups) {
  std::vector<Choices> all;
  constexpr int64_t kSmallChunk = 256;
  if (config.train.loss_chunk > kSmallChunk)
    all.push_back({{{.overrides = {fmt::format("train.loss_chunk={}", kSmallChunk)}, .remark = "smaller products, which take a little longer"}}});
  all.push_back(update_choices(config));
  all.push_back(recompute_choices(config));
  all.push_back({{{.overrides = for_all_groups(config, groups, "projector", "int4"), .lossy = true, .remark = "bases with 4 bits per number"}}});
  all.push_back({{{.overrides = for_all_groups(config, groups, "state", "int8"), .lossy = true, .remark = "moments with 8 bits per number"}}});
  if (config.run.dtype == Dtype::kFp32) all.push_back({{{.overrides = {"run.dtype=bf16"}, .lossy = true, .remark = "weights and products with 8-bit significands"}}});
  if (config.parameterization.size() == 1 && config.parameterization.front().method.type() == "dense")
    all.push_back({{{.overrides = {"parameterization.method=int8"}, .lossy = true, .remark = "weights with 8 bits per number, as in Q-GaLore"}}});
  return all;
}

// Moments in host memory, for a run on a GPU. Transfers over the bus at about 25 GB/s stall a GPU of about 400 TFLOP/s when they take
// longer than the computation that they overlap with. Ignoring the overlap gives the most that they can cost relative to a step.
Choices offload_choices(const RunConfig& config, const std::vector<std::string>& written) {
  const std::vector<std::string> overrides = for_all_groups(config, written, "offload", "true");
  const auto& groups = config.optimizer.groups;
  const bool all = std::all_of(groups.begin(), groups.end(), [](const GroupConfig& g) { return g.offload; });
  if (all || config.run.device.build()->type() == at::kCPU) return {};
  constexpr double kFlopsOfAByte = 4e14 / 25e9;
  const double bytes = 2 * static_cast<double>(plan_run(config).largest().memory.state_bytes());
  const double flops = flops_per_token(config, config.model.num_hidden_layers) * static_cast<double>(config.tokens_per_step());
  return {{{.overrides = overrides, .more_compute = bytes * kFlopsOfAByte / flops, .remark = "at most, as time on the bus: moments rest in host memory"}}};
}

// Peaks of configurations, each computed once.
class Peaks {
 public:
  explicit Peaks(const ReadConfig& read) : read_(read) {}
  // Returns nothing if the overrides do not suit the run, for instance a format that a slot refuses.
  std::optional<int64_t> of(const std::vector<std::string>& overrides) {
    const auto found = known_.find(overrides);
    if (found != known_.end()) return found->second;
    std::optional<int64_t> peak;
    try {
      peak = plan_run(read_(overrides)).largest().memory.peak();
    } catch (const UserError&) {
      if (overrides.empty()) throw;
    }
    return known_[overrides] = peak;
  }

 private:
  const ReadConfig& read_;
  std::map<std::vector<std::string>, std::optional<int64_t>> known_;
};

// The values that suit the run, with their peaks filled in.
std::vector<Choices> possible_choices(const ReadConfig& read, Peaks& peaks) {
  const RunConfig config = read({});
  const std::vector<std::string> groups = written_groups(read);
  std::vector<Choices> possible = all_choices(config, groups);
  possible.push_back(offload_choices(config, groups));
  for (Choices& choices : possible) {
    std::erase_if(choices.values, [&](Saving& saving) {
      const std::optional<int64_t> peak = peaks.of(saving.overrides);
      saving.peak = peak.value_or(0);
      return !peak.has_value();
    });
  }
  return possible;
}

struct Combination {
  std::vector<Saving> savings;
  int64_t rounding = 0;
  double more_compute = 0;

  [[nodiscard]] std::vector<std::string> overrides(int64_t micro_batch_size) const {
    std::vector<std::string> all{fmt::format("train.micro_batch_size={}", micro_batch_size)};
    for (const Saving& saving : savings)
      for (const std::string& word : saving.overrides)
        if (std::find(all.begin(), all.end(), word) == all.end()) all.push_back(word);
    return all;
  }
};

// All combinations of at most one value per option, the cheapest first.
std::vector<Combination> combinations(const std::vector<Choices>& options) {
  std::vector<Combination> all{{}};
  for (const Choices& option : options) {
    const size_t count = all.size();
    for (size_t i = 0; i < count; ++i) {
      for (const Saving& value : option.values) {
        Combination more = all[i];
        more.savings.push_back(value);
        more.rounding += value.lossy ? 1 : 0;
        more.more_compute += value.more_compute;
        all.push_back(std::move(more));
      }
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const Combination& a, const Combination& b) {
    return std::tuple(a.rounding, a.more_compute, a.savings.size()) < std::tuple(b.rounding, b.more_compute, b.savings.size());
  });
  return all;
}

// The sizes that divide the batch, in increasing order.
std::vector<int64_t> micro_batches(int64_t global_batch_size) {
  std::vector<int64_t> all;
  for (int64_t n = 1; n <= global_batch_size; ++n)
    if (global_batch_size % n == 0) all.push_back(n);
  return all;
}

struct Peak {
  int64_t micro_batch = 0;
  int64_t bytes = 0;
};

// The micro-batch with the lowest peak: the smallest one, or the whole batch, with which gradients are not accumulated.
std::optional<Peak> smallest(Peaks& peaks, const Combination& combination, const std::vector<int64_t>& sizes) {
  std::optional<Peak> found;
  for (const int64_t size : {sizes.front(), sizes.back()}) {
    const std::optional<int64_t> peak = peaks.of(combination.overrides(size));
    if (peak && (!found || *peak < found->bytes)) found = Peak{size, *peak};
  }
  return found;
}

Fit fit_of(const RunConfig& config, const Combination& combination, const Peak& found, int64_t budget) {
  const auto [micro_batch, peak] = found;
  Fit fit{.fits = peak <= budget, .savings = combination.savings, .micro_batch_size = micro_batch, .overrides = combination.overrides(micro_batch), .peak = peak};
  for (Saving& saving : fit.savings) {
    saving.peak = 0;
    if (saving.second_pass) saving.more_compute = second_pass(config, micro_batch);
  }
  return fit;
}

}  // namespace

std::vector<Saving> savings(const ReadConfig& read) {
  Peaks peaks(read);
  std::vector<Saving> all;
  for (const Choices& choices : possible_choices(read, peaks)) all.insert(all.end(), choices.values.begin(), choices.values.end());
  const RunConfig config = read({});
  const TrainSection& train = config.train;
  if (train.micro_batch_size < train.global_batch_size) {
    Saving whole{.overrides = {fmt::format("train.micro_batch_size={}", train.global_batch_size)}, .remark = "gradients are not added up over micro-batches"};
    whole.more_compute = passes(read(whole.overrides)) - passes(config);
    whole.peak = peaks.of(whole.overrides).value_or(std::numeric_limits<int64_t>::max());
    all.push_back(whole);
  }
  std::erase_if(all, [now = peaks.of({}).value()](const Saving& saving) { return saving.peak >= now; });
  std::stable_sort(all.begin(), all.end(), [](const Saving& a, const Saving& b) { return a.peak < b.peak; });
  return all;
}

Fit fit_budget(const ReadConfig& read, int64_t budget) {
  Peaks peaks(read);
  const RunConfig config = read({});
  const std::vector<int64_t> sizes = micro_batches(config.train.global_batch_size);
  const std::vector<Combination> all = combinations(possible_choices(read, peaks));
  // All savings together give the lowest peak, or nearly: if that does not fit, the other combinations need not be tried.
  const Combination& most = *std::max_element(all.begin(), all.end(), [](const Combination& a, const Combination& b) {
    return std::tuple(a.savings.size(), a.more_compute) < std::tuple(b.savings.size(), b.more_compute);
  });
  std::optional<Fit> nearest;
  if (const auto least = smallest(peaks, most, sizes); least && least->bytes > budget) return fit_of(config, most, *least, budget);
  for (const Combination& combination : all) {
    const std::optional<Peak> least = smallest(peaks, combination, sizes);
    if (!least) continue;
    if (!nearest || least->bytes < nearest->peak) nearest = fit_of(config, combination, *least, budget);
    if (least->bytes > budget) continue;
    Fit best = fit_of(config, combination, *least, budget);
    const auto fits = [&](int64_t size) {
      const std::optional<int64_t> peak = peaks.of(combination.overrides(size));
      if (peak && *peak <= budget) best = fit_of(config, combination, {size, *peak}, budget);
      return peak && *peak <= budget;
    };
    if (fits(sizes.back())) return best;
    for (size_t low = 0, high = sizes.size() - 1; low < high;) {  // sizes below `low` fit, those from `high` on do not
      const size_t middle = (low + high) / 2;
      if (fits(sizes[middle]))
        low = middle + 1;
      else
        high = middle;
    }
    return best;
  }
  return nearest.value();
}

}  // namespace tersor
