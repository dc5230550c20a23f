// Options, each declared once. A component owns a Config struct and lists its members in `fields`; reading, checking,
// defaults, `tersor describe`, the resolved config.yaml and the JSON schema all come from that one list.
//
//   struct Config {
//     int64_t rank = 128;
//     double scale = 0.25;
//     void fields(FieldVisitor& v) {
//       v("rank", rank, at_least(1), "rank r of the projected gradient");
//       v("scale", scale, positive, "α, applied to the update projected back");
//     }
//     // Optional: checks that span several options. `node` is where the struct was written.
//     void check(const ConfigNode& node, Diagnostics& diagnostics) const;
//   };
//
// Types: bool, int64_t (10M, 32k), double (also 10%), std::string, std::filesystem::path (relative to the file that
// names it), enums with an EnumNames specialization, Bytes (2GiB), Span (2000 steps, 10M tokens, 10%), Cadence,
// std::optional, std::vector and OneOrMore of these, structs with `fields`, Choice (core/config/registry.h).
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/config/node.h"

namespace tersor {

using Json = nlohmann::ordered_json;

// A condition on a number, in words for messages and docs, and as JSON Schema keywords. `outside` is a number that
// violates it: tests feed it to every option.
struct Constraint {
  std::string text;
  std::function<bool(double)> holds;
  double outside;
  Json schema;
};
[[nodiscard]] Constraint at_least(double low);
[[nodiscard]] Constraint between(double low, double high);
[[nodiscard]] Constraint greater_than(double low);
[[nodiscard]] Constraint half_open(double low, double high);  // low ≤ x < high
extern const Constraint positive;

// Marks an option without a default.
struct Required {};
inline constexpr Required required;

// An amount of memory: 512, 512MB, 2GiB.
struct Bytes {
  int64_t value = 0;
};

// A stretch of a run: "2000" or "2000 steps", "10M tokens", "10%" of the steps, "1e15 flops" of training compute.
struct Span {
  enum class Unit { kSteps, kTokens, kFraction, kFlops };
  double value = 0;
  Unit unit = Unit::kSteps;
};

// A list; one with a single item may be written as just that item.
template <class T>
struct OneOrMore : std::vector<T> {
  using std::vector<T>::vector;
};

class FieldVisitor;

// Specialize for an enum E: static constexpr std::array<std::pair<E, std::string_view>, N> values.
template <class E>
struct EnumNames;
template <class E>
[[nodiscard]] constexpr std::string_view enum_name(E value) {
  for (const auto& [candidate, name] : EnumNames<E>::values)
    if (candidate == value) return name;
  return "";
}

template <class T>
concept HasFields = requires(T& config, FieldVisitor& v) { config.fields(v); };
// Types that read, print and describe themselves: Choice, Cadence, …
template <class T>
concept SelfDescribed = requires(T& value, const ConfigNode& node, Diagnostics& diagnostics) {
  value.read(node, diagnostics);
  { value.to_json() } -> std::convertible_to<Json>;
  { value.schema() } -> std::convertible_to<Json>;
  { value.type_name() } -> std::convertible_to<std::string>;
};

// One declared option bound to the member that holds its value.
class Option {
 public:
  virtual ~Option() = default;
  virtual void read(const ConfigNode& node, Diagnostics& diagnostics) const = 0;
  [[nodiscard]] virtual Json to_json() const = 0;
  [[nodiscard]] virtual Json schema() const = 0;
  [[nodiscard]] virtual std::string type_name() const = 0;
  // Visits the options declared inside: the fields of a section, or of the items of a list or optional section.
  virtual void children(FieldVisitor&) const {}

  std::string name;
  std::string doc;
  bool is_required = false;
  std::vector<Constraint> constraints;
};

class FieldVisitor {
 public:
  virtual ~FieldVisitor() = default;

  // v("name", member, [constraints or `required`]…, "what it means");
  template <class T, class... Rest>
  void operator()(std::string_view name, T& value, Rest&&... rest);

 protected:
  virtual void visit(const Option& option) = 0;
};

// Reads the map `node` into `config`, then calls its `check`, if any, unless there were errors. Unknown keys are errors.
template <HasFields T>
void read_fields(T& config, const ConfigNode& node, Diagnostics& diagnostics,
                 std::string_view owner = {});
// Reads a single value of any of the types above.
template <class T>
void read_option(T& value, const ConfigNode& node, Diagnostics& diagnostics);
template <HasFields T>
[[nodiscard]] Json fields_to_json(T& config);
template <HasFields T>
[[nodiscard]] Json fields_schema(T& config);

// Calls `each` for every option declared in a struct, without descending into sections.
void for_each_option(const std::function<void(FieldVisitor&)>& fields,
                     const std::function<void(const Option&)>& each);

// YAML as tersor writes it: block style but for lists of scalars, and numbers that every YAML reader takes for numbers.
[[nodiscard]] std::string to_yaml(const Json& json);

}  // namespace tersor

#include "core/config/option_types.h"  // defines the templates above
