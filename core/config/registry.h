// Methods by name. A registry holds one axis (update rules, state formats, …); each method adds itself with one line
// at the end of its own file, and is from then on known to YAML, `tersor describe`, the schema and the tests.
//
//   using UpdateRuleRegistry = Registry<UpdateRule>;
//   UpdateRuleRegistry& update_rules();                                     // declared by the axis
//   const bool registered = update_rules().add<AdamW>("adamw", "Loshchilov and Hutter 2019, arXiv:1711.05101");
//
// A Choice is the option that picks one: `rule: adamw` or `rule: {type: adamw, beta2: 0.95}`. Its default may come with
// options of its own, which remain the defaults as long as that method is chosen.
#pragma once

#include <map>
#include <memory>

#include "core/config/fields.h"

namespace tersor {

// What any registry can tell about one of its methods, whatever the interface.
struct MethodInfo {
  std::string name;
  std::string source;  // paper and arXiv number, or one line on what it is
  std::function<void(const std::function<void(const Option&)>&)> for_each_option;  // of a fresh configuration
  std::function<Json()> schema;
};

class AnyRegistry {
 public:
  AnyRegistry(std::string axis, std::string doc);
  virtual ~AnyRegistry() = default;
  AnyRegistry(const AnyRegistry&) = delete;
  AnyRegistry& operator=(const AnyRegistry&) = delete;

  // What a method of this axis is called in messages: "update rule".
  [[nodiscard]] const std::string& axis() const { return axis_; }
  [[nodiscard]] const std::string& doc() const { return doc_; }
  [[nodiscard]] virtual std::vector<MethodInfo> methods() const = 0;
  [[nodiscard]] std::vector<std::string> names() const;

 private:
  std::string axis_;
  std::string doc_;
};

// Errors of methods registering themselves, before `main` or while a plugin was loaded.
[[nodiscard]] std::vector<std::string>& registration_errors();

// The JSON schema of a choice of this axis: a name, or a map with `type` and that method's options.
[[nodiscard]] Json axis_schema(const AnyRegistry& registry);

// Every registry of the program, sorted by axis.
[[nodiscard]] const std::map<std::string, const AnyRegistry*>& all_registries();

// A method with its options read, ready to be built. `Args` is what its constructor takes besides the Config.
template <class Interface, class... Args>
class Method {
 public:
  virtual ~Method() = default;
  virtual void fields(FieldVisitor& v) = 0;
  virtual void read(const ConfigNode& node, Diagnostics& out, std::string_view name) = 0;
  [[nodiscard]] virtual std::unique_ptr<Interface> build(Args... args) const = 0;
  [[nodiscard]] virtual std::unique_ptr<Method> clone() const = 0;
};

template <class I, class... Args>
class Registry final : public AnyRegistry {
 public:
  using Interface = I;
  using AnyMethod = Method<I, Args...>;
  using AnyRegistry::AnyRegistry;

  // T has a Config with `fields` and a constructor T(Config, Args...), or a static make(Config, Args...) that returns another method in
  // its place. A second method of the same name is an error: see registration_errors.
  template <class T>
  bool add(const std::string& name, const std::string& source) {
    const bool fresh = entries_.emplace(name, Entry{source, [] { return std::make_unique<MethodOf<T>>(); }}).second;
    if (!fresh) registration_errors().push_back(fmt::format("two methods of axis '{}' are called '{}'", axis(), name));
    return fresh;
  }

  // A fresh method with default options, or nullptr when the name is unknown.
  [[nodiscard]] std::unique_ptr<AnyMethod> find(const std::string& name) const {
    const auto entry = entries_.find(name);
    return entry == entries_.end() ? nullptr : entry->second.make();
  }

  [[nodiscard]] std::vector<MethodInfo> methods() const override {
    std::vector<MethodInfo> all;
    for (const auto& [name, entry] : entries_) {
      auto visit = [make = entry.make](const std::function<void(const Option&)>& each) {
        const auto method = make();
        tersor::for_each_option([&](FieldVisitor& v) { method->fields(v); }, each);
      };
      auto schema = [make = entry.make] {
        const auto method = make();
        return detail::schema_map([&](FieldVisitor& v) { method->fields(v); });
      };
      all.push_back({name, entry.source, std::move(visit), std::move(schema)});
    }
    return all;
  }

