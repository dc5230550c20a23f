#include "core/train/profile.h"

#include <kineto/ActivityType.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "core/base/error.h"
#include "core/base/files.h"

namespace tersor {
namespace {

namespace kineto = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;

std::set<ActivityType> activities(bool on_gpu) {
  return on_gpu ? std::set{ActivityType::CPU, ActivityType::CUDA} : std::set{ActivityType::CPU};
}

struct Spent {
  int64_t count = 0;
  double ms = 0;
};
using SpentBy = std::map<std::string, Spent>;

double ms(uint64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e6; }

void add(SpentBy& spent, const kineto::KinetoEvent& event) {
  Spent& own = spent[event.name()];
  own.ms += ms(event.durationNs());
  ++own.count;
}

// Self time of operators, by name. Of two events of one thread, one lies within the other or they do not overlap.
SpentBy spent_by_operators(std::vector<const kineto::KinetoEvent*> events) {
  std::sort(events.begin(), events.end(), [](const auto* a, const auto* b) {
    return std::tuple(a->startThreadId(), a->startNs(), b->endNs()) < std::tuple(b->startThreadId(), b->startNs(), a->endNs());
  });
  SpentBy spent;
  std::vector<const kineto::KinetoEvent*> around;
  for (const auto* event : events) {
    while (!around.empty() && (around.back()->startThreadId() != event->startThreadId() || around.back()->endNs() <= event->startNs())) around.pop_back();
    if (!around.empty()) spent[around.back()->name()].ms -= ms(event->durationNs());
    add(spent, *event);
    around.push_back(event);
  }
  return spent;
}

// Time of kernels and copies, by name, and how long the GPU was busy with at least one of them.
std::pair<SpentBy, double> spent_by_kernels(std::vector<const kineto::KinetoEvent*> events) {
  std::sort(events.begin(), events.end(), [](const auto* a, const auto* b) { return a->startNs() < b->startNs(); });
  SpentBy spent;
  uint64_t busy = 0;
  uint64_t until = 0;
  for (const auto* event : events) {
    add(spent, *event);
    const uint64_t from = std::max(until, event->startNs());
    if (event->endNs() > from) busy += event->endNs() - from;
    until = std::max(until, event->endNs());
  }
  return {spent, ms(busy)};
}

// Longest first, with each one's share of `whole`.
std::string table(const std::string& title, const SpentBy& spent, double whole) {
  std::vector<std::pair<std::string, Spent>> rows(spent.begin(), spent.end());
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.second.ms > b.second.ms; });
  std::string text = fmt::format("{}\n{:>10} {:>7} {:>8}\n", title, "ms", "share", "calls");
  for (const auto& [name, own] : rows) text += fmt::format("{:10.3f} {:6.1f}% {:8}  {}\n", own.ms, 100 * own.ms / whole, own.count, name.substr(0, 120));
  return text;
}

std::string longest(const SpentBy& spent) {
  return std::max_element(spent.begin(), spent.end(), [](const auto& a, const auto& b) { return a.second.ms < b.second.ms; })->first.substr(0, 60);
}

struct Events {
  std::vector<const kineto::KinetoEvent*> operators;
  std::vector<const kineto::KinetoEvent*> kernels;
  double ms = 0;  // from the beginning of the first to the end of the last
};

Events sorted_out(const std::vector<kineto::KinetoEvent>& all) {
  Events events;
  uint64_t begin = UINT64_MAX;
  uint64_t end = 0;
  for (const kineto::KinetoEvent& event : all) {
    const auto type = static_cast<libkineto::ActivityType>(event.activityType());
    const bool kernel = type == libkineto::ActivityType::CONCURRENT_KERNEL || type == libkineto::ActivityType::GPU_MEMCPY || type == libkineto::ActivityType::GPU_MEMSET;
    const bool op = type == libkineto::ActivityType::CPU_OP || type == libkineto::ActivityType::USER_ANNOTATION;
    if (event.isAsync() || !(kernel || op)) continue;
    (kernel ? events.kernels : events.operators).push_back(&event);
    begin = std::min(begin, event.startNs());
    end = std::max(end, event.endNs());
  }
  if (end > begin) events.ms = ms(end - begin);
  return events;
}

}  // namespace

void Profile::prepare(const at::Device& device) {
  if (device.is_cpu()) setenv("KINETO_LOG_LEVEL", "5", 0);  // no errors about a missing GPU
  if (torch::profiler::impl::profilerEnabled())
    throw user_error("log.profile and run.device: {{nvtx: true}} cannot both hook LibTorch's operators; leave one of them out");
}

Profile::Profile(const at::Device& device) : on_gpu_(!device.is_cpu()) {
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  kineto::prepareProfiler(config, activities(on_gpu_));
  kineto::enableProfiler(config, activities(on_gpu_), {at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION, at::RecordScope::USER_SCOPE});
}

Profile::~Profile() {
  if (!listening_) return;
  try {
    (void)kineto::disableProfiler();
  } catch (const std::exception&) {  // report what ended the step, not this
  }
}

std::string Profile::save(const std::filesystem::path& name) {
  listening_ = false;
  const auto result = kineto::disableProfiler();
  std::filesystem::create_directories(name.parent_path());
  result->save(name.string() + ".json");
  const Events events = sorted_out(result->events());
  if (events.operators.empty()) return "no operators were recorded";
  const SpentBy operators = spent_by_operators(events.operators);
  std::string text = fmt::format("{:.1f} ms, while profiled\n\n", events.ms);
  std::string line = fmt::format("{:.0f} ms, most in {}", events.ms, longest(operators));
  if (!events.kernels.empty()) {
    const auto [kernels, busy] = spent_by_kernels(events.kernels);
    text += table(fmt::format("The GPU was busy for {:.1f} ms of that ({:.1f} %), by kernel", busy, 100 * busy / events.ms), kernels, events.ms) + "\n";
    line = fmt::format("{:.0f} ms, the GPU busy for {:.0f} %, most with {}", events.ms, 100 * busy / events.ms, longest(kernels));
  }
  write_whole(name.string() + ".txt", text + table("On the host, by operator, without what it calls", operators, events.ms));
  return line;
}

}  // namespace tersor
