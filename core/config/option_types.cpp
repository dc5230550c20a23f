// How each basic type of option is read from text and written back.
#include <charconv>
#include <cmath>

#include "core/config/fields.h"

namespace tersor::detail {
namespace {

using Kind = ConfigNode::Kind;

// The number at the start of a text, and what follows it after any blanks.
struct Quantity {
  double number = 0;
  std::string unit;
};

std::optional<Quantity> parse_quantity(std::string_view text) {
  std::string digits;
  size_t i = 0;
  for (; i < text.size(); ++i) {
    const char c = text[i];
    const bool exponent = (c == 'e' || c == 'E') && i + 1 < text.size() && !digits.empty() &&
                          (std::isdigit(static_cast<unsigned char>(text[i + 1])) || text[i + 1] == '-' || text[i + 1] == '+');
    const bool sign = (c == '-' || c == '+') && (i == 0 || text[i - 1] == 'e' || text[i - 1] == 'E');
    if (c == '_') continue;  // 1_000_000
    if (!std::isdigit(static_cast<unsigned char>(c)) && c != '.' && !exponent && !sign) break;
    if (c != '+') digits.push_back(c);
  }
  Quantity q;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), q.number);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  while (i < text.size() && text[i] == ' ') ++i;
  q.unit = std::string(text.substr(i));
  return q;
}

std::optional<double> count_suffix(std::string_view unit) {
  if (unit.empty()) return 1;
  if (unit == "k" || unit == "K") return 1e3;
  if (unit == "M") return 1e6;
  if (unit == "B" || unit == "G") return 1e9;
  if (unit == "T") return 1e12;
  return std::nullopt;
}

// Removes "M" from the front of "M tokens" and returns its factor; 1 if there is no suffix.
double take_count_suffix(std::string& unit) {
  const size_t blank = unit.find(' ');
  const auto factor = count_suffix(unit.substr(0, blank));
  if (!factor || unit.empty()) return 1;
  unit = blank == std::string::npos ? "" : unit.substr(blank + 1);
  return *factor;
}

bool is_scalar(const ConfigNode& node, std::string_view wanted, Diagnostics& out) {
  if (node.kind == Kind::kScalar) return true;
  out.add(node, fmt::format("must be {}, not {}", wanted, node.kind_name()));
  return false;
}

void complain(const ConfigNode& node, std::string_view wanted, Diagnostics& out) {
  out.add(node, fmt::format("must be {}, not '{}'", wanted, node.scalar));
}

// Whole numbers are written without a decimal point.
Json number(double value) {
  if (std::abs(value) < 1e15 && value == std::floor(value)) return static_cast<int64_t>(value);
  return value;
}

}  // namespace

void OptionType<bool>::read(const ConfigNode& node, bool& value, Diagnostics& out) {
  if (!is_scalar(node, "true or false", out)) return;
  if (node.scalar == "true" || node.scalar == "True" || node.scalar == "yes" || node.scalar == "on")
    value = true;
  else if (node.scalar == "false" || node.scalar == "False" || node.scalar == "no" || node.scalar == "off")
    value = false;
  else
    complain(node, "true or false", out);
}
Json OptionType<bool>::to_json(const bool& value) { return value; }
Json OptionType<bool>::schema() { return {{"type", "boolean"}}; }
std::string OptionType<bool>::type_name() { return "true | false"; }

void OptionType<int64_t>::read(const ConfigNode& node, int64_t& value, Diagnostics& out) {
  constexpr std::string_view kWanted = "a whole number (10000, 10k, 10M)";
  if (!is_scalar(node, kWanted, out)) return;
  const auto q = parse_quantity(node.scalar);
  const auto factor = q ? count_suffix(q->unit) : std::nullopt;
  const double result = q && factor ? q->number * *factor : NAN;
  if (node.quoted || !(std::abs(result) < 9e18) || result != std::floor(result)) return complain(node, kWanted, out);
  int64_t exact = 0;  // doubles do not hold every whole number above 2^53
  const auto [end, error] = std::from_chars(node.scalar.data(), node.scalar.data() + node.scalar.size(), exact);
  const bool plain = error == std::errc() && end == node.scalar.data() + node.scalar.size();
  value = plain ? exact : static_cast<int64_t>(result);
}
Json OptionType<int64_t>::to_json(const int64_t& value) { return value; }
Json OptionType<int64_t>::schema() { return {{"type", Json::array({"integer", "string"})}}; }
std::string OptionType<int64_t>::type_name() { return "whole number"; }