 private:
  struct Entry {
    std::string source;
    std::function<std::unique_ptr<AnyMethod>()> make;
  };

  template <class T>
  class MethodOf final : public AnyMethod {
   public:
    void fields(FieldVisitor& v) override { config_.fields(v); }
    void read(const ConfigNode& node, Diagnostics& out, std::string_view name) override {
      read_fields(config_, node, out, name);
    }
    std::unique_ptr<I> build(Args... args) const override {
      if constexpr (requires { T::make(config_, args...); })
        return T::make(config_, args...);
      else
        return std::make_unique<T>(config_, args...);
    }
    std::unique_ptr<AnyMethod> clone() const override { return std::make_unique<MethodOf>(*this); }

   private:
    typename T::Config config_;
  };

  std::map<std::string, Entry> entries_;
};

namespace detail {
// Returns the method named by `rule: x` or `rule: {type: x}`, or `fallback`; reports an error and returns nothing if there is none.
std::optional<std::string> chosen_type(const ConfigNode& node, const AnyRegistry& registry,
                                       const std::string& fallback, Diagnostics& out);
}  // namespace detail

// The option that picks a method of the registry that `registry()` returns.
template <auto registry>
class Choice {
 public:
  using RegistryType = std::remove_reference_t<decltype(registry())>;
  using Interface = typename RegistryType::Interface;
  using AnyMethod = typename RegistryType::AnyMethod;

  Choice() = default;
  explicit Choice(std::string name, std::string options = "")
      : type_(std::move(name)), default_type_(type_), default_options_(std::move(options)) {}
  Choice(const Choice& other)
      : type_(other.type_), default_type_(other.default_type_), default_options_(other.default_options_),
        mark_(other.mark_), method_(other.method_ ? other.method_->clone() : nullptr) {}
  Choice(Choice&&) noexcept = default;
  Choice& operator=(Choice other) noexcept {
    std::swap(type_, other.type_);
    std::swap(default_type_, other.default_type_);
    std::swap(default_options_, other.default_options_);
    std::swap(mark_, other.mark_);
    std::swap(method_, other.method_);
    return *this;
  }

  [[nodiscard]] const std::string& type() const { return type_; }
  // For messages: where it was written.
  [[nodiscard]] const Mark& mark() const { return mark_; }

  template <class... Args>
  [[nodiscard]] std::unique_ptr<Interface> build(Args&&... args) const {
    return method().build(std::forward<Args>(args)...);
  }

  void read(const ConfigNode& node, Diagnostics& out) {
    const auto name = detail::chosen_type(node, registry(), type_, out);
    if (!name) return;
    type_ = *name;
    mark_ = node.mark;
    method_ = make();
    ConfigNode named{.kind = ConfigNode::Kind::kMap, .mark = node.mark, .path = node.path};  // `rule: adamw` is an empty map
    method_->read(node.kind == ConfigNode::Kind::kMap ? node : named, out, type_);
  }
  [[nodiscard]] Json to_json() const {
    if (type_.empty()) return nullptr;
    Json result = {{"type", type_}};
    result.update(detail::print_map([this](FieldVisitor& v) { method().fields(v); }));
    return result;
  }
  // By reference, because a method may hold a choice of its own axis.
  [[nodiscard]] Json schema() const { return {{"$ref", "#/definitions/" + registry().axis()}}; }
  [[nodiscard]] std::string type_name() const { return registry().axis(); }

 private:
  // Defaults given by name are looked up when first needed, never during static initialization.
  AnyMethod& method() const {
    if (!method_) method_ = make();
    return *method_;
  }

  [[nodiscard]] std::unique_ptr<AnyMethod> make() const {
    std::unique_ptr<AnyMethod> made = registry().find(type_);
    TERSOR_CHECK(made != nullptr, "no {} called '{}'", registry().axis(), type_);
    if (type_ != default_type_ || default_options_.empty()) return made;
    Diagnostics out;
    made->read(parse_config(default_options_, "default options", out), out, type_);
    TERSOR_CHECK(out.empty(), "the default options of '{}' are wrong", type_);
    return made;
  }

  std::string type_;
  std::string default_type_;
  std::string default_options_;
  Mark mark_;
  mutable std::unique_ptr<AnyMethod> method_;
};

}  // namespace tersor
