#include "core/train/lr_schedule.h"

#include <cmath>
#include <numbers>

namespace tersor {

double schedule_factor(const ScheduleConfig& schedule, const Progress& progress) {
  const auto step = static_cast<double>(progress.step);
  const auto warmup = static_cast<double>(std::min(steps_in(schedule.warmup, progress), progress.total_steps));
  if (step < warmup) return step / warmup;
  const double total = static_cast<double>(progress.total_steps);
  const double share = total > warmup ? std::clamp((step - warmup) / (total - warmup), 0.0, 1.0) : 1.0;
  const double fall = 1 - schedule.min_ratio;
  switch (schedule.type) {
    case ScheduleType::kConstant: return 1;
    case ScheduleType::kLinear: return 1 - fall * share;
    case ScheduleType::kCosine: return schedule.min_ratio + fall * 0.5 * (1 + std::cos(std::numbers::pi * share));
    case ScheduleType::kWsd: {
      const auto decay = static_cast<double>(steps_in(schedule.decay, progress));
      const double begin = std::max(warmup, total - decay);
      return step <= begin || total <= begin ? 1 : 1 - fall * std::min(1.0, (step - begin) / (total - begin));
    }
  }
  return 1;
}

double rate_factor(const ScheduleConfig& schedule, const LiveSettings& settings, const Progress& progress) {
  const int64_t since = progress.step - settings.rewarmed_at;
  if (settings.rewarmed_at == 0 || since >= settings.rewarm_steps) return settings.rate * schedule_factor(schedule, progress);
  const double share = static_cast<double>(since) / static_cast<double>(settings.rewarm_steps);
  return settings.rate * share * schedule_factor(schedule, progress.shifted(settings.rewarm_steps - since));
}

}  // namespace tersor
