#include "core/cli/config_words.h"

#include "core/config/node.h"
#include "core/config/plugin.h"

#include <fmt/ranges.h>

namespace tersor {
namespace {

std::vector<std::string> flags_of(const CLI::App& command) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  return flags;
}

}  // namespace

ConfigWords sort_words(const CLI::App& command, std::string_view example) {
  const std::vector<std::string> words = command.remaining();
  const std::vector<std::string> flags = flags_of(command);
  ConfigWords sorted;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.find('=') != std::string::npos) {
      sorted.overrides.push_back(word);
    } else if (word.starts_with("--") && word.find('.') != std::string::npos) {
      if (i + 1 == words.size()) throw user_error("{} needs a value", word);
      sorted.overrides.push_back(word + "=" + words[++i]);
    } else if (word.starts_with("-")) {
      throw user_error("unknown flag '{}'{} (flags: {}, and --section.option=value)", word, did_you_mean(word, flags),
                       fmt::join(flags, ", "));
    } else if (word.find('.') != std::string::npos && !std::filesystem::exists(word) && !word.ends_with("ml")) {
      const bool value_follows = i + 1 < words.size() && words[i + 1].find_first_of("=]") == std::string::npos;
      if (value_follows) throw user_error("'{}' is not a file; did you mean '{}={}'?", word, word, words[i + 1]);
      throw user_error("'{}' is not a file; write an option as 'section.option=value', without blanks or in quotation marks", word);
    } else {
      sorted.files.emplace_back(word);
    }
  }
  if (sorted.files.empty()) throw user_error("name at least one configuration file, for instance {}", example);
  return sorted;
}

void add_plugin_option(CLI::App* command) {
  command->add_option_function<std::vector<std::string>>("--plugin", [](const std::vector<std::string>& files) {
    for (const std::string& file : files)
      if (const std::string wrong = load_plugin(file); !wrong.empty()) throw UserError(wrong);
  }, "shared libraries with methods of your own")->allow_extra_args(false);
}

std::string quoted(const std::string& word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=,:%+@";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string inside;
  for (const char c : word) inside += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return "'" + inside + "'";
}

std::string quoted(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + quoted(word);
  return line;
}

}  // namespace tersor
