#include "core/config/registry.h"

namespace tersor {
namespace {

std::map<std::string, const AnyRegistry*>& mutable_registries() {
  static std::map<std::string, const AnyRegistry*> all;
  return all;
}

}  // namespace

AnyRegistry::AnyRegistry(std::string axis, std::string doc) : axis_(std::move(axis)), doc_(std::move(doc)) {
  mutable_registries()[axis_] = this;
}

std::vector<std::string> AnyRegistry::names() const {
  std::vector<std::string> all;
  for (const MethodInfo& method : methods()) all.push_back(method.name);
  return all;
}

const std::map<std::string, const AnyRegistry*>& all_registries() { return mutable_registries(); }

std::vector<std::string>& registration_errors() {
  static std::vector<std::string> errors;
  return errors;
}

Json axis_schema(const AnyRegistry& registry) {
  Json variants = Json::array({{{"enum", registry.names()}}});
  for (const MethodInfo& method : registry.methods()) {
    Json variant = method.schema();
    variant["properties"]["type"] = {{"const", method.name}};
    variants.push_back(std::move(variant));
  }
  return {{"anyOf", std::move(variants)}};
}

namespace detail {

std::optional<std::string> chosen_type(const ConfigNode& node, const AnyRegistry& registry,
                                       const std::string& fallback, Diagnostics& out) {
  using Kind = ConfigNode::Kind;
  const std::vector<std::string> known = registry.names();
  const ConfigNode* name = node.kind == Kind::kMap ? node.find("type") : &node;
  if (name == nullptr && node.scalar.empty()) {
    if (!fallback.empty()) return fallback;
    out.add(node, fmt::format("needs 'type: …' ({}: {})", registry.axis(), fmt::join(known, ", ")));
    return std::nullopt;
  }
  if (name != nullptr && name->kind != Kind::kScalar) {
    out.add(*name, fmt::format("must name one {} ({}), not {}", registry.axis(), fmt::join(known, ", "),
                               name->kind_name()));
    return std::nullopt;
  }
  const std::string& type = name != nullptr ? name->scalar : node.scalar;
  if (std::find(known.begin(), known.end(), type) != known.end()) return type;
  out.add(name != nullptr ? *name : node, fmt::format("unknown {} '{}'{} (known: {}; others come from libraries listed under 'plugins')", registry.axis(), type,
                                                        did_you_mean(type, known), fmt::join(known, ", ")));
  return std::nullopt;
}

}  // namespace detail
}  // namespace tersor
