#include "core/config/fields.h"

#include <cmath>

namespace tersor {
namespace {

using Kind = ConfigNode::Kind;

class Reader final : public FieldVisitor {
 public:
  Reader(const ConfigNode& node, Diagnostics& out) : node_(node), out_(out) {}
  std::vector<std::string> known;

 protected:
  void visit(const Option& option) override {
    known.push_back(option.name);
    const ConfigNode* value = node_.find(option.name);
    if (value != nullptr && value->kind != Kind::kNull) return option.read(*value, out_);
    // An empty value is valid only if the default is empty: otherwise a section left empty would erase the one it overrides.
    if (value != nullptr && !option.is_required && !option.to_json().is_null())
      return out_.add(*value, "is empty; give it a value, or remove the line");
    if (!option.is_required) return;
    const std::string path = node_.path.empty() ? option.name : node_.path + "." + option.name;
    out_.add(node_.mark, path, fmt::format("is required: {}", option.doc));
  }

 private:
  const ConfigNode& node_;
  Diagnostics& out_;
};

class Printer final : public FieldVisitor {
 public:
  Json result = Json::object();

 protected:
  void visit(const Option& option) override { result[option.name] = option.to_json(); }
};

class SchemaWriter final : public FieldVisitor {
 public:
  Json properties = Json::object();
  Json required_names = Json::array();

 protected:
  void visit(const Option& option) override {
    Json schema = option.schema();
    schema["description"] = option.doc;
    for (const Constraint& c : option.constraints) schema.update(c.schema);
    const Json value = option.to_json();
    if (value.is_null() && !option.is_required)  // an absent value may be written as null
      schema = {{"description", option.doc}, {"anyOf", Json::array({std::move(schema), {{"type", "null"}}})}};
    if (value.is_primitive() && !value.is_null() && !option.is_required) schema["default"] = value;
    if (option.is_required) required_names.push_back(option.name);
    properties[option.name] = std::move(schema);
  }
};

class ForEach final : public FieldVisitor {
 public:
  explicit ForEach(const std::function<void(const Option&)>& each) : each_(each) {}

 protected:
  void visit(const Option& option) override { each_(option); }

 private:
  const std::function<void(const Option&)>& each_;
};

}  // namespace

Constraint at_least(double low) {
  return {fmt::format("at least {}", low), [=](double x) { return x >= low; }, low - 1, {{"minimum", low}}};
}
Constraint greater_than(double low) {
  return {fmt::format("greater than {}", low), [=](double x) { return x > low; }, low, {{"exclusiveMinimum", low}}};
}
Constraint between(double low, double high) {
  return {fmt::format("between {} and {}", low, high), [=](double x) { return x >= low && x <= high; },
          high + 1, {{"minimum", low}, {"maximum", high}}};
}
Constraint half_open(double low, double high) {
  return {fmt::format("at least {} and less than {}", low, high),
          [=](double x) { return x >= low && x < high; }, high,
          {{"minimum", low}, {"exclusiveMaximum", high}}};
}
const Constraint positive = greater_than(0);

void for_each_option(const std::function<void(FieldVisitor&)>& fields,
                     const std::function<void(const Option&)>& each) {
  ForEach visitor(each);
  fields(visitor);
}

namespace detail {

void read_map(const std::function<void(FieldVisitor&)>& fields, const ConfigNode& node, Diagnostics& out,
              std::string_view owner) {
  if (node.kind != Kind::kMap) {
    out.add(node, fmt::format("must be a map of options, not {}", node.kind_name()));
    return;
  }
  Reader reader(node, out);
  fields(reader);
  for (const ConfigEntry& entry : node.entries) {
    if (std::find(reader.known.begin(), reader.known.end(), entry.key) != reader.known.end()) continue;
    if (!owner.empty() && entry.key == "type") continue;
    if (entry.key == "<<") {
      out.add(entry.key_mark, entry.value.path, "YAML merge keys are not supported; use 'extends' to build on other files");
      continue;
    }
    const std::string of = owner.empty() ? "" : fmt::format(" of '{}'", owner);
    const std::string options =
        reader.known.empty() ? "it has none" : fmt::format("options: {}", fmt::join(reader.known, ", "));
    out.add(entry.key_mark, entry.value.path,
            fmt::format("unknown option{}{} ({})", of, did_you_mean(entry.key, reader.known), options));
  }
}

Json print_map(const std::function<void(FieldVisitor&)>& fields) {
  Printer printer;
  fields(printer);
  return printer.result;
}

Json schema_map(const std::function<void(FieldVisitor&)>& fields) {
  SchemaWriter writer;
  fields(writer);
  Json schema = {{"type", "object"}, {"additionalProperties", false}, {"properties", writer.properties}};
  if (!writer.required_names.empty()) schema["required"] = writer.required_names;
  return schema;
}

void check_constraints(const std::vector<Constraint>& constraints, const std::vector<double>& numbers,
                       const ConfigNode& node, Diagnostics& out) {
  for (const double number : numbers)
    for (const Constraint& c : constraints)
      if (!c.holds(number)) return out.add(node, fmt::format("must be {}, not {}", c.text, number));
}

}  // namespace detail
}  // namespace tersor
