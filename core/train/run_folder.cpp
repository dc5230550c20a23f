#include "core/train/run_folder.h"

#include "core/report/run_records.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

// Collects options by path; items of lists of maps are addressed by index, as in overrides.
void flatten(const Json& json, const std::string& path, std::map<std::string, Json>& out) {
  const bool of_maps = json.is_array() && std::any_of(json.begin(), json.end(), [](const Json& item) { return item.is_object(); });
  if (!json.is_object() && !of_maps) {
    out[path] = json;
    return;
  }
  for (const auto& [key, value] : json.items()) flatten(value, path.empty() ? key : path + "." + key, out);
}

std::string text_of(const Json& value) { return value.is_null() ? "none" : value.dump(); }

bool is_fixed(const std::string& option) {
  static const std::vector<std::string> fixed{"model.", "parameterization.", "data.sequence_length", "data.order",
                                              "train.global_batch_size", "run.seed", "run.dtype"};
  return std::any_of(fixed.begin(), fixed.end(), [&](const std::string& f) { return option.starts_with(f); });
}

bool is_free(const std::string& option) { return option.starts_with("run.") && !is_fixed(option); }

void refuse_inside(const fs::path& run, std::string_view option, const fs::path& place) {
  if (!fs::relative(fs::absolute(place), fs::absolute(run)).string().starts_with(".."))
    throw user_error("{} '{}' lies in the run that run.resume=overwrite would remove; choose another run.name", option, place.string());
}

}  // namespace

RunFolder::RunFolder(const RunConfig& config, bool leads)
    : path_(config.folder()), checkpoints_(std::make_unique<CheckpointStore>(path_ / "checkpoints", config.checkpoint.keep)) {
  if (!leads) return;
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) throw user_error("run.out_dir: '{}' cannot be created: {}; choose another run.out_dir", path_.string(), error.message());
  lock_ = std::make_unique<FolderLock>(path_, "training", "choose another run.name");
  if (config.run.resume == Resume::kOverwrite) {
    if (!config.run.init_from.empty()) refuse_inside(path_, "run.init_from", config.run.init_from);
    if (config.distill)
      for (const fs::path& teacher : config.distill->from) refuse_inside(path_, "distill.from", teacher);
    for (const char* part : {"checkpoints", "tb", "profile", kMetricsFile, kOldMetricsFile, "config.yaml", "report.html"}) fs::remove_all(path_ / part);
  }
  fs::create_directories(path_ / "checkpoints");
  checkpoints_->remove_unfinished();
  if (config.run.resume == Resume::kNever && fs::exists(path_ / kMetricsFile))
    throw user_error("'{}' already holds a run: resume it with run.resume=auto, start over with run.resume=overwrite, or choose "
                     "another run.name",
                     path_.string());
}

std::vector<Difference> differences(const Json& before, const Json& after) {
  std::map<std::string, Json> old;
  std::map<std::string, Json> all;
  flatten(before, "", old);
  flatten(after, "", all);
  for (const auto& [option, value] : old) all.emplace(option, nullptr);
  std::vector<Difference> found;
  for (const auto& [option, value] : all) {
    const Json was = old.contains(option) ? old[option] : Json(nullptr);
    if (was != value) found.push_back({option, fmt::format("{}: {} → {}", option, text_of(was), text_of(value))});
  }
  return found;
}

std::vector<std::string> compare_configs(const Json& saved, const Json& current) {
  std::vector<std::string> changed;
  std::string refused;
  for (const Difference& one : differences(saved, current)) {
    if (is_free(one.option)) continue;
    if (is_fixed(one.option)) refused += "\n  " + one.text;
    changed.push_back(one.text);
  }
  if (!refused.empty())
    throw user_error("the checkpoint is of another run; these options cannot change during a run:{}\nrestore them, choose "
                     "another run.name, or start over with run.resume=overwrite",
                     refused);
  return changed;
}

}  // namespace tersor
