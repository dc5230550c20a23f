#include "core/interop/hugging_face.h"

#include <set>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/memory/ledger.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

// Returns the files that an index names.
std::set<std::string> files_of(const fs::path& index) {
  const Json json = Json::parse(read_text(index), nullptr, false);
  if (!json.is_object() || !json.contains("weight_map")) throw user_error("'{}' has no weight_map", index.string());
  std::set<std::string> names;
  std::vector<std::string> missing;
  for (const auto& [tensor, file] : json["weight_map"].items()) {
    if (!file.is_string()) throw user_error("'{}': the file of '{}' is {}, which is not a name", index.string(), tensor, file.dump());
    if (names.insert(file.get<std::string>()).second && !fs::exists(index.parent_path() / file.get<std::string>())) missing.push_back(file);
  }
  if (!missing.empty()) throw user_error("'{}' names files that do not exist: {}; fetch them, too", index.string(), fmt::join(missing, ", "));
  return names;
}

bool holds_shards(const fs::path& folder) {
  return fs::is_directory(folder) && std::any_of(fs::directory_iterator(folder), fs::directory_iterator(), [](const fs::directory_entry& entry) {
    return is_shard_of_weights(entry.path().filename().string());
  });
}

// The weights of a folder, in one file or several.
std::vector<SafetensorsFile> open_weights(const fs::path& folder) {
  std::vector<SafetensorsFile> files;
  const fs::path index = folder / "model.safetensors.index.json";
  if (fs::exists(folder / "model.safetensors")) {
    files.emplace_back(folder / "model.safetensors");
  } else if (fs::exists(index)) {
    for (const std::string& name : files_of(index)) files.emplace_back(folder / name);
  } else if (holds_shards(folder)) {
    throw user_error("'{}' is missing: it names the files that the weights are in; fetch it, too", index.string());
  } else {
    throw user_error("'{}' holds neither model.safetensors nor model.safetensors.index.json; convert "
                     "other formats with Transformers' save_pretrained",
                     folder.string());
  }
  return files;
}

bool is_ignored(const std::string& name) { return name.ends_with("rotary_emb.inv_freq"); }

// Loads the weights of a model from a folder, and collects what is wrong with them.
class WeightLoader {
 public:
  WeightLoader(const fs::path& folder, const ModelConfig& config) : folder_(folder), config_(config), files_(open_weights(folder)) {
    for (const SafetensorsFile& file : files_)
      for (const auto& [name, entry] : file.entries())
        if (!is_ignored(name)) unused_.insert(name);
  }

