#include "core/config/plugin.h"

#include <dlfcn.h>

#include "core/config/registry.h"

namespace tersor {
namespace {

std::string last_error() {
  const char* text = dlerror();
  return text != nullptr ? text : "unknown error";
}

}  // namespace

std::string load_plugin(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return fmt::format("'{}' does not exist", file.string());
  const size_t errors_before = registration_errors().size();
  void* library = dlopen(std::filesystem::absolute(file).c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) return fmt::format("'{}' cannot be loaded: {}", file.string(), last_error());
  const auto version = reinterpret_cast<const char* (*)()>(dlsym(library, "tersor_plugin_version"));
  if (version == nullptr) return fmt::format("'{}' is not a plugin: it lacks the line TERSOR_PLUGIN", file.string());
  if (std::string_view(version()) != kVersion)
    return fmt::format("'{}' was built for tersor {}, and this is {}; build it again", file.string(), version(), kVersion);
  if (registration_errors().size() > errors_before)
    return fmt::format("'{}': {}; give it another name", file.string(), registration_errors().back());
  return "";
}

void load_plugins(const ConfigNode& root, Diagnostics& out) {
  const ConfigNode* list = root.find("plugins");
  if (list == nullptr) return;
  for (const ConfigNode& item : list->items) {  // what is not a list of text is reported with the other options
    if (item.kind != ConfigNode::Kind::kScalar) continue;
    const std::string wrong = load_plugin(item.mark.folder() / item.scalar);
    if (!wrong.empty()) out.add(item, wrong);
  }
}

}  // namespace tersor
