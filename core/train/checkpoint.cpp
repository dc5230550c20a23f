#include "core/train/checkpoint.h"

#include "core/base/files.h"
#include "core/base/log.h"
#include "core/config/plugin.h"
#include "core/data/tokenizer.h"
#include "core/interop/hugging_face.h"
#include "core/train/state_files.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
constexpr int kFormat = 2;
constexpr const char* kCommitted = "COMMITTED";
constexpr const char* kUnfinished = ".unfinished";
constexpr const char* kDamaged = ".damaged";

}  // namespace

bool is_checkpoint(const fs::path& folder) { return fs::exists(folder / kCommitted); }

namespace {

// Writes the files of one checkpoint and records their manifest entries.
class CheckpointWriter {
 public:
  explicit CheckpointWriter(fs::path folder) : folder_(std::move(folder)) {}

  void tensors(const std::string& file, const NamedTensors& values, const std::map<std::string, std::string>& metadata = {}) {
    note(file, write_safetensors(folder_ / file, values, metadata));
  }
  void text(const std::string& file, const std::string& content) {
    write_whole(folder_ / file, content);
    note(file, sha256_of_text(content));
  }
  // Merges the entries of all processes.
  void collect(Communicator& comm) {
    for (const std::string& files : comm.gather(files_.dump())) files_.update(Json::parse(files));
  }
  void commit() {
    const Json manifest = {{"format", kFormat}, {"files", files_}};
    write_whole(folder_ / "manifest.json", manifest.dump(2) + "\n");
    write_whole(folder_ / kCommitted, "");
    sync_to_disk(folder_);
  }

 private:
  void note(const std::string& file, const std::string& sum) {
    files_[file] = {{"bytes", fs::file_size(folder_ / file)}, {"sha256", sum}};
  }
  fs::path folder_;
  Json files_ = Json::object();
};

void remove_checkpoint(const fs::path& folder) {
  fs::remove(folder / kCommitted);  // first, so that a crash leaves nothing that looks complete
  fs::remove_all(folder);
}

}  // namespace

void CheckpointStore::remove_unfinished() {
  fs::create_directories(folder_);
  std::vector<fs::path> unfinished;
  for (const auto& entry : fs::directory_iterator(folder_))
    if (entry.is_directory() && entry.path().filename().string().starts_with("step-") &&
        (entry.path().extension() == kUnfinished || (entry.path().extension().empty() && !is_checkpoint(entry.path()))))
      unfinished.push_back(entry.path());
  for (const fs::path& checkpoint : unfinished) {
    const fs::path target = fs::path(checkpoint).replace_extension();
    if (is_checkpoint(checkpoint) && !is_checkpoint(target)) {  // complete, only not renamed yet
      fs::remove_all(target);
      fs::rename(checkpoint, target);
    } else {
      fs::remove_all(checkpoint);
    }
  }
}

namespace {

// The first process writes the weights. If they are scattered, each writes its own, in files named like those of a large model on
// Hugging Face.
void write_weights(const CheckpointContent& content, Communicator& comm, CheckpointWriter& writer) {
  const bool scattered = content.model.keeper() != nullptr;
  const bool leads = comm.rank() == 0;
  if (!leads && !scattered) return;
  NamedTensors weights;
  if (leads)
    for (const PackedPart& part : content.model.tensors())
      if (is_here(part.value)) weights.emplace_back(part.name, part.value);
  for (int64_t block = 0; !leads && block < content.model.config().num_hidden_layers; ++block)
    for (const PackedPart& part : content.model.tensors_of_block(block))
      if (is_here(part.value) && rests_at_owner(part.value)) weights.emplace_back(part.name, part.value);
  if (!scattered) return writer.tensors("model.safetensors", weights);
  const std::string file = fmt::format("model-{:05}-of-{:05}.safetensors", comm.rank() + 1, comm.size());
  writer.tensors(file, weights);
  Json map = Json::object();
  for (const auto& [name, value] : weights) map[name] = file;
  for (const std::string& others : comm.gather(map.dump())) map.update(Json::parse(others));
  int64_t bytes = 0;
  for (const PackedPart& part : content.model.tensors()) bytes += static_cast<int64_t>(part.value.nbytes());
  if (leads) writer.text("model.safetensors.index.json", Json{{"metadata", {{"total_size", bytes}}}, {"weight_map", map}}.dump(2) + "\n");
}

// Writes everything besides weights and state; called by the first process only.
void write_rest(const CheckpointContent& content, CheckpointWriter& writer) {
  RunPosition at = content.position;
  Structure structure = content.model.structure();
  Json trainer = {{"step", at.step},
                        {"samples", at.samples},
                        {"tokens", at.tokens},
                        {"flops", at.flops},
                        {"drawn", at.drawn},
                        {"settings", fields_to_json(at.settings)},
                        {"structure", fields_to_json(structure)},
                        {"frozen", content.optimizer.frozen()},
                        {"tokens_of_sources", content.tokens},
                        {"text_tokens", text_tokens_json(content.tokenizer.ids)},
                        {"plugins", loaded_plugins()},
                        {"config", content.config}};
  if (at.acted) trainer["acted"] = *at.acted;
  writer.text("trainer.json", trainer.dump(2) + "\n");
  const at::ScalarType type = content.model.params().front().value.scalar_type();
  if (is_dense(content.model)) writer.text("config.json", hugging_face_config(content.model.config(), type, content.tokenizer.ids).dump(2) + "\n");
  if (!content.tokenizer.model.empty()) writer.text(Tokenizer::kFile, content.tokenizer.model);
}

// Writes all files; the last one commits the checkpoint.
void write_files(const CheckpointContent& content, const fs::path& work) {
  Communicator& comm = content.optimizer.comm();
  CheckpointWriter writer(work);
  writer.tensors(state_file(comm.rank()), own_state(content.optimizer), metadata_of_state(content.optimizer));
  write_weights(content, comm, writer);
  if (comm.rank() == 0) write_rest(content, writer);
  writer.collect(comm);
  if (comm.rank() == 0) writer.commit();
}

}  // namespace

