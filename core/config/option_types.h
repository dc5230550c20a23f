// How each type of option is read, printed, named and described in the JSON schema: the second half of core/config/fields.h,
// which includes this file at its end. A new type of option needs one more OptionType here.
#pragma once

#include "core/config/fields.h"

namespace tersor {

namespace detail {

void read_map(const std::function<void(FieldVisitor&)>& fields, const ConfigNode& node,
              Diagnostics& diagnostics, std::string_view owner);
Json print_map(const std::function<void(FieldVisitor&)>& fields);
Json schema_map(const std::function<void(FieldVisitor&)>& fields);

// Reads, prints and names one type. If the text is wrong, `read` reports it and leaves the value unchanged.
template <class T>
struct OptionType;

#define TERSOR_OPTION_TYPE(T)                                              \
  template <>                                                             \
  struct OptionType<T> {                                                  \
    static void read(const ConfigNode& node, T& value, Diagnostics& out); \
    static Json to_json(const T& value);                                  \
    static Json schema();                                                 \
    static std::string type_name();                                       \
  };
TERSOR_OPTION_TYPE(bool)
TERSOR_OPTION_TYPE(int64_t)
TERSOR_OPTION_TYPE(double)
TERSOR_OPTION_TYPE(std::string)
TERSOR_OPTION_TYPE(std::filesystem::path)
TERSOR_OPTION_TYPE(Bytes)
TERSOR_OPTION_TYPE(Span)
#undef TERSOR_OPTION_TYPE

void read_enum(const ConfigNode& node, const std::vector<std::string>& names, Diagnostics& out,
               const std::function<void(size_t)>& set);

template <class E>
  requires std::is_enum_v<E>
struct OptionType<E> {
  static std::vector<std::string> names() {
    std::vector<std::string> all;
    for (const auto& [value, name] : EnumNames<E>::values) all.emplace_back(name);
    return all;
  }
  static void read(const ConfigNode& node, E& value, Diagnostics& out) {
    read_enum(node, names(), out, [&](size_t i) { value = EnumNames<E>::values[i].first; });
  }
  static Json to_json(const E& value) { return std::string(enum_name(value)); }
  static Json schema() { return {{"enum", names()}}; }
  static std::string type_name() { return fmt::format("{}", fmt::join(names(), " | ")); }
};

template <class T>
struct OptionType<std::optional<T>> {
  static void read(const ConfigNode& node, std::optional<T>& value, Diagnostics& out) {
    T inner = value.value_or(T{});
    const size_t before = out.size();
    OptionType<T>::read(node, inner, out);
    if (out.size() == before) value = std::move(inner);
  }
  static Json to_json(const std::optional<T>& value) {
    return value ? OptionType<T>::to_json(*value) : Json(nullptr);
  }
  static Json schema() { return {{"anyOf", Json::array({OptionType<T>::schema(), {{"type", "null"}}})}}; }
  static std::string type_name() { return OptionType<T>::type_name(); }
};

template <HasFields T>
struct OptionType<T> {
  static void read(const ConfigNode& node, T& value, Diagnostics& out) { read_fields(value, node, out); }
  static Json to_json(const T& value) { return fields_to_json(const_cast<T&>(value)); }
  static Json schema() {
    T fresh;
    return fields_schema(fresh);
  }
  static std::string type_name() { return "section"; }
};

template <SelfDescribed T>
struct OptionType<T> {
  static void read(const ConfigNode& node, T& value, Diagnostics& out) { value.read(node, out); }
  static Json to_json(const T& value) { return value.to_json(); }
  static Json schema() { return T().schema(); }
  static std::string type_name() { return T().type_name(); }
};

template <class T>
struct OptionType<std::vector<T>> {
  static void read(const ConfigNode& node, std::vector<T>& value, Diagnostics& out) {
    std::vector<T> read_values;
    if (node.kind != ConfigNode::Kind::kSequence) {
      out.add(node, fmt::format("must be a list of {}, not {}", type_name_of_item(), node.kind_name()));
      return;
    }
    for (const ConfigNode& item : node.items) OptionType<T>::read(item, read_values.emplace_back(), out);
    value = std::move(read_values);
  }
  static Json to_json(const std::vector<T>& value) {
    Json all = Json::array();
    for (const T& item : value) all.push_back(OptionType<T>::to_json(item));
    return all;
  }
  static Json schema() { return {{"type", "array"}, {"items", OptionType<T>::schema()}}; }
  static std::string type_name() { return "list of " + type_name_of_item(); }
  static std::string type_name_of_item() { return OptionType<T>::type_name(); }
};

template <class T>
struct OptionType<OneOrMore<T>> {
  static void read(const ConfigNode& node, OneOrMore<T>& value, Diagnostics& out) {
    if (node.kind == ConfigNode::Kind::kSequence) return OptionType<std::vector<T>>::read(node, value, out);
    if (value.size() != 1) value.assign(1, T{});
    OptionType<T>::read(node, value.front(), out);
  }
  static Json to_json(const OneOrMore<T>& value) {
    return value.size() == 1 ? OptionType<T>::to_json(value.front()) : OptionType<std::vector<T>>::to_json(value);
  }
  static Json schema() { return {{"anyOf", Json::array({OptionType<T>::schema(), OptionType<std::vector<T>>::schema()})}}; }
  static std::string type_name() { return fmt::format("{} or {}", OptionType<T>::type_name(), OptionType<std::vector<T>>::type_name()); }
};

// Collects the numbers that constraints apply to.
template <class T>
void collect_numbers(const T& value, std::vector<double>& out) {
  if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, double>) {
    out.push_back(static_cast<double>(value));
  } else if constexpr (std::is_same_v<T, Bytes> || std::is_same_v<T, Span>) {
    out.push_back(static_cast<double>(value.value));
  } else if constexpr (requires { value.has_value(); }) {
    if (value) collect_numbers(*value, out);
  } else if constexpr (requires { value.begin(); } && !std::is_convertible_v<T, std::string_view> &&
                       !std::is_same_v<T, std::filesystem::path>) {
    for (const auto& item : value) collect_numbers(item, out);
  }
}

// Reports "must be at least 1, not 0" for the first number that violates a constraint.
void check_constraints(const std::vector<Constraint>& constraints, const std::vector<double>& numbers,
                       const ConfigNode& node, Diagnostics& out);

template <class T>
class BoundOption final : public Option {
 public:
  explicit BoundOption(T& value) : value_(value) {}
  void read(const ConfigNode& node, Diagnostics& out) const override {
    const size_t before = out.size();
    OptionType<T>::read(node, value_, out);
    if (out.size() != before) return;
    std::vector<double> numbers;
    collect_numbers(value_, numbers);
    check_constraints(constraints, numbers, node, out);
  }
  Json to_json() const override { return OptionType<T>::to_json(value_); }
  Json schema() const override { return OptionType<T>::schema(); }
  std::string type_name() const override { return OptionType<T>::type_name(); }
  void children(FieldVisitor& v) const override {
    if constexpr (HasFields<T>) {
      value_.fields(v);
    } else if constexpr (requires { requires HasFields<typename T::value_type>; }) {
      typename T::value_type item;  // of a list or an optional section
      item.fields(v);
    }
  }

