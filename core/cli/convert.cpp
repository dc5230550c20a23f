// export and import: to and from Hugging Face's format.
#include <set>

#include "core/base/files.h"
#include "core/base/log.h"
#include "core/cli/commands.h"
#include "core/cli/config_words.h"
#include "core/data/tokenizer.h"
#include "core/train/checkpoint.h"
#include "core/train/loaded_run.h"
#include "core/interop/hugging_face.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

struct ConvertArguments {
  fs::path from;
  fs::path to;
  std::string format = "hf";
  bool force = false;
  bool keep_factors = false;
};

// Whether readers of a model's folder would take the file for a part of the model.
bool is_of_a_model(const std::string& file) {
  static const std::set<std::string> files{"config.json", "generation_config.json", "model.yaml", "model.safetensors", "model.safetensors.index.json", Tokenizer::kFile,
                                           "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"};
  return files.contains(file) || is_shard_of_weights(file);
}

// Checks that the target may be written to. It is created only once there is something to write.
void check_output(const ConvertArguments& a) {
  if (!fs::exists(a.to)) return;
  if (!fs::is_directory(a.to)) throw user_error("'{}' is not a folder; choose another", a.to.string());
  if (fs::equivalent(a.from, a.to)) throw user_error("'{}' is both source and target; choose another folder", a.to.string());
  if (is_checkpoint(a.to)) throw user_error("'{}' is a checkpoint; choose another folder", a.to.string());
  for (const auto& entry : fs::directory_iterator(a.to))
    if (is_of_a_model(entry.path().filename().string()) && !a.force) throw user_error("'{}' exists; --force replaces it", entry.path().string());
}

// With --force, removes an earlier model's files: its weights must not lie beside another's tokenizer.
void create_output(const ConvertArguments& a) {
  std::error_code error;
  fs::create_directories(a.to, error);
  if (error) throw user_error("'{}' cannot be created: {}; choose another folder", a.to.string(), error.message());
  std::vector<fs::path> left;
  for (const auto& entry : fs::directory_iterator(a.to))
    if (is_of_a_model(entry.path().filename().string())) left.push_back(entry.path());
  for (const fs::path& file : left) fs::remove(file);
}

bool copy_tokenizer(const LoadedRun& run, const ConvertArguments& a) {
  const fs::path tokenizer = run.checkpoint / Tokenizer::kFile;
  if (!fs::exists(tokenizer)) return false;
  write_whole(a.to / Tokenizer::kFile, read_text(tokenizer));
  const Json config = hugging_face_tokenizer_config(Tokenizer(tokenizer), run.config.model.max_position_embeddings);
  write_whole(a.to / "tokenizer_config.json", config.dump(2) + "\n");
  return true;
}

// Writes the weights as the run stores them, with a configuration to continue from.
void export_factors(const LoadedRun& run, const ConvertArguments& a) {
  const Structure& structure = run.model->structure();
  check_output(a);
  create_output(a);
  NamedTensors tensors;
  for (const PackedPart& part : run.model->tensors()) tensors.emplace_back(part.name, part.value);
  write_safetensors(a.to / "model.safetensors", tensors, {{"format", "pt"}});
  RunConfig config;
  config.model = structure.model;
  config.parameterization.assign(structure.parameterizations.begin(), structure.parameterizations.end());
  const Json all = fields_to_json(config);
  const Json yaml = {{"model", all["model"]}, {"parameterization", all["parameterization"]}, {"run", {{"init_from", "."}}}};
  write_whole(a.to / "model.yaml", "# Exported with its factors; to use it, write in a run's file: extends: model.yaml\n" + to_yaml(yaml));
  copy_tokenizer(run, a);
  fmt::print("{}: step {}, {} parameters as they are stored\n", a.to.string(), run.step, run.model->num_parameters());
}

