#include "core/train/run_folder.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

void flatten(const Json& json, const std::string& path, std::map<std::string, Json>& out) {
  if (!json.is_object()) {
    out[path] = json;
    return;
  }
  for (const auto& [key, value] : json.items()) flatten(value, path.empty() ? key : path + "." + key, out);
}

bool is_fixed(const std::string& option) {
  static const std::vector<std::string> fixed{"model.", "parameterization.", "data.sequence_length", "data.order",
                                              "train.global_batch_size", "run.seed", "run.dtype"};
  return std::any_of(fixed.begin(), fixed.end(), [&](const std::string& f) { return option.starts_with(f); });
}

bool is_free(const std::string& option) { return option.starts_with("run.") && !is_fixed(option); }

}  // namespace

RunFolder::RunFolder(const RunConfig& config, bool leads)
    : path_(config.folder()), checkpoints_(std::make_unique<CheckpointStore>(path_ / "checkpoints", config.checkpoint.keep)) {
  if (!leads) return;
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) throw user_error("run.out_dir: '{}' cannot be created: {}; choose another run.out_dir", path_.string(), error.message());
  lock_ = std::make_unique<FolderLock>(path_, "training", "choose another run.name");
  if (config.run.resume == Resume::kOverwrite) {
    const fs::path& start = config.run.init_from;
    if (!start.empty() && !fs::relative(fs::absolute(start), fs::absolute(path_)).string().starts_with(".."))
      throw user_error("run.init_from '{}' lies in the run that run.resume=overwrite would remove; choose another run.name",
                       start.string());
    for (const char* part : {"checkpoints", "tb", "metrics.jsonl", "config.yaml", "report.html"}) fs::remove_all(path_ / part);
  }
  fs::create_directories(path_ / "checkpoints");
  checkpoints_->remove_unfinished();
  if (config.run.resume == Resume::kNever && fs::exists(path_ / "metrics.jsonl"))
    throw user_error("'{}' holds a run already: go on with run.resume=auto, begin anew with run.resume=overwrite, or choose "
                     "another run.name",
                     path_.string());
}

std::vector<std::string> compare_configs(const Json& saved, const Json& current) {
  std::map<std::string, Json> before;
  std::map<std::string, Json> after;
  flatten(saved, "", before);
  flatten(current, "", after);
  for (const auto& [option, value] : before) after.emplace(option, nullptr);
  std::vector<std::string> changed;
  std::string refused;
  for (const auto& [option, value] : after) {
    const Json old = before.contains(option) ? before[option] : Json(nullptr);
    if (old == value || is_free(option)) continue;
    const std::string text = fmt::format("{}: {} → {}", option, old.dump(), value.dump());
    if (is_fixed(option)) refused += "\n  " + text;
    changed.push_back(text);
  }
  if (!refused.empty())
    throw user_error("the checkpoint is of another run; these options cannot change on the way:{}\nput them back, choose "
                     "another run.name, or begin anew with run.resume=overwrite",
                     refused);
  return changed;
}

}  // namespace tersor
