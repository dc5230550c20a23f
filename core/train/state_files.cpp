#include "core/train/state_files.h"

#include <set>

#include "core/base/files.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
constexpr const char* kFiles = "optim-";
constexpr const char* kRows = "rows";

std::string param_of(const std::string& state) { return state.substr(0, state.find('/')); }

struct SavedState {
  std::shared_ptr<SafetensorsFile> file;
  Rows rows;  // of the parameter; {0, 0}: all
};
using SavedStates = std::multimap<std::string, SavedState>;  // by name of the tensor

SavedStates open_state(const fs::path& checkpoint) {
  SavedStates all;
  for (const auto& entry : fs::directory_iterator(checkpoint)) {
    if (!is_state_file(entry.path().filename().string())) continue;
    const auto file = std::make_shared<SafetensorsFile>(entry.path());
    const auto found = file->metadata().find(kRows);
    const Json rows = found == file->metadata().end() ? Json::object() : Json::parse(found->second);
    for (const auto& [name, tensor] : file->entries()) {
      const auto cut = rows.find(param_of(name));
      all.emplace(name, SavedState{file, cut == rows.end() ? Rows{} : Rows{.begin = cut->at(0), .end = cut->at(1)}});
    }
  }
  return all;
}

// Fills the state of some or all rows of a matrix from saved pieces that may be split differently. Returns false if rows are missing.
bool load_rows(const SavedStates& saved, const std::string& name, const Rows& rows, const at::Tensor& value) {
  const auto [begin, end] = saved.equal_range(name);
  const auto has_rows = [](at::IntArrayRef shape, const Rows& r) { return shape.size() == 2 && (r.end == 0 || shape[0] == r.end - r.begin); };
  if (!has_rows(value.sizes(), rows)) {  // a counter, the same everywhere
    begin->second.file->copy_into(name, value);
    return true;
  }
  int64_t filled = 0;
  for (auto one = begin; one != end; ++one) {
    const auto& [file, there] = one->second;
    const SafetensorsFile::Entry& entry = file->entries().at(name);
    if (!has_rows(entry.shape, there) || entry.shape[1] != value.size(1)) return false;
    const int64_t first = std::max(rows.begin, there.begin);
    const int64_t last = std::min(rows.begin + value.size(0), there.begin + entry.shape[0]);
    if (first >= last) continue;
    const at::Tensor piece = at::empty(entry.shape, entry.dtype);
    file->copy_into(name, piece);
    value.slice(0, first - rows.begin, last - rows.begin).copy_(piece.slice(0, first - there.begin, last - there.begin));
    filled += last - first;
  }
  return filled == value.size(0);
}

}  // namespace

std::string state_file(int rank) { return fmt::format("{}{:05}.safetensors", kFiles, rank); }
bool is_state_file(std::string_view name) { return name.starts_with(kFiles); }

NamedTensors own_state(const Optimizer& optimizer) {
  NamedTensors all;
  optimizer.state().visit([&](const std::string& name, const at::Tensor& value) {
    if (optimizer.owns(param_of(name))) all.emplace_back(name, value);
  });
  return all;
}

std::map<std::string, std::string> metadata_of_state(const Optimizer& optimizer) {
  Json rows = Json::object();
  for (const Param& param : optimizer.params())
    if (const auto own = optimizer.own_rows(param.name); own && own->end > 0) rows[param.name] = {own->begin, own->end};
  if (rows.empty()) return {};
  return {{kRows, rows.dump()}};
}

void load_optimizer(const fs::path& checkpoint, Optimizer& optimizer) {
  const SavedStates saved = open_state(checkpoint);
  std::set<std::string> unused;
  for (const auto& [name, one] : saved) unused.insert(name);
  for (const Param& param : optimizer.params())
    if (!optimizer.owns(param.name)) std::erase_if(unused, [&](const std::string& name) { return param_of(name) == param.name; });
  optimizer.state().visit([&](const std::string& name, const at::Tensor& value) {
    const auto found = saved.find(name);
    const Rows rows = optimizer.own_rows(param_of(name)).value_or(Rows{});
    bool fits = found != saved.end() && found->second.file->entries().at(name).dtype == value.scalar_type();
    if (fits && (rows.end > 0 || found->second.rows.end > 0))
      fits = load_rows(saved, name, rows, value);
    else if (fits)
      found->second.file->copy_into(name, value);
    if (!fits)
      throw user_error("'{}' holds no state '{}' of this type: the run was saved with other rules or state formats; "
                       "restore them, or keep only the weights with run.name=another run.init_from='{}'",
                       checkpoint.string(), name, checkpoint.string());
    unused.erase(name);
  });
  if (!unused.empty())
    throw user_error("'{}' holds state '{}' that no rule of this configuration uses: the run was saved with other rules or state "
                     "formats; restore them, or keep only the weights with run.name=another run.init_from='{}'",
                     checkpoint.string(), *unused.begin(), checkpoint.string());
}

}  // namespace tersor