void OptionType<double>::read(const ConfigNode& node, double& value, Diagnostics& out) {
  constexpr std::string_view kWanted = "a number (0.003) or a percentage (10%)";
  if (!is_scalar(node, kWanted, out)) return;
  const auto q = parse_quantity(node.scalar);
  const auto factor = !q ? std::nullopt : q->unit == "%" ? std::optional(0.01) : count_suffix(q->unit);
  if (node.quoted || !factor || !std::isfinite(q->number)) return complain(node, kWanted, out);
  value = q->unit == "%" ? q->number / 100 : q->number * *factor;
}
Json OptionType<double>::to_json(const double& value) { return number(value); }
Json OptionType<double>::schema() { return {{"type", Json::array({"number", "string"})}}; }
std::string OptionType<double>::type_name() { return "number"; }

void OptionType<std::string>::read(const ConfigNode& node, std::string& value, Diagnostics& out) {
  if (is_scalar(node, "text", out)) value = node.scalar;
}
Json OptionType<std::string>::to_json(const std::string& value) { return value; }
Json OptionType<std::string>::schema() { return {{"type", Json::array({"string", "number"})}}; }
std::string OptionType<std::string>::type_name() { return "text"; }

void OptionType<std::filesystem::path>::read(const ConfigNode& node, std::filesystem::path& value,
                                             Diagnostics& out) {
  if (!is_scalar(node, "a path", out)) return;
  if (node.scalar.empty()) return complain(node, "a path", out);
  value = (node.mark.folder() / node.scalar).lexically_normal();
  if (!value.has_filename()) value = value.parent_path();
}
Json OptionType<std::filesystem::path>::to_json(const std::filesystem::path& value) {
  return value.empty() ? Json(nullptr) : Json(value.string());
}
Json OptionType<std::filesystem::path>::schema() { return {{"type", "string"}}; }
std::string OptionType<std::filesystem::path>::type_name() { return "path"; }

void OptionType<Bytes>::read(const ConfigNode& node, Bytes& value, Diagnostics& out) {
  constexpr std::string_view kWanted = "an amount of memory (512MB, 2GiB)";
  if (!is_scalar(node, kWanted, out)) return;
  static const std::pair<std::string_view, double> kUnits[] = {
      {"", 1},      {"B", 1},           {"kB", 1e3},          {"KB", 1e3},         {"MB", 1e6}, {"GB", 1e9},
      {"TB", 1e12}, {"KiB", 0x1.0p+10}, {"MiB", 0x1.0p+20}, {"GiB", 0x1.0p+30}, {"TiB", 0x1.0p+40}};
  const auto q = parse_quantity(node.scalar);
  for (const auto& [unit, factor] : kUnits) {
    if (!q || q->unit != unit || !(q->number >= 0 && q->number * factor < 0x1p63)) continue;
    value.value = static_cast<int64_t>(q->number * factor);
    return;
  }
  complain(node, kWanted, out);
}
Json OptionType<Bytes>::to_json(const Bytes& value) { return value.value; }
Json OptionType<Bytes>::schema() { return {{"type", Json::array({"integer", "string"})}}; }
std::string OptionType<Bytes>::type_name() { return "bytes"; }

void OptionType<Span>::read(const ConfigNode& node, Span& value, Diagnostics& out) {
  constexpr std::string_view kWanted = "steps (2000), tokens (10M tokens), a share of the run (10%) or compute (1e15 flops)";
  if (!is_scalar(node, kWanted, out)) return;
  auto q = parse_quantity(node.scalar);
  if (!q || !std::isfinite(q->number)) return complain(node, kWanted, out);
  if (q->unit == "%") {
    value = {q->number / 100, Span::Unit::kFraction};
    return;
  }
  q->number *= take_count_suffix(q->unit);
  if (q->unit.empty() || q->unit == "step" || q->unit == "steps")
    value = {q->number, Span::Unit::kSteps};
  else if (q->unit == "token" || q->unit == "tokens")
    value = {q->number, Span::Unit::kTokens};
  else if (q->unit == "flop" || q->unit == "flops")
    value = {q->number, Span::Unit::kFlops};
  else
    complain(node, kWanted, out);
}
Json OptionType<Span>::to_json(const Span& value) {
  const std::string text = number(value.unit == Span::Unit::kFraction ? value.value * 100 : value.value).dump();
  switch (value.unit) {
    case Span::Unit::kSteps: return number(value.value);
    case Span::Unit::kTokens: return text + " tokens";
    case Span::Unit::kFraction: return text + "%";
    case Span::Unit::kFlops: return text + " flops";
  }
  return nullptr;
}
Json OptionType<Span>::schema() { return {{"type", Json::array({"number", "string"})}}; }
std::string OptionType<Span>::type_name() { return "steps | tokens | % | flops"; }

void read_enum(const ConfigNode& node, const std::vector<std::string>& names, Diagnostics& out,
               const std::function<void(size_t)>& set) {
  const std::string wanted = fmt::format("one of {}", fmt::join(names, ", "));
  if (!is_scalar(node, wanted, out)) return;
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i] == node.scalar) return set(i);
  out.add(node, fmt::format("must be {}, not '{}'{}", wanted, node.scalar, did_you_mean(node.scalar, names)));
}

}  // namespace tersor::detail
