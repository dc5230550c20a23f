#include "core/base/log.h"
#include "core/cli/commands.h"
#include "core/train/trainer.h"

namespace tersor {
namespace {

struct TrainArguments {
  std::vector<std::string> words;
  bool dry_run = false;
};

struct Sorted {
  std::vector<std::filesystem::path> files;
  std::vector<std::string> overrides;
};

// Files and overrides as they come: a.yaml optimizer.lr=0.003 --optimizer.lr=0.003 --optimizer.lr 0.003
Sorted sort_words(const std::vector<std::string>& words) {
  Sorted sorted;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.find('=') != std::string::npos) {
      sorted.overrides.push_back(word);
    } else if (word.starts_with("--")) {
      if (i + 1 == words.size()) throw user_error("{} needs a value", word);
      sorted.overrides.push_back(word + "=" + words[++i]);
    } else {
      sorted.files.emplace_back(word);
    }
  }
  return sorted;
}

int train(const TrainArguments& arguments) {
  const auto [files, overrides] = sort_words(arguments.words);
  if (files.empty()) throw user_error("name at least one configuration file, for instance configs/run/quickstart.yaml");
  const RunConfig config = read_run_config(files, overrides);
  if (arguments.dry_run) {
    RunConfig copy = config;
    fmt::print("{}", to_yaml(fields_to_json(copy)));
    return kExitDone;
  }
  Trainer trainer(config);
  const int code = trainer.run();
  if (code == kExitStopped) {
    std::string command = "tersor train";
    for (const std::string& word : arguments.words)
      if (word.find("run.resume") == std::string::npos) command += " " + word;
    fmt::print("go on with: {} run.resume=auto\n", command);
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
    exit_code = train(*arguments);
  });
}

}  // namespace tersor