fs::path CheckpointStore::save(const CheckpointContent& content) {
  Communicator& comm = content.optimizer.comm();
  const bool leads = comm.rank() == 0;
  const std::string name = fmt::format("step-{:08}", content.position.step);
  const fs::path target = folder_ / name;
  const fs::path work = folder_ / (name + kUnfinished);
  const bool there = leads && is_checkpoint(target);
  if (leads && !there) {
    fs::remove_all(work);
    fs::create_directories(work);
  }
  if (comm.gather(there ? "there" : "")[0] == "there") return target;
  try {
    write_files(content, work);
  } catch (const LostProcess&) {
    throw;
  } catch (...) {
    if (comm.alone()) fs::remove_all(work);  // do not leave a full disk full
    throw;
  }
  if (leads) {
    fs::remove_all(target);
    fs::rename(work, target);
    sync_to_disk(folder_);
    write_whole(folder_ / "latest", name + "\n");
    const std::vector<fs::path> saved = all();
    for (size_t i = 0; i + static_cast<size_t>(keep_) < saved.size(); ++i) remove_checkpoint(saved[i]);
  }
  (void)comm.gather("");  // no process continues before it is complete
  return target;
}

std::vector<fs::path> CheckpointStore::all() const {
  std::vector<fs::path> saved;
  if (!fs::exists(folder_)) return saved;
  for (const auto& entry : fs::directory_iterator(folder_))
    if (entry.is_directory() && entry.path().filename().string().starts_with("step-") && entry.path().extension().empty() && is_checkpoint(entry.path()))
      saved.push_back(entry.path());
  std::sort(saved.begin(), saved.end());
  return saved;
}

// Names sort by step. The file `latest` is for people and scripts, and may be one save behind after a crash.
std::optional<fs::path> CheckpointStore::latest() const {
  const std::vector<fs::path> saved = all();
  return saved.empty() ? std::nullopt : std::optional(saved.back());
}

fs::path newest_of(const fs::path& place) {
  if (!fs::is_directory(place / "checkpoints")) return place;
  constexpr int64_t kAll = 1'000'000;
  const auto latest = CheckpointStore(place / "checkpoints", kAll).latest();
  if (!latest) throw user_error("'{}' has no checkpoint yet", place.string());
  return *latest;
}

namespace {

// Describes the first missing or damaged file, if any. Throws UserError if the format is that of another version of tersor.
std::optional<std::string> damage(const fs::path& checkpoint, Summed which) {
  if (!fs::exists(checkpoint / "manifest.json")) return fmt::format("'{}' is missing", (checkpoint / "manifest.json").string());
  try {
    const Json manifest = Json::parse(read_text(checkpoint / "manifest.json"));
    const Json& format = manifest.at("format");
    if (format.is_number() && format != kFormat)
      throw user_error("'{}' has format {}, but this version of tersor reads format {}; continue with the version that wrote it", checkpoint.string(), format.dump(), kFormat);
    for (const auto& [name, entry] : manifest.at("files").items()) {
      const fs::path file = checkpoint / name;
      if (!fs::exists(file)) return fmt::format("'{}' is missing", file.string());
      const bool summed = which == Summed::kAll || (which == Summed::kWeights && !is_state_file(name));
      if (fs::file_size(file) != entry.at("bytes").get<uintmax_t>() || (summed && sha256_of_file(file) != entry.at("sha256").get<std::string>()))
        return fmt::format("'{}' is damaged: it is not what was saved", file.string());
    }
  } catch (const nlohmann::json::exception&) {
    return fmt::format("'{}' is damaged", (checkpoint / "manifest.json").string());
  }
  return std::nullopt;
}

}  // namespace

