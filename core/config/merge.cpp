#include "core/config/merge.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

namespace tersor {
namespace {

using Path = std::filesystem::path;
using Kind = ConfigNode::Kind;

// The method that a choice names; empty if it names none.
std::string_view type_of(const ConfigNode& choice) {
  const ConfigNode* type = choice.find("type");
  return type != nullptr ? type->scalar : choice.scalar;
}

bool differs_in_type(const ConfigNode& a, const ConfigNode& b) {
  return !type_of(a).empty() && !type_of(b).empty() && type_of(a) != type_of(b);
}

class FileLoader {
 public:
  explicit FileLoader(Diagnostics& diagnostics) : diagnostics_(diagnostics) {}

  // Loads a file on top of everything it extends. `from` is the place that named it.
  ConfigNode load(const Path& file, const Mark& from) {
    ConfigNode result{.kind = Kind::kMap, .mark = from};
    const Path absolute = std::filesystem::weakly_canonical(file);
    if (std::find(open_.begin(), open_.end(), absolute) != open_.end()) {
      diagnostics_.add(from, "extends", fmt::format("'{}' extends itself", file.string()));
      return result;
    }
    std::ifstream stream(file);
    std::stringstream text;
    text << stream.rdbuf();  // an empty file is a valid configuration
    if (!std::filesystem::is_regular_file(file) || !stream.is_open()) {
      const std::string_view what = !std::filesystem::exists(file)        ? "does not exist"
                                    : std::filesystem::is_directory(file) ? "is a folder"
                                                                          : "cannot be read";
      const std::string why = fmt::format("configuration file '{}' {}", file.string(), what);
      diagnostics_.add(from, from.line > 0 ? "extends" : "", why);
      return result;
    }
    ConfigNode root = parse_config(text.str(), file.string(), diagnostics_);
    open_.push_back(absolute);
    for (const ConfigNode& parent : take_extends(root))
      merge(result, load(resolve(parent), parent.mark));
    open_.pop_back();
    result.mark = root.mark;
    merge(result, std::move(root));
    return result;
  }

 private:
  static Path resolve(const ConfigNode& name) {
    return (name.mark.folder() / name.scalar).lexically_normal().lexically_proximate(
        std::filesystem::current_path());
  }

  // Removes `extends` from the map and returns the files it names.
  std::vector<ConfigNode> take_extends(ConfigNode& root) {
    std::vector<ConfigNode> names;
    const auto entry = std::find_if(root.entries.begin(), root.entries.end(),
                                    [](const ConfigEntry& e) { return e.key == "extends"; });
    if (entry == root.entries.end()) return names;
    if (entry->value.kind == Kind::kScalar) names.push_back(entry->value);
    if (entry->value.kind == Kind::kSequence) names = entry->value.items;
    if (names.empty()) diagnostics_.add(entry->value, "extends: must be the name of a file or a list of names");
    for (const ConfigNode& name : names)
      if (name.kind != Kind::kScalar)
        diagnostics_.add(name, "must be the name of a file or a list of names");
    std::erase_if(names, [](const ConfigNode& n) { return n.kind != Kind::kScalar; });
    root.entries.erase(entry);
    return names;
  }

  Diagnostics& diagnostics_;
  std::vector<Path> open_;
};

// Sets the paths of `node` and everything below it, so that messages name the full path.
void set_paths(ConfigNode& node, const std::string& path) {
  node.path = path;
  for (size_t i = 0; i < node.items.size(); ++i)
    set_paths(node.items[i], fmt::format("{}[{}]", path, i));
  for (ConfigEntry& entry : node.entries) set_paths(entry.value, path + "." + entry.key);
}

void set_marks(ConfigNode& node, const Mark& mark) {
  node.mark = mark;
  for (ConfigNode& item : node.items) set_marks(item, mark);
  for (ConfigEntry& entry : node.entries) {
    entry.key_mark = mark;
    set_marks(entry.value, mark);
  }
}

// Puts one value at its path.
class Setting {
 public:
  Setting(const Mark& mark, const std::string& path, Diagnostics& diagnostics) : mark_(mark), whole_(path), diagnostics_(diagnostics) {}

  void apply(ConfigNode& root, ConfigNode value) { set(root, whole_, std::move(value)); }

