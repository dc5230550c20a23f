#include <cmath>

#include "core/cli/commands.h"
#include "core/cli/loaded_run.h"
#include "core/train/evaluate.h"

namespace tersor {
namespace {

struct EvalArguments {
  std::filesystem::path run;
  std::filesystem::path data;
  int64_t tokens = 0;
};

void eval(const EvalArguments& arguments) {
  LoadedRun run = load_run(arguments.run);
  const RunConfig& c = run.config;
  std::vector<ValidationPart> parts;
  if (arguments.data.empty()) {
    parts = validation_parts(c);
  } else {
    const SourceInfo info{.sequence_length = c.data.sequence_length, .vocab_size = c.model.vocab_size, .split = "validation",
                          .seed = static_cast<uint64_t>(c.run.seed)};
    Diagnostics diagnostics;
    Choice<token_sources> source("shards");
    source.read(parse_config(to_yaml({{"path", std::filesystem::absolute(arguments.data).string()}}), "--data", diagnostics), diagnostics);
    diagnostics.throw_if_any();
    parts.push_back({arguments.data.string(), 1, source.build(info)});
  }
  const EvalReport report = evaluate(*run.model, parts, arguments.tokens > 0 ? arguments.tokens : c.evaluation.tokens, c);
  fmt::print("step {} | validation loss {:.6f} | ppl {:.4f} | ppl_legacy {:.4f} | {} tokens\n", run.step, report.loss, report.ppl,
             report.ppl_legacy, report.tokens);
  for (const auto& [name, loss] : report.losses) fmt::print("  {}: loss {:.6f} | ppl {:.4f}\n", name, loss, std::exp(loss));
}

}  // namespace

void add_eval_command(CLI::App& app) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command = app.add_subcommand("eval", "validation loss and perplexity of a run or a checkpoint");
  command->add_option("run", arguments->run, "folder of a run or of a checkpoint")->required();
  command->add_option("--data", arguments->data, "other token shards than those of the run");
  command->add_option("--tokens", arguments->tokens, "how many tokens; as the run says when absent")->check(CLI::PositiveNumber);
  command->callback([arguments] { eval(*arguments); });
}

}  // namespace tersor