void check_checkpoint(const fs::path& checkpoint, Summed which) {
  if (const auto wrong = damage(checkpoint, which)) throw user_error("{}; remove '{}' to use the checkpoint before it", *wrong, checkpoint.string());
}

std::optional<fs::path> CheckpointStore::take_latest_whole() {
  std::vector<fs::path> saved = all();
  if (saved.empty()) return std::nullopt;
  std::vector<std::pair<fs::path, std::string>> damaged;
  while (!saved.empty()) {
    const auto wrong = damage(saved.back(), Summed::kAll);
    if (!wrong) break;
    damaged.emplace_back(saved.back(), *wrong);
    saved.pop_back();
  }
  if (saved.empty())
    throw user_error("{}; no checkpoint in '{}' is intact: start over with run.resume=overwrite, or restore a copy", damaged.front().second, folder_.string());
  for (const auto& [checkpoint, wrong] : damaged) {
    const fs::path aside = checkpoint.string() + kDamaged;
    log().warn("{}; that checkpoint is set aside as '{}', which may be deleted, and the run resumes from the one before it", wrong, aside.string());
    fs::remove_all(aside);
    fs::rename(checkpoint, aside);
  }
  if (!damaged.empty()) write_whole(folder_ / "latest", saved.back().filename().string() + "\n");
  return saved.back();
}

Json read_trainer(const fs::path& checkpoint) {
  const fs::path file = checkpoint / "trainer.json";
  Json trainer = Json::parse(read_text(file), nullptr, false);
  if (!trainer.is_object()) throw user_error("'{}' is damaged: it is not JSON; remove '{}' to use the checkpoint before it", file.string(), checkpoint.string());
  return trainer;
}

void load_plugins_of(const fs::path& checkpoint) {
  const fs::path file = checkpoint / "trainer.json";
  const Json trainer = fs::exists(file) ? Json::parse(read_text(file), nullptr, false) : Json();
  if (!trainer.is_object() || !trainer.contains("config")) return;  // damaged: whoever opens it reports that
  const auto loaded_already = [](const fs::path& plugin) {  // from where it is now
    return std::any_of(loaded_plugins().begin(), loaded_plugins().end(), [&](const auto& one) { return fs::path(one.first).filename() == plugin.filename(); });
  };
  for (const Json& named : trainer["config"].value("plugins", Json::array())) {
    const fs::path plugin = named.get<std::string>();
    if (loaded_already(plugin)) continue;
    if (const std::string wrong = load_plugin(plugin); !wrong.empty()) log().warn("plugin {}; continuing without it; --plugin names it in another place", wrong);
  }
}

TrainerState open_checkpoint(const fs::path& checkpoint, Summed which) {
  if (!is_checkpoint(checkpoint)) throw user_error("'{}' is neither the folder of a run nor a complete checkpoint", checkpoint.string());
  check_checkpoint(checkpoint, which);
  const Json trainer = read_trainer(checkpoint);
  TrainerState state{.position = {.step = trainer.at("step"), .samples = trainer.at("samples"), .tokens = trainer.at("tokens"), .flops = trainer.at("flops"),
                                  .drawn = trainer.at("drawn")},
                     .config = trainer.at("config"), .frozen = trainer.at("frozen"),
                     .tokens = trainer.value("tokens_of_sources", std::vector<std::string>{}),
                     .plugins = trainer.value("plugins", std::map<std::string, std::string>{})};
  if (trainer.contains("acted")) state.position.acted = trainer["acted"].get<std::map<std::string, int64_t>>();
  Diagnostics diagnostics;
  const std::string name = (checkpoint / "trainer.json").string();
  read_fields(state.position.settings, parse_config(to_yaml(trainer.at("settings")), name, diagnostics), diagnostics);
  read_fields(state.structure, parse_config(to_yaml(trainer.at("structure")), name, diagnostics), diagnostics);
  diagnostics.throw_if_any();
  return state;
}

}  // namespace tersor
