#include "core/base/log.h"
#include "core/cli/commands.h"
#include "core/cli/config_words.h"
#include "core/train/prepare.h"
#include "core/train/trainer.h"

namespace tersor {
namespace {

struct TrainArguments {
  std::vector<std::string> words;
  bool dry_run = false;
};

// As a shell reads it back.
std::string quoted(const std::string& word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=,:%+@";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string inside;
  for (const char c : word) inside += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return "'" + inside + "'";
}

int train(const std::string& program, const TrainArguments& arguments) {
  const auto [files, overrides] = sort_words(arguments.words, {"--dry-run", "--help"});
  const RunConfig config = read_run_config(files, overrides);
  if (arguments.dry_run) {
    validate(config);  // as the trainer does
    RunConfig copy = config;
    fmt::print("{}", to_yaml(fields_to_json(copy)));
    return kExitDone;
  }
  Trainer trainer(config);
  const int code = trainer.run();
  if (code == kExitStopped) {
    // All options, from wherever it is typed.
    fmt::print("go on with: {} train {} run.resume=auto\n", quoted(program), quoted((config.folder() / "config.yaml").string()));
  }
  return code;
}

}  // namespace

void add_train_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<TrainArguments>();
  CLI::App* command = app.add_subcommand("train", "train as YAML files say: later files, then section.option=value, win");
  command->add_flag("--dry-run", arguments->dry_run, "check the configuration, print it with every default, and stop");
  command->allow_extras();
  command->footer("tersor train configs/run/quickstart.yaml optimizer.lr=0.003 run.resume=auto");
  command->callback([command, arguments, &exit_code] {
    arguments->words = command->remaining();
    exit_code = train(command->get_parent()->get_name(), *arguments);
  });
}

}  // namespace tersor
