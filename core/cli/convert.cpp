// export and import: Hugging Face's format, both ways.
#include "core/base/files.h"
#include "core/cli/commands.h"
#include "core/cli/loaded_run.h"
#include "core/interop/hugging_face.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

struct ConvertArguments {
  fs::path from;
  fs::path to;
  std::string format = "hf";
  bool force = false;
};

void create_output(const ConvertArguments& a, const char* file) {
  if (fs::exists(a.to / file) && !a.force) throw user_error("'{}' exists; --force replaces it", (a.to / file).string());
  fs::create_directories(a.to);
}

void export_run(const ConvertArguments& a) {
  const LoadedRun run = load_run(a.from);
  create_output(a, "model.safetensors");
  const std::string dtype = run.config.run.dtype == Dtype::kBf16 ? "bfloat16" : "float32";
  write_safetensors(a.to / "model.safetensors", dense_weights(*run.model), {{"format", "pt"}});
  write_whole(a.to / "config.json", hugging_face_config(run.config.model, dtype).dump(2) + "\n");
  if (fs::exists(run.checkpoint / "tokenizer.model"))
    write_whole(a.to / "tokenizer.model", read_text(run.checkpoint / "tokenizer.model"));
  fmt::print("{}: step {}, {} parameters\n", a.to.string(), run.step, run.model->num_parameters());
}

void import_model(const ConvertArguments& a) {
  ModelConfig config = read_hugging_face_config(a.from);
  Diagnostics diagnostics;
  config.check(ConfigNode{}, diagnostics);
  diagnostics.throw_if_any();
  create_output(a, "model.yaml");
  // Loading is the check that every tensor is there and fits.
  const ParameterizationConfig dense;
  const Llama model(config, dense, at::TensorOptions(at::kFloat), 0);
  load_weights(a.from, model.params());
  write_safetensors(a.to / "model.safetensors", dense_weights(model), {{"format", "pt"}});
  if (fs::exists(a.from / "tokenizer.model")) write_whole(a.to / "tokenizer.model", read_text(a.from / "tokenizer.model"));
  const Json yaml = {{"model", fields_to_json(config)}, {"run", {{"init_from", "."}}}};
  write_whole(a.to / "model.yaml", "# Imported; in a run's file: extends: model.yaml\n" + to_yaml(yaml));
  fmt::print("{}: {} parameters\ntrain it with: tersor train {} YOUR.yaml\n", a.to.string(), model.num_parameters(),
             (a.to / "model.yaml").string());
}

CLI::App* add(CLI::App& app, const char* name, const char* what, void (*run)(const ConvertArguments&)) {
  auto arguments = std::make_shared<ConvertArguments>();
  CLI::App* command = app.add_subcommand(name, what);
  command->add_option("from", arguments->from, "what to read")->required();
  command->add_option("to", arguments->to, "folder to write")->required();
  command->add_option("--format", arguments->format, "hf: config.json and model.safetensors")->check(CLI::IsMember({"hf"}))->capture_default_str();
  command->add_flag("--force", arguments->force, "replace what is there");
  command->callback([arguments, run] { run(*arguments); });
  return command;
}

}  // namespace

void add_export_command(CLI::App& app) {
  add(app, "export", "write the dense model of a run for Hugging Face Transformers", &export_run);
}
void add_import_command(CLI::App& app) {
  add(app, "import", "take over a LLaMA model from a Hugging Face folder, to train it", &import_model);
}

}  // namespace tersor
