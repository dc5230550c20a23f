#include "core/bench/suite.h"
#include "core/cli/commands.h"
#include "core/cli/config_words.h"
#include "core/train/run_config.h"

namespace tersor {
namespace {

// A choice as written in YAML: the method, and the options that differ from its defaults.
std::string text_of_choice(const Json& value, const std::string& axis) {
  const auto type = value["type"].get<std::string>();
  std::string options;
  for (const MethodInfo& method : all_registries().at(axis)->methods()) {
    if (method.name != type) continue;
    method.for_each_option([&](const Option& option) {
      const Json& own = value.at(option.name);
      if (own != option.to_json()) options += fmt::format("{}{}: {}", options.empty() ? "" : ", ", option.name, own.is_string() ? own.get<std::string>() : own.dump());
    });
  }
  return options.empty() ? type : fmt::format("{{type: {}, {}}}", type, options);
}

void print_option(const Option& option, const std::string& prefix) {
  std::string limits;
  for (const Constraint& c : option.constraints) limits += (limits.empty() ? "" : ", ") + c.text;
  const Json value = option.to_json();
  std::string standard = option.is_required ? "required" : value.is_null() ? "default: absent" : "default: " + value.dump();
  if (value.is_object() && value.contains("type")) standard = "default: " + text_of_choice(value, option.type_name());
  if (value.is_array() && !value.empty() && value[0].is_object()) standard = "its options follow";
  fmt::print("  {:<34} {}\n      {}{}; {}\n", prefix + option.name, option.doc, option.type_name(),
             limits.empty() ? "" : ", " + limits, standard);
}

// Prints options of sections, depth first, under their full names.
class Walker final : public FieldVisitor {
 public:
  Walker(std::string prefix, std::string wanted) : prefix_(std::move(prefix)), wanted_(std::move(wanted)) {}
  bool found = false;

 protected:
  void visit(const Option& option) override {
    const std::string path = prefix_ + option.name;
    const bool inside = wanted_.empty() || path == wanted_ || path.starts_with(wanted_ + ".") || path.starts_with(wanted_ + "[");
    if (option.type_name() == "section") {
      if (inside) fmt::print("\n{}: {}\n", path, option.doc);
      Walker inner(path + ".", wanted_);
      option.children(inner);
      found = found || inner.found || inside;
    } else {
      if (inside) print_option(option, prefix_);
      Walker items(path + "[].", wanted_);
      option.children(items);
      found = found || items.found || inside;
    }
  }

