// The learning rate as a pure function of the step. Step 1 is the first update and never has rate 0; N steps are N updates.
//
//   warm-up over w steps: k/w        then, with p = (k − w)/(N − w) and floor m = min_ratio:
//   cosine    m + (1 − m)·(1 + cos πp)/2          linear    1 − (1 − m)·p
//   constant  1                                   wsd       1, then linearly to m over the last `decay` steps
#pragma once

#include "core/config/cadence.h"
#include "core/timeline/timeline.h"

namespace tersor {

enum class ScheduleType { kCosine, kLinear, kWsd, kConstant };
template <>
struct EnumNames<ScheduleType> {
  static constexpr std::array values{std::pair{ScheduleType::kCosine, std::string_view("cosine")},
                                     std::pair{ScheduleType::kLinear, std::string_view("linear")},
                                     std::pair{ScheduleType::kWsd, std::string_view("wsd")},
                                     std::pair{ScheduleType::kConstant, std::string_view("constant")}};
};

struct ScheduleConfig {
  ScheduleType type = ScheduleType::kCosine;
  Span warmup{0.1, Span::Unit::kFraction};
  Span decay{0.2, Span::Unit::kFraction};
  double min_ratio = 0.1;
  void fields(FieldVisitor& v) {
    v("type", type, "shape of the rate after the warm-up");
    v("warmup", warmup, at_least(0), "how long the rate rises linearly");
    v("decay", decay, at_least(0), "wsd: how long the rate falls at the end");
    v("min_ratio", min_ratio, between(0, 1), "last rate as a share of the peak");
  }
};

// The factor on the peak rate for the current step.
[[nodiscard]] double schedule_factor(const ScheduleConfig& schedule, const Progress& progress);
// The same for a run whose timeline may rewarm the rate (core/timeline/rewarm.cpp), which then rises to the schedule's value at the
// end of the rise.
[[nodiscard]] double rate_factor(const ScheduleConfig& schedule, const LiveSettings& settings, const Progress& progress);

}  // namespace tersor
