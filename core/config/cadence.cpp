#include "core/config/cadence.h"

#include <cmath>
#include <map>
#include <sstream>

namespace tersor {
namespace {

// A span as a position in the run, in the unit that `due` compares: tokens, compute, or else steps. A share of the steps need
// not be a whole number: rounding errors would add up over the periods.
double position(const Span& span, const Progress& now) {
  const double share = span.unit == Span::Unit::kFraction ? static_cast<double>(now.total_steps) : 1;
  return std::max(1.0, span.value * share);
}

// Far above the rounding error of a share, and far below the fraction of a period that one step makes up.
constexpr double kNothing = 1e-9;
bool has_come_to(double a, double b) { return a >= b * (1 - kNothing); }

// The unit that `due` compares: shares of a run are counted in steps.
Span::Unit counted_in(const Span& span) { return span.unit == Span::Unit::kFraction ? Span::Unit::kSteps : span.unit; }

struct Interval {
  double before;  // exclusive
  double now;     // inclusive
};

// The interval that this step covers, in the unit of the span.
Interval covered(const Span& span, const Progress& now) {
  switch (counted_in(span)) {
    case Span::Unit::kTokens: return {static_cast<double>(now.tokens_before), static_cast<double>(now.tokens)};
    case Span::Unit::kFlops: return {now.flops_before, now.flops};
    default: return {static_cast<double>(now.step - 1), static_cast<double>(now.step)};
  }
}

bool reached(const Span& span, const Progress& now) { return has_come_to(covered(span, now).now, position(span, now)); }
bool passed(const Span& span, const Progress& now) { return has_come_to(covered(span, now).before, position(span, now)); }

std::optional<Span> parse_span(const std::string& text) {
  Diagnostics errors;
  Span span;
  read_option(span, scalar_node(text), errors);
  if (!errors.empty() || span.value <= 0) return std::nullopt;
  return span;
}

}  // namespace

int64_t steps_in(const Span& span, const Progress& progress) {
  switch (span.unit) {
    case Span::Unit::kSteps: return static_cast<int64_t>(std::llround(span.value));
    case Span::Unit::kFraction: return std::llround(span.value * static_cast<double>(progress.total_steps));
    case Span::Unit::kTokens:
      return static_cast<int64_t>(std::ceil(span.value * static_cast<double>(progress.total_steps) / static_cast<double>(progress.total_tokens)));
    case Span::Unit::kFlops: return static_cast<int64_t>(std::ceil(span.value / std::max(1.0, progress.flops - progress.flops_before)));
  }
  return 0;
}

Cadence Cadence::every(int64_t steps) {
  Cadence cadence;
  const auto wrong = cadence.parse(fmt::format("every {}", steps));
  TERSOR_CHECK(!wrong, "{}", *wrong);
  return cadence;
}

int64_t Cadence::period_steps(const Progress& now) const {
  if (kind_ != Kind::kEvery) return 0;
  const auto [before, current] = covered(period_or_position_, now);
  return static_cast<int64_t>(std::ceil(position(period_or_position_, now) / std::max(1.0, current - before)));
}

bool Cadence::due(const Progress& now, double stretch) const {
  if (kind_ == Kind::kNever || now.step < 1) return false;
  Span span = period_or_position_;
  if (kind_ == Kind::kEvery) span.value *= stretch;
  const auto [before, current] = covered(span, now);
  if (kind_ == Kind::kAt) return reached(span, now) && !passed(span, now);
  const double place = position(span, now);
  if (from_ && !reached(*from_, now)) return false;
  if (until_ && passed(*until_, now)) return false;
  const bool same_unit = from_ && counted_in(*from_) == counted_in(span);
  const double origin = same_unit ? position(*from_, now) : 0;
  if (origin > 0 && !passed(*from_, now)) return true;  // reached by this step
  const auto periods = [&](double at) { return std::floor((std::max(at, origin) - origin) / place + kNothing); };
  return periods(current) > periods(before);
}

void Cadence::read(const ConfigNode& node, Diagnostics& out) {
  if (node.kind != ConfigNode::Kind::kScalar) {
    out.add(node, fmt::format("must be a cadence such as 'every 200', not {}", node.kind_name()));
    return;
  }
  Cadence parsed;
  if (const auto wrong = parsed.parse(node.scalar)) {
    out.add(node, *wrong);
    return;
  }
  *this = parsed;
}

std::optional<std::string> Cadence::parse(const std::string& text) {
  const std::string form =
      fmt::format("must be a cadence (never, every 200, every 10M tokens, at 700, at 80%, every 200 from 10% until 80%), not '{}'", text);
  text_ = text;
  if (text == "never") return std::nullopt;
  if (!text.empty() && std::isdigit(static_cast<unsigned char>(text[0])) != 0) return parse("every " + text);  // bare number
  std::map<std::string, std::string> parts;
  std::istringstream words(text);
  std::string keyword;
  for (std::string word; words >> word;) {
    if (word == "every" || word == "at" || word == "from" || word == "until") {
      keyword = word;
      if (!parts.emplace(keyword, "").second) return form;
    } else {
      if (keyword.empty()) return form;
      std::string& part = parts[keyword];
      part += (part.empty() ? "" : " ") + word;
    }
  }
  if (parts.contains("every") == parts.contains("at")) return form;
  if (parts.contains("at") && parts.size() > 1) return form;
  kind_ = parts.contains("every") ? Kind::kEvery : Kind::kAt;
  for (const auto& [name, value] : parts) {
    const auto span = parse_span(value);
    if (!span) return form;
    if (name == "from") from_ = span;
    else if (name == "until") until_ = span;
    else period_or_position_ = *span;
  }
  return std::nullopt;
}

Json Cadence::schema() const {
  return {{"type", Json::array({"string", "integer"})}, {"pattern", "^(never|at .+|every .+|[0-9].*)$"}};
}

}  // namespace tersor
