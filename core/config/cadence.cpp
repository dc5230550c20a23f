#include "core/config/cadence.h"

#include <cmath>
#include <map>
#include <sstream>

namespace tersor {
namespace {

// A span as a position in the run, in the unit in which `due` compares: steps, or tokens for token spans.
int64_t position(const Span& span, const Progress& now) {
  const double share = span.unit == Span::Unit::kFraction ? static_cast<double>(now.total_steps) : 1;
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(span.value * share - 1e-9)));
}

struct Interval {
  int64_t before;  // exclusive
  int64_t now;     // inclusive
};

// What this step covers, in the unit of the span.
Interval covered(const Span& span, const Progress& now) {
  if (span.unit == Span::Unit::kTokens) return {now.tokens_before, now.tokens};
  return {now.step - 1, now.step};
}

bool reached(const Span& span, const Progress& now) { return covered(span, now).now >= position(span, now); }
bool passed(const Span& span, const Progress& now) { return covered(span, now).before >= position(span, now); }

std::optional<Span> parse_span(const std::string& text) {
  ConfigNode node;
  node.kind = ConfigNode::Kind::kScalar;
  node.scalar = text;
  Diagnostics errors;
  Span span;
  detail::OptionType<Span>::read(node, span, errors);
  if (!errors.empty() || span.value <= 0) return std::nullopt;
  return span;
}

}  // namespace

Cadence Cadence::every(int64_t steps) {
  Cadence cadence;
  const auto wrong = cadence.parse(fmt::format("every {}", steps));
  TERSOR_CHECK(!wrong, "{}", *wrong);
  return cadence;
}

int64_t Cadence::period_steps(const Progress& now) const {
  if (kind_ != Kind::kEvery) return 0;
  const int64_t period = position(period_or_position_, now);
  if (period_or_position_.unit != Span::Unit::kTokens) return period;
  const int64_t per_step = std::max<int64_t>(1, now.tokens - now.tokens_before);
  return (period + per_step - 1) / per_step;
}

bool Cadence::due(const Progress& now, double stretch) const {
  if (kind_ == Kind::kNever || now.step < 1) return false;
  Span span = period_or_position_;
  if (kind_ == Kind::kEvery) span.value *= stretch;
  const auto [before, current] = covered(span, now);
  const int64_t place = position(span, now);
  if (kind_ == Kind::kAt) return before < place && current >= place;
  if (from_ && !reached(*from_, now)) return false;
  if (until_ && passed(*until_, now)) return false;
  const bool same_unit = from_ && (from_->unit == Span::Unit::kTokens) == (span.unit == Span::Unit::kTokens);
  const int64_t origin = same_unit ? position(*from_, now) : 0;
  if (origin > 0 && before < origin && current >= origin) return true;
  return (current - origin) / place > (std::max(before, origin) - origin) / place;
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
      fmt::format("must be a cadence (never, every 200, every 10M tokens, at 80%, every 200 from 10% until 80%), not '{}'", text);
  text_ = text;
  if (text == "never") return std::nullopt;
  if (!text.empty() && std::isdigit(static_cast<unsigned char>(text[0])) != 0) return parse("every " + text);  // as log.every
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
