// A plan as a table for people and as JSON for machines.
#pragma once

#include "core/train/growth_advice.h"
#include "core/train/processes_plan.h"
#include "core/train/savings.h"

namespace tersor {

struct PlanOutput {
  const RunConfig& config;
  const RunPlan& plan;
  std::vector<Saving> savings;
  std::optional<StepMemory> measured;  // of the first stage
  double flops = 0;                    // per second; 0: no time is given
  bool growth = false;                 // whether advice is asked for
  std::vector<ProcessesPlan> processes{};
  double bandwidth = 0;                // bytes per second of one process; 0: no time is given
  double latency = 0;                  // seconds
};

// What a saving costs, in words.
[[nodiscard]] std::string price_of(const Saving& saving);

void print_plan(const PlanOutput& output);
[[nodiscard]] Json plan_json(const PlanOutput& output);

}  // namespace tersor
