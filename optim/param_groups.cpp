#include "optim/param_groups.h"

#include <map>

#include "core/base/pattern.h"

namespace tersor {
namespace {

using Kind = ConfigNode::Kind;

std::vector<std::string> read_words(const ConfigNode& node, Diagnostics& out) {
  if (node.kind == Kind::kScalar) return {node.scalar};
  std::vector<std::string> words;
  if (node.kind == Kind::kSequence) {
    for (const ConfigNode& item : node.items) words.push_back(item.scalar);
    if (!words.empty()) return words;
  }
  out.add(node, fmt::format("must be one value or a list of values, not {}", node.kind_name()));
  return {};
}

}  // namespace

bool ParamMatch::matches(const Param& param) const {
  const auto fits_name = [&](const std::string& p) { return fits_pattern(p, param.name); };
  const bool role = roles_.empty() || std::count(roles_.begin(), roles_.end(), role_name(param.role)) > 0;
  return role && (names_.empty() || std::any_of(names_.begin(), names_.end(), fits_name));
}

void ParamMatch::read(const ConfigNode& node, Diagnostics& out) {
  mark_ = node.mark;
  roles_.clear();
  names_.clear();
  if (node.kind == Kind::kScalar && node.scalar == "any") return;
  if (node.kind != Kind::kMap) return out.add(node, "must be 'any' or a map with 'role' or 'name'");
  const std::vector<std::string> known(kRoleNames.begin(), kRoleNames.end());
  for (const ConfigEntry& entry : node.entries) {
    if (entry.key == "role")
      roles_ = read_words(entry.value, out);
    else if (entry.key == "name")
      names_ = read_words(entry.value, out);
    else
      out.add(entry.key_mark, entry.value.path,
              fmt::format("unknown option{} (options: role, name)", did_you_mean(entry.key, {"role", "name"})));
    for (const std::string& role : roles_)
      if (entry.key == "role" && std::count(known.begin(), known.end(), role) == 0)
        out.add(entry.value, fmt::format("unknown role '{}'{} (known: {})", role, did_you_mean(role, known),
                                         fmt::join(known, ", ")));
  }
}

Json ParamMatch::to_json() const {
  Json result = Json::object();
  if (!roles_.empty()) result["role"] = roles_;
  if (!names_.empty()) result["name"] = names_;
  return result.empty() ? Json("any") : result;
}

Json ParamMatch::schema() const {
  const Json word = {{"type", Json::array({"string", "array"})}};
  return {{"anyOf", Json::array({{{"const", "any"}},
                                 {{"type", "object"},
                                  {"additionalProperties", false},
                                  {"properties", {{"role", word}, {"name", word}}}}})}};
}

namespace {

// Why some slot cannot be stored as the group says; nullopt if all can.
std::optional<std::string> refused_slot(const Param& param, const GroupMethods& methods) {
  for (const SlotSpec& spec : methods.rule->slots(shape_of(param))) {
    if (spec.kind == SlotKind::kExact || spec.kind == SlotKind::kHost) continue;
    const StateFormat& format = spec.kind == SlotKind::kProjector ? *methods.projector : *methods.state;
    if (auto why = format.refuses(spec.kind)) return why;
  }
  return std::nullopt;
}

}  // namespace

std::vector<size_t> assign_groups(const std::vector<Param>& params, const std::vector<GroupConfig>& groups,
                                  const std::vector<GroupMethods>& methods) {
  Diagnostics out;
  std::vector<size_t> assigned;
  std::vector<std::string> unmatched;
  std::vector<int64_t> members(groups.size(), 0);
  std::map<std::pair<size_t, Role>, std::vector<std::string>> refused;  // reported once per group and role
  for (const Param& param : params) {
    const auto first = std::find_if(groups.begin(), groups.end(), [&](const GroupConfig& g) { return g.match.matches(param); });
    const auto index = static_cast<size_t>(first - groups.begin());
    assigned.push_back(index);
    if (first == groups.end()) {
      unmatched.push_back(fmt::format("'{}' ({})", param.name, role_name(param.role)));
      continue;
    }
    ++members[index];
    const std::string place = fmt::format("optimizer.groups[{}]", index);
    if (const auto why = methods[index].rule->refuses(param))
      refused[{index, param.role}].push_back(fmt::format("{} refuses '{}' ({}): {}; give it another rule in a group before this one", first->rule.type(),
                                                         param.name, role_name(param.role), *why));
    else if (const auto unfit = refused_slot(param, methods[index]); unfit && members[index] == 1)
      out.add(first->match.mark(), place, *unfit);
  }
  for (const auto& [of, texts] : refused)
    out.add(groups[of.first].match.mark(), fmt::format("optimizer.groups[{}]", of.first),
            texts.front() + (texts.size() > 1 ? fmt::format("; and {} others of this role", texts.size() - 1) : ""));
  if (!unmatched.empty())
    out.add(groups.front().match.mark(), "optimizer.groups",
            fmt::format("no group matches {}{}: end with a group 'match: any'", unmatched.front(),
                        unmatched.size() > 1 ? fmt::format(" and {} other parameters", unmatched.size() - 1) : ""));
  out.throw_if_any();
  return assigned;
}

std::vector<GroupMethods> build_methods(const std::vector<GroupConfig>& groups) {
  std::vector<GroupMethods> methods;
  for (const GroupConfig& group : groups) methods.push_back({group.rule.build(), group.state.build(), group.projector.build()});
  return methods;
}

void check_groups(const std::vector<std::vector<Param>>& stages, const std::vector<GroupConfig>& groups) {
  const std::vector<GroupMethods> methods = build_methods(groups);
  std::vector<int64_t> members(groups.size(), 0);
  for (const std::vector<Param>& params : stages)
    for (const size_t group : assign_groups(params, groups, methods)) ++members[group];
  Diagnostics out;
  for (size_t i = 0; i < groups.size(); ++i)
    if (members[i] == 0)
      out.add(groups[i].match.mark(), fmt::format("optimizer.groups[{}].match", i),
              "matches no parameter left by the groups before it; fix the pattern or remove the group");
  out.throw_if_any();
}

}  // namespace tersor