 private:
  static std::pair<std::string, std::string> split(const std::string& path) {
    const size_t end = path.find_first_of(".[");
    if (end == std::string::npos) return {path, ""};
    std::string rest = path.substr(end + 1);
    if (path[end] == '[') rest.erase(std::remove(rest.begin(), rest.end(), ']'), rest.end());
    return {path.substr(0, end), rest};
  }

  void set(ConfigNode& node, const std::string& path, ConfigNode value) {
    const auto [key, rest] = split(path);
    ConfigNode* child = nullptr;
    if (node.kind == Kind::kSequence) {
      child = element(node, key);
      if (child == nullptr) return;
    } else {
      if (!key.empty() && key.find_first_not_of("0123456789") == std::string::npos) {
        diagnostics_.add(mark_, whole_, fmt::format("'{}' is not written in any file, so it has no element {}; give the whole list",
                                                   node.path, key));
        return;
      }
      if (node.kind != Kind::kMap) node = {.kind = Kind::kMap, .scalar = node.scalar, .mark = mark_, .path = node.path};
      child = node.find(key);
      if (child == nullptr) {
        const std::string child_path = node.path.empty() ? key : node.path + "." + key;
        node.entries.push_back({key, mark_, {.mark = mark_, .path = child_path}});
        child = &node.entries.back().value;
      }
    }
    if (!rest.empty()) return set(*child, rest, std::move(value));
    set_paths(value, child->path);
    // `rule=galore` replaces the method together with its options, as a scalar in a file would.
    if (value.kind == Kind::kMap) return merge(*child, std::move(value));
    *child = std::move(value);
  }

  ConfigNode* element(ConfigNode& list, const std::string& key) {
    size_t index = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
    const bool valid = error == std::errc() && end == key.data() + key.size();
    if (valid && index < list.items.size()) return &list.items[index];
    diagnostics_.add(mark_, whole_, fmt::format("'{}' has {} elements, numbered from 0; '{}' is not one of them",
                                               list.path, list.items.size(), key));
    return nullptr;
  }

  const Mark mark_;
  const std::string& whole_;
  Diagnostics& diagnostics_;
};

}  // namespace

std::optional<ConfigEntry> parse_override(const std::string& text, Diagnostics& diagnostics) {
  const Mark mark{.file = std::make_shared<const std::string>("command line")};
  const std::string_view rest = std::string_view(text).substr(std::min(text.find_first_not_of('-'), text.size()));
  const size_t equals = rest.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    diagnostics.add(mark, "", fmt::format("'{}' is not of the form section.option=value", text));
    return std::nullopt;
  }
  ConfigNode parsed = parse_config("value: " + std::string(rest.substr(equals + 1)), text, diagnostics);
  ConfigNode* value = parsed.find("value");
  if (value == nullptr) return std::nullopt;
  set_marks(*value, mark);
  return ConfigEntry{std::string(rest.substr(0, equals)), mark, std::move(*value)};
}

void set_option(ConfigNode& root, const std::string& path, ConfigNode value, Diagnostics& diagnostics) {
  const Mark mark = value.mark;
  Setting(mark, path, diagnostics).apply(root, std::move(value));
}

void merge(ConfigNode& base, ConfigNode over) {
  if (base.kind != Kind::kMap || over.kind != Kind::kMap || differs_in_type(base, over)) {
    if (base.kind == Kind::kScalar && over.kind == Kind::kMap) over.scalar = base.scalar;
    base = std::move(over);
    return;
  }
  for (ConfigEntry& entry : over.entries) {
    ConfigNode* below = base.find(entry.key);
    if (below == nullptr)
      base.entries.push_back(std::move(entry));
    else
      merge(*below, std::move(entry.value));
  }
}

ConfigNode load_config(const std::vector<std::filesystem::path>& files,
                       const std::vector<std::string>& overrides, Diagnostics& diagnostics) {
  ConfigNode root{.kind = Kind::kMap};
  root.mark.file = std::make_shared<const std::string>("command line");
  const Mark command_line = root.mark;
  FileLoader loader(diagnostics);
  for (const Path& file : files) {
    ConfigNode loaded = loader.load(file, command_line);
    root.mark = loaded.mark;
    merge(root, std::move(loaded));
  }
  for (const std::string& text : overrides)
    if (auto parsed = parse_override(text, diagnostics)) set_option(root, parsed->key, std::move(parsed->value), diagnostics);
  return root;
}

}  // namespace tersor