  [[nodiscard]] const SafetensorsFile::Entry* find(const std::string& name) const {
    const SafetensorsFile* file = file_of(name);
    return file == nullptr ? nullptr : &file->entries().at(name);
  }
  void load(const std::string& name, const at::Tensor& target) {
    unused_.erase(name);
    const SafetensorsFile* file = file_of(name);
    try {
      if (file == nullptr) return problems_.push_back(fmt::format("'{}' is missing", name));
      const SafetensorsFile::Entry& entry = file->entries().at(name);
      if (target.is_floating_point() && !c10::isFloatingType(entry.dtype))
        return problems_.push_back(fmt::format("'{}' holds whole numbers; only floating-point weights can be loaded (dequantize the model first)", name));
      if (target.sizes() != at::IntArrayRef(entry.shape)) ++misshapen_;
      file->copy_into(name, target);
    } catch (const UserError& e) {
      problems_.emplace_back(e.what());
    }
  }
  void load(const Param& param) {
    for (const PackedPart& part : param.resting()) load(part.name, part.value);
  }
  void load(const Linear& linear) {
    Parameterization& weight = linear.weight();
    const std::string dense_name = linear.name() + ".weight";
    const std::vector<PackedPart> parts = tensors_of(weight);
    const bool own = std::any_of(parts.begin(), parts.end(), [&](const PackedPart& part) { return part.name == dense_name; });
    if (!own && find(dense_name) != nullptr) {
      const at::Tensor dense = at::empty({linear.shape().out, linear.shape().in}, at::kFloat);
      load(dense_name, dense);
      weight.assign(dense);
    } else {
      weight.resize_like([&](const std::string& part) -> std::optional<std::vector<int64_t>> {
        const auto* entry = find(linear.name() + "." + part);
        return entry == nullptr ? std::nullopt : std::optional(entry->shape);
      });
      for (const PackedPart& part : tensors_of(weight)) load(part.name, part.value);
      weight.restored();
    }
    if (linear.bias().defined()) load(linear.name() + ".bias", linear.bias().detach());
  }
  // If the head is tied to the embedding, some writers store a copy, which is dropped; a different head is refused, as it would be lost.
  void drop_tied_head() {
    const std::string head = "lm_head.weight", table = "model.embed_tokens.weight";
    if (unused_.erase(head) == 0 || find(table) == nullptr || same(head, table)) return;
    throw user_error("'{}': 'lm_head.weight' differs from the embedding, but the model's head is tied to the embedding; set model.tie_word_embeddings=false "
                     "(tie_word_embeddings in config.json for an import)", folder_.string());
  }
  // The number of fp64 tensors, whose precision fp32 and bf16 do not keep.
  [[nodiscard]] int64_t num_wide() const {
    int64_t wide = 0;
    for (const SafetensorsFile& file : files_)
      wide += std::count_if(file.entries().begin(), file.entries().end(), [](const auto& entry) { return entry.second.dtype == at::kDouble; });
    return wide;
  }
  void throw_if_any() {
    const bool other_tensors = !problems_.empty() && !unused_.empty();
    for (const std::string& name : unused_) problems_.push_back(fmt::format("'{}' is not a tensor of this model", name));
    if (problems_.empty()) return;
    std::string text = misshapen_ > 1 ? other_sizes() : "";
    constexpr size_t kMost = 8;  // the rest is of the same kind
    for (size_t i = 0; i < std::min(problems_.size(), kMost); ++i) text += "\n  " + problems_[i];
    if (problems_.size() > kMost) text += fmt::format("\n  and {} more", problems_.size() - kMost);
    if (other_tensors) text += "\n'tersor export' makes a run's factored, sparse and quantized weights dense";
    throw user_error("the weights of '{}' do not fit the model:{}", folder_.string(), text);
  }

 private:
  // nullptr if no file has it.
  [[nodiscard]] const SafetensorsFile* file_of(const std::string& name) const {
    const auto file = std::find_if(files_.begin(), files_.end(), [&](const auto& f) { return f.entries().contains(name); });
    return file == files_.end() ? nullptr : &*file;
  }
  [[nodiscard]] bool same(const std::string& one, const std::string& other) const {
    const SafetensorsFile::Entry &a = *find(one), &b = *find(other);
    if (a.shape != b.shape) return false;
    const auto bytes = file_of(one)->bytes_of(one), others = file_of(other)->bytes_of(other);
    if (a.dtype == b.dtype && std::ranges::equal(bytes, others)) return true;
    const at::Tensor first = at::empty(a.shape, at::kDouble), second = at::empty(b.shape, at::kDouble);
    file_of(one)->copy_into(one, first);
    file_of(other)->copy_into(other, second);
    return at::equal(first, second);
  }
  // Which options differ, as far as the embedding tells: both of its sizes are options.
  [[nodiscard]] std::string other_sizes() const {
    std::string differ;
    const SafetensorsFile::Entry* table = find("model.embed_tokens.weight");
    const auto compare = [&](const char* option, int64_t ours, size_t dimension) {
      if (table == nullptr || table->shape.size() != 2 || table->shape[dimension] == ours) return;
      differ += fmt::format("{}{} is {}, in the file {}", differ.empty() ? ": " : ", ", option, ours, table->shape[dimension]);
    };
    compare("model.vocab_size", config_.vocab_size, 0);
    compare("model.hidden_size", config_.hidden_size, 1);
    return fmt::format(" the model's sizes are not the file's{}; set model to the file's sizes, as the model.yaml of an import does", differ);
  }

