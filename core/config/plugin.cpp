#include "core/config/plugin.h"

#include <dlfcn.h>

#include <set>

#include "core/base/files.h"
#include "core/config/registry.h"

namespace tersor {
namespace {

std::string last_error() {
  const char* text = dlerror();
  return text != nullptr ? text : "unknown error";
}

std::map<std::string, std::string> loaded;

// What a plugin was built for; empty if the file is not a plugin.
std::string_view built_for(const MappedFile& file) {
  const std::string_view bytes(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  const std::string_view ours = TERSOR_BUILT_FOR;
  const size_t place = bytes.find(ours.substr(0, ours.find(TERSOR_INTERFACE)));
  return place == std::string_view::npos ? "" : bytes.substr(place, bytes.find('\0', place) - place);
}

std::set<std::pair<std::string, std::string>> known_methods() {
  std::set<std::pair<std::string, std::string>> known;
  for (const auto& [axis, registry] : all_registries())
    for (const std::string& name : registry->names()) known.emplace(axis, name);
  return known;
}

// What is wrong with an option of a method, if anything: the config.yaml of its runs could not be read back.
std::string wrong_option(const Option& option, std::set<std::string>& names) {
  if (option.name.empty() || option.name == "type") return fmt::format("an option cannot be called '{}'", option.name);
  if (!names.insert(option.name).second) return fmt::format("two options are called '{}'", option.name);
  const Json value = option.is_required ? Json() : option.to_json();
  if (value.is_null()) return "";
  Diagnostics out;
  const ConfigNode node = parse_config(to_yaml({{option.name, value}}), "default", out);
  if (const ConfigNode* written = node.find(option.name)) option.read(*written, out);
  return out.empty() ? "" : fmt::format("the default of option '{}' cannot be read back: {}", option.name, out.text());
}

// What is wrong with the first faulty method that is not in `before`; empty if all are sound.
std::string wrong_methods(const std::set<std::pair<std::string, std::string>>& before) {
  for (const auto& [axis, registry] : all_registries())
    for (const MethodInfo& method : registry->methods()) {
      if (before.contains({axis, method.name})) continue;
      std::set<std::string> names;
      std::string wrong = method.name.empty() ? "it has no name" : "";
      method.for_each_option([&](const Option& option) {
        if (wrong.empty()) wrong = wrong_option(option, names);
      });
      if (!wrong.empty()) return fmt::format("{} '{}': {}", axis, method.name, wrong);
    }
  return "";
}

}  // namespace

const std::map<std::string, std::string>& loaded_plugins() { return loaded; }

std::string load_plugin(const std::filesystem::path& file) try {
  if (!std::filesystem::is_regular_file(file)) return fmt::format("'{}' does not exist", file.string());
  {
    const MappedFile mapped(file);
    const std::string_view other = built_for(mapped);
    if (other.empty()) return fmt::format("'{}' is not a plugin: it lacks the line TERSOR_PLUGIN", file.string());
    if (other != TERSOR_BUILT_FOR) return fmt::format("'{}' is a {}, but this is {}; rebuild it", file.string(), other, TERSOR_INTERFACE);
  }
  static std::map<std::string, std::string> refused;  // errors by file: the libraries stay loaded and their methods registered
  const std::string place = std::filesystem::weakly_canonical(file).string();
  if (const auto before = refused.find(place); before != refused.end()) return before->second;
  const size_t errors_before = registration_errors().size();
  const auto methods_before = known_methods();
  void* library = dlopen(std::filesystem::absolute(file).c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) return fmt::format("'{}' cannot be loaded: {}", file.string(), last_error());
  if (registration_errors().size() > errors_before)
    return refused[place] = fmt::format("'{}': {}; give it another name", file.string(), registration_errors().back());
  if (const std::string wrong = wrong_methods(methods_before); !wrong.empty()) return refused[place] = fmt::format("'{}': {}", file.string(), wrong);
  // A suite loads the same plugin for every run that it reads.
  if (const auto [entry, fresh] = loaded.try_emplace(place); fresh) entry->second = sha256_of_file(file);
  return "";
} catch (const UserError& e) {  // the file cannot be read
  return e.what();
}

void load_plugins(const ConfigNode& root, Diagnostics& out) {
  const ConfigNode* list = root.find("plugins");
  if (list == nullptr) return;
  const std::vector<ConfigNode> only{*list};
  for (const ConfigNode& item : list->kind == ConfigNode::Kind::kSequence ? list->items : only) {
    if (item.kind != ConfigNode::Kind::kScalar) continue;  // reported with the other options
    const std::string wrong = load_plugin(item.mark.folder() / item.scalar);
    if (!wrong.empty()) out.add(item, wrong);
  }
}

}  // namespace tersor