void export_run(const ConvertArguments& a) {
  const LoadedRun run = load_run(a.from, at::kCPU);
  if (a.keep_factors && !run.of_run) throw user_error("'{}' is dense already; leave out --keep-factors", a.from.string());
  if (a.keep_factors) return export_factors(run, a);
  check_output(a);
  create_output(a);
  const NamedTensors weights = dense_weights(*run.model);
  int64_t numbers = 0;
  for (const auto& [name, weight] : weights) numbers += weight.numel();
  write_safetensors(a.to / "model.safetensors", weights, {{"format", "pt"}});
  const bool tokenizer = copy_tokenizer(run, a);
  const TextTokens tokens = text_tokens_beside(run.checkpoint);
  write_whole(a.to / "config.json", hugging_face_config(run.config.model, run.config.run.scalar_type(), tokens).dump(2) + "\n");
  fmt::print("{}: step {}, {} parameters\n", a.to.string(), run.step, numbers);
  if (tokenizer) fmt::print("Transformers reads {} with the Python packages sentencepiece and protobuf\n", Tokenizer::kFile);
}

// Writes what goes with imported weights: the result is a Hugging Face folder from which a run can also start.
void write_around(const ConvertArguments& a, ModelConfig config, const TextTokens& tokens) {
  if (fs::exists(a.from / "tokenizer.json") && !fs::exists(a.from / Tokenizer::kFile))
    log().warn("'{}' is not imported: only SentencePiece models (tokenizer.model) are", (a.from / "tokenizer.json").string());
  if (fs::exists(a.from / Tokenizer::kFile)) write_whole(a.to / Tokenizer::kFile, read_text(a.from / Tokenizer::kFile));
  write_whole(a.to / "config.json", hugging_face_config(config, at::kFloat, tokens).dump(2) + "\n");
  const Json yaml = {{"model", fields_to_json(config)}, {"run", {{"init_from", "."}}}};
  write_whole(a.to / "model.yaml", "# Imported; to use it, write in a run's file: extends: model.yaml\n" + to_yaml(yaml));
}

void import_model(const ConvertArguments& a) {
  if (!fs::is_directory(a.from)) throw user_error("'{}' is not a folder with config.json and model.safetensors", a.from.string());
  if (is_checkpoint(a.from) && !fs::exists(a.from / "config.json"))
    throw user_error("'{}' is a checkpoint whose weights are not dense; make them dense with tersor export", a.from.string());
  ModelConfig config = read_hugging_face_config(a.from);
  const TextTokens tokens = read_text_tokens(a.from);
  warn_of_what_is_left_out(a.from);
  check_output(a);
  // Loading checks that every tensor is there and fits.
  const ParameterizationConfig dense;
  Llama model(config, dense, at::TensorOptions(at::kFloat), 0);
  load_weights(a.from, model);
  const NamedTensors weights = dense_weights(model);
  check_finite(weights, a.from);
  create_output(a);
  write_safetensors(a.to / "model.safetensors", weights, {{"format", "pt"}});
  write_around(a, config, tokens);
  fmt::print("{}: {} parameters\ntrain it with: tersor train {} YOUR.yaml\n", a.to.string(), model.num_parameters(),
             (a.to / "model.yaml").string());
}

std::pair<CLI::App*, std::shared_ptr<ConvertArguments>> add(CLI::App& app, const char* name, const char* what, void (*run)(const ConvertArguments&)) {
  auto arguments = std::make_shared<ConvertArguments>();
  CLI::App* command = app.add_subcommand(name, what);
  command->add_option("from", arguments->from, "what to read")->required();
  command->add_option("to", arguments->to, "folder to write")->required();
  command->add_option("--format", arguments->format, "hf: config.json and model.safetensors")->check(CLI::IsMember({"hf"}))->capture_default_str();
  command->add_flag("--force", arguments->force, "replace existing files");
  command->callback([arguments, run] { run(*arguments); });
  return {command, arguments};
}

}  // namespace

void add_export_command(CLI::App& app) {
  auto [command, arguments] = add(app, "export", "write the dense model of a run for Hugging Face Transformers", &export_run);
  add_plugin_option(command);
  command->add_flag("--keep-factors", arguments->keep_factors, "weights as they are stored, for tersor itself, with a model.yaml to continue from");
}
void add_import_command(CLI::App& app) {
  add(app, "import", "import a LLaMA model from a Hugging Face folder, to train it", &import_model);
}

}  // namespace tersor
