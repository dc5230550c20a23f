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
    } else if (word.starts_with("--") && word.find('.') != std::string::npos) {
      if (i + 1 == words.size()) throw user_error("{} needs a value", word);
      sorted.overrides.push_back(word + "=" + words[++i]);
    } else if (word.starts_with("-")) {
      throw user_error("unknown flag '{}'{} (flags: --dry-run, --help, and --section.option=value)", word,
                       did_you_mean(word, {"--dry-run", "--help"}));
    } else if (word.find('.') != std::string::npos && i + 1 < words.size() && !std::filesystem::exists(word) && !word.ends_with("ml")) {
      throw user_error("'{}' is no file; did you mean '{}={}'?", word, word, words[i + 1]);
    } else {
      sorted.files.emplace_back(word);
    }
  }
  return sorted;
}

// As a shell reads it back.
std::string quoted(const std::string& word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=,:%+@";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string inside;
  for (const char c : word) inside += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return "'" + inside + "'";
}

int train(const std::string& program, const TrainArguments& arguments) {
  const auto [files, overrides] = sort_words(arguments.words);
  if (files.empty()) throw user_error("name at least one configuration file, for instance configs/run/quickstart.yaml");
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
