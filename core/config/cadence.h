// When something happens: "every 200", "every 10M tokens", "at 1000", "at 80%", "at 1e15 flops", "every 200 from 10% until 80%", "never".
//
//   Cadence save = Cadence::every(1000);
//   if (save.due(progress)) …
//
// A position in tokens, compute or a share of the steps is reached at the first step that has seen that much. Counting starts at
// step 1: "every 200" is due at 200, 400, …; with "from 1000", at 1000, 1200, …  "until" is inclusive.
#pragma once

#include "core/base/progress.h"
#include "core/config/fields.h"

namespace tersor {

// Returns the number of steps in a span of the run.
[[nodiscard]] int64_t steps_in(const Span& span, const Progress& progress);

class Cadence {
 public:
  Cadence() = default;  // never
  [[nodiscard]] static Cadence every(int64_t steps);

  // `stretch` multiplies the period.
  [[nodiscard]] bool due(const Progress& now, double stretch = 1) const;
  // Steps from one due step to the next; 0 if the cadence does not repeat.
  [[nodiscard]] int64_t period_steps(const Progress& now) const;
  [[nodiscard]] bool never() const { return kind_ == Kind::kNever; }

  void read(const ConfigNode& node, Diagnostics& out);
  [[nodiscard]] Json to_json() const { return text_; }
  [[nodiscard]] Json schema() const;
  [[nodiscard]] std::string type_name() const { return "cadence"; }

 private:
  enum class Kind { kNever, kEvery, kAt };
  [[nodiscard]] std::optional<std::string> parse(const std::string& text);  // returns what is wrong, if anything

  Kind kind_ = Kind::kNever;
  Span period_or_position_;
  std::optional<Span> from_;
  std::optional<Span> until_;
  std::string text_ = "never";
};

}  // namespace tersor