  fs::path folder_;
  const ModelConfig& config_;
  std::vector<SafetensorsFile> files_;
  std::set<std::string> unused_;
  std::vector<std::string> problems_;
  int64_t misshapen_ = 0;
};

// The names of all tensors that belong to linear layers.
std::set<std::string> names_of_linears(const Llama& model) {
  std::set<std::string> names;
  for (const auto& linear : model.linears())
    for (const Param& param : linear->params()) names.insert(param.name);
  return names;
}

// Makes tensors whole while it lives; then each process keeps only its own. The tensors are looked up again at the end, since
// loading may have replaced them by others, of the file's sizes.
class Held {
 public:
  Held(WeightKeeper* keeper, std::function<std::vector<PackedPart>()> tensors) : keeper_(keeper), tensors_(std::move(tensors)) {
    if (keeper_ != nullptr) keeper_->hold(tensors_());
  }
  ~Held() {
    if (keeper_ != nullptr) keeper_->shed(tensors_());
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  WeightKeeper* keeper_;
  std::function<std::vector<PackedPart>()> tensors_;
};

}  // namespace

void load_weights(const fs::path& folder, Llama& model) {
  const at::NoGradGuard no_grad;
  const MemoryScope scope(Segment::kWeights);
  WeightLoader loader(folder, model.config());
  const std::set<std::string> of_linears = names_of_linears(model);
  for (const Param& param : model.params()) {
    if (of_linears.contains(param.name)) continue;
    const bool in_a_block = param.name.starts_with(Llama::kBlocks);  // others are whole in every process
    const Held held(in_a_block ? model.keeper() : nullptr, [&] { return param.resting(); });
    loader.load(param);
  }
  for (const auto& linear : model.linears()) {
    const Held held(model.keeper(), [&] {
      std::vector<PackedPart> all = tensors_of(linear->weight());
      if (linear->bias().defined()) all.push_back({linear->name() + ".bias", linear->bias().detach()});
      return all;
    });
    loader.load(*linear);
  }
  if (model.config().tie_word_embeddings) loader.drop_tied_head();
  loader.throw_if_any();
  const bool narrower = model.params().front().value.scalar_type() != at::kDouble;
  if (const int64_t wide = loader.num_wide(); wide > 0 && narrower) log().info("'{}': fp64 is rounded in {} of its tensors", folder.string(), wide);
}

void check_finite(const NamedTensors& weights, const fs::path& folder) {
  std::string wrong;
  for (const auto& [name, weight] : weights)
    if (!at::isfinite(weight).all().item<bool>()) wrong += fmt::format("{}'{}'", wrong.empty() ? "" : ", ", name);
  if (!wrong.empty())
    throw user_error("'{}': not all numbers of {} are finite in fp32, so they cannot be trained; use another copy of the model", folder.string(), wrong);
}

bool is_dense(const Llama& model) {
  const auto linears = model.linears();
  return std::ranges::all_of(linears, [](const auto& linear) {
    const std::vector<PackedPart> parts = tensors_of(linear->weight());
    return parts.size() == 1 && parts.front().name == linear->name() + ".weight" && parts.front().value.is_floating_point();
  });
}

NamedTensors dense_weights(const Llama& model) {
  NamedTensors all;
  for (const auto& linear : model.linears()) {
    all.emplace_back(linear->name() + ".weight", linear->weight().materialize());
    if (linear->bias().defined()) all.emplace_back(linear->name() + ".bias", linear->bias().detach());
  }
  const std::set<std::string> of_linears = names_of_linears(model);
  for (const Param& param : model.params())
    if (!of_linears.contains(param.name)) all.emplace_back(param.name, param.value.detach());
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return all;
}

}  // namespace tersor