 private:
  std::string prefix_;
  std::string wanted_;
};

// Whether one of the method's options picks a method of that axis.
bool takes(const MethodInfo& method, const std::string& axis) {
  bool found = false;
  method.for_each_option([&](const Option& option) { found = found || option.type_name() == axis; });
  return found;
}

// Prints the methods of that name; or, for an axis, its methods and those of other axes that take one of them. Returns whether there
// are any.
bool describe_methods(const std::string& wanted) {
  bool found = false;
  for (const auto& [axis, registry] : all_registries()) {
    if (axis == wanted) fmt::print("\n{}: {}\n", axis, registry->doc());
    for (const MethodInfo& method : registry->methods()) {
      if (method.name != wanted && axis != wanted && !takes(method, wanted)) continue;
      fmt::print("\n{} ({}): {}\n", method.name, axis, method.source);
      method.for_each_option([](const Option& option) { print_option(option, ""); });
      found = true;
    }
  }
  return found;
}

void describe_all() {
  fmt::print("A run's YAML has these sections; 'tersor describe SECTION' lists one, 'tersor describe METHOD' a method, 'tersor describe "
             "AXIS' all of a kind, 'tersor describe suite' what 'tersor bench' reads.\n");
  RunConfig config;
  Walker walker("", "");
  config.fields(walker);
  for (const auto& [axis, registry] : all_registries()) {
    fmt::print("\n{}: {}\n", axis, registry->doc());
    for (const MethodInfo& method : registry->methods()) fmt::print("  {:<16} {}\n", method.name, method.source);
  }
}

// Prints the syntax of a kind of value that has one of its own. Returns whether `wanted` is one.
bool describe_kind(const std::string& wanted) {
  if (wanted == "cadence")
    fmt::print("\ncadence: when something happens\n  never\n  at SPAN\n  every SPAN [from SPAN] [until SPAN]\n"
               "a SPAN being a number of steps (200), of tokens (10M tokens), of training flops (1e15 flops), or a part of the run's steps (80%)\n");
  else if (wanted == "role")
    fmt::print("\nrole: what a parameter is, for `match`: {}\n", fmt::join(kRoleNames, ", "));
  else if (wanted == "match")
    fmt::print("\nmatch: any, or {{role: …, name: …}}, each one value or a list; a name may have * and ?: {{role: [matrix, factor], name: \"*.mlp.*\"}}\n");
  else
    return false;
  return true;
}

// The options of a suite, the other kind of configuration file.
void describe_suite() {
  fmt::print("\nsuite: what 'tersor bench' reads, for instance configs/bench/smoke.yaml\n");
  SuiteConfig config;
  Walker walker("", "");
  config.fields(walker);
}

void describe(const std::string& wanted) {
  if (wanted.empty()) return describe_all();
  if (wanted == "suite") return describe_suite();
  const bool kind = describe_kind(wanted);
  RunConfig config;
  Walker walker("", wanted);
  config.fields(walker);
  if (describe_methods(wanted) || walker.found || kind) return;
  std::vector<std::string> known{"suite", "cadence", "role", "match"};
  for_each_option([&](FieldVisitor& v) { config.fields(v); }, [&](const Option& o) { known.push_back(o.name); });
  for (const auto& [axis, registry] : all_registries()) {
    known.push_back(axis);
    for (const std::string& name : registry->names()) known.push_back(name);
  }
  throw user_error("nothing is called '{}'{}", wanted, did_you_mean(wanted, known));
}

// A Markdown table of every method, for the README.
void print_table() {
  fmt::print("| axis | name | source |\n|---|---|---|\n");
  for (const auto& [axis, registry] : all_registries())
    for (const MethodInfo& method : registry->methods()) fmt::print("| {} | `{}` | {} |\n", axis, method.name, method.source);
}

// A file may leave required options to another file, so no single file requires any.
void require_nothing(Json& schema) {
  if (schema.is_object() && schema.contains("required") && schema["required"].is_array()) schema.erase("required");
  if (schema.is_structured())
    for (Json& inside : schema) require_nothing(inside);
}

}  // namespace

void add_describe_command(CLI::App& app) {
  struct Arguments {
    std::string name;
    bool schema = false;
    bool table = false;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("describe", "every option and method, with defaults and sources");
  command->add_option("name", arguments->name, "a section, an option, a method or an axis, for instance optimizer, adamw or growth; suite: the options of a benchmark");
  command->add_flag("--schema", arguments->schema, "a JSON schema of a run's YAML, for editors");
  command->add_flag("--table", arguments->table, "the methods as a Markdown table");
  add_plugin_option(command);
  command->callback([arguments] {
    if (arguments->table) return print_table();
    if (!arguments->schema) return describe(arguments->name);
    RunConfig config;
    Json schema = {{"$schema", "http://json-schema.org/draft-07/schema#"}, {"title", "tersor run"}};
    schema.update(fields_schema(config));
    schema["properties"]["extends"] = {{"anyOf", Json::array({{{"type", "string"}}, {{"type", "array"}, {"items", {{"type", "string"}}}}})},
                                       {"description", "files that this one builds on and overrides"}};
    for (const auto& [axis, registry] : all_registries()) schema["definitions"][axis] = axis_schema(*registry);
    require_nothing(schema);
    fmt::print("{}\n", schema.dump(2));
  });
}

}  // namespace tersor
