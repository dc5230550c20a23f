#include <cmath>

#include "core/base/files.h"
#include "core/cli/commands.h"
#include "core/cli/config_words.h"
#include "core/train/evaluate.h"
#include "core/train/loaded_run.h"
#include "core/train/prepare.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

struct EvalArguments {
  std::vector<fs::path> runs;
  fs::path data;
  int64_t tokens = 0;
  bool ensemble = false;
};

// Refuses tokens of another tokenizer, which would mean something else to the model.
void check_tokenizer_of(const ValidationPart& part, const LoadedRun& run) {
  const std::string own = run.tokenizer_sum();
  const fs::path theirs = part.source->tokenizer();
  if (own.empty() || theirs.empty() || !fs::exists(theirs) || sha256_of_file(theirs) == own) return;
  throw user_error("'{}' is not the tokenizer of '{}': its tokens mean something else to this model; tokenize the text with --tokenizer {}",
                   theirs.string(), run.checkpoint.string(), run.tokenizer().string());
}

// `--data`, or the data that the run was validated on.
std::vector<ValidationPart> parts_of(const EvalArguments& arguments, const RunConfig& c) {
  if (arguments.data.empty()) return validation_parts(c);
  Diagnostics diagnostics;
  Choice<token_sources> source("shards");
  source.read(parse_config(to_yaml({{"path", fs::absolute(arguments.data).string()}}), "--data", diagnostics), diagnostics);
  diagnostics.throw_if_any();
  std::vector<ValidationPart> parts;
  parts.push_back({arguments.data.string(), 1, build_source(source, arguments.data.string(), source_info(c, "validation"))});
  return parts;
}

std::vector<ValidationPart> checked_parts_of(const EvalArguments& arguments, const LoadedRun& run) {
  if (!run.of_run && arguments.data.empty())
    throw user_error("'{}' is not a run, so its validation data is unknown; name token shards with --data", run.checkpoint.string());
  std::vector<ValidationPart> parts = parts_of(arguments, run.config);
  for (const ValidationPart& part : parts) check_tokenizer_of(part, run);
  return parts;
}

EvalReport measure(const EvalArguments& arguments, const LossSum& loss, const std::vector<ValidationPart>& parts, const RunConfig& c) {
  return evaluate(loss, parts, arguments.tokens > 0 ? arguments.tokens : c.evaluation.tokens, c);
}

void print(const std::string& name, const EvalReport& report) {
  fmt::print("{} | validation loss {:.6f} | ppl {:.4f} | ppl_legacy {:.4f} | {} tokens\n", name, report.loss, report.ppl, report.ppl_legacy,
             report.tokens);
  for (const auto& [source, loss] : report.losses) fmt::print("  {}: loss {:.6f} | ppl {:.4f}\n", source, loss, std::exp(loss));
}

// Checks that both models give probabilities of the same tokens in the same contexts.
void check_alike(const LoadedRun& first, const LoadedRun& other) {
  const std::string what = first.difference(other);
  if (!what.empty())
    throw user_error("--ensemble: '{}' and '{}' {}; the mean of their probabilities has no meaning", first.checkpoint.string(),
                     other.checkpoint.string(), what);
}

// Measures all of them on the validation data of the first.
void eval_ensemble(const EvalArguments& arguments) {
  std::vector<std::shared_ptr<Llama>> models;
  std::optional<LoadedRun> first;
  for (const fs::path& place : arguments.runs) {
    LoadedRun run = load_run(place, best_device());
    if (first) check_alike(*first, run);
    models.push_back(run.model);
    if (!first) first = std::move(run);
  }
  const RunConfig& c = first->config;
  const std::vector<ValidationPart> parts = checked_parts_of(arguments, *first);
  for (size_t i = 0; i < models.size(); ++i)
    print(arguments.runs[i].string(), measure(arguments, loss_of(*models[i], c.train.loss_chunk), parts, c));
  print(fmt::format("ensemble of {}", models.size()), measure(arguments, loss_of_ensemble(models, c.train.loss_chunk), parts, c));
}

void eval(const EvalArguments& arguments) {
  if (arguments.ensemble) return eval_ensemble(arguments);
  for (const fs::path& place : arguments.runs) {
    const LoadedRun run = load_run(place, best_device());
    const RunConfig& c = run.config;
    const EvalReport report = measure(arguments, loss_of(*run.model, c.train.loss_chunk), checked_parts_of(arguments, run), c);
    const std::string step = run.of_run ? fmt::format("step {}", run.step) : fmt::format("windows of {} tokens", c.data.sequence_length);
    print(arguments.runs.size() > 1 ? fmt::format("{}, {}", place.string(), step) : step, report);
  }
}

}  // namespace

void add_eval_command(CLI::App& app) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command = app.add_subcommand("eval", "validation loss and perplexity of runs, checkpoints or Hugging Face folders");
  command->add_option("runs", arguments->runs, "folders of runs, of checkpoints, or of Hugging Face's format")->required();
  command->add_option("--data", arguments->data, "token shards to use instead of the run's; required for folders that are not runs");
  command->add_option("--tokens", arguments->tokens, "how many tokens; the run's own number when absent")->check(above_zero());
  command->add_flag("--ensemble", arguments->ensemble, "also the mean of all runs' probabilities, on the validation data of the first");
  add_plugin_option(command);
  command->callback([arguments] { eval(*arguments); });
}

}  // namespace tersor