 private:
  T& value_;
};

inline void set_attribute(Option& option, const Constraint& c) { option.constraints.push_back(c); }
inline void set_attribute(Option& option, Required) { option.is_required = true; }
inline void set_attribute(Option& option, std::string_view doc) { option.doc = doc; }

}  // namespace detail

template <class T, class... Rest>
void FieldVisitor::operator()(std::string_view name, T& value, Rest&&... rest) {
  detail::BoundOption<T> option(value);
  option.name = name;
  (detail::set_attribute(option, rest), ...);
  visit(option);
}

template <HasFields T>
void read_fields(T& config, const ConfigNode& node, Diagnostics& diagnostics, std::string_view owner) {
  const size_t before = diagnostics.size();
  detail::read_map([&](FieldVisitor& v) { config.fields(v); }, node, diagnostics, owner);
  if constexpr (requires { config.check(node, diagnostics); })
    if (diagnostics.size() == before) config.check(node, diagnostics);
}

template <class T>
void read_option(T& value, const ConfigNode& node, Diagnostics& diagnostics) {
  detail::OptionType<T>::read(node, value, diagnostics);
}

template <HasFields T>
Json fields_to_json(T& config) {
  return detail::print_map([&](FieldVisitor& v) { config.fields(v); });
}

template <HasFields T>
Json fields_schema(T& config) {
  return detail::schema_map([&](FieldVisitor& v) { config.fields(v); });
}

}  // namespace tersor
