#include "core/base/quantity.h"
#include "core/base/terminal.h"
#include "core/train/observer.h"

namespace tersor {
namespace {

std::string human_bytes(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes < 1 << 20) return fmt::format("{:.0f} KiB", value / 0x1.0p10);
  return bytes >= 1 << 30 ? fmt::format("{:.1f} GiB", value / 0x1.0p30) : fmt::format("{:.0f} MiB", value / 0x1.0p20);
}

class Console final : public RunObserver {
 public:
  void on_start(const RunInfo& info) override {
    const RunConfig& c = info.config;
    line(fmt::format("{}: {} parameters, {} steps of {} tokens, {}", c.folder().string(), format_count(static_cast<double>(info.num_parameters)),
                     c.total_steps(), format_count(static_cast<double>(c.tokens_per_step())), enum_name(c.run.dtype)));
    line(fmt::format("weights {} | optimizer state {}", human_bytes(info.weight_bytes), human_bytes(info.optimizer_bytes)));
    if (info.first_step > 0) line(fmt::format("resumed after step {}", info.first_step));
  }

  void on_step(const StepReport& s) override {
    if (s.skipped && !s.stops) line(fmt::format("step {}: a gradient is not finite; the step is skipped", s.progress.step));
    const std::string text =
        fmt::format("step {}/{} | loss {:.4f} | eta {} | {} tok/s | lr {:.1e} | gnorm {:.2f} | mem {}", s.progress.step,
                    s.progress.total_steps, s.loss, format_duration(s.eta_seconds), format_count(s.tokens_per_second), s.lr, s.grad_norm,
                    human_bytes(s.peak_bytes));
    if (s.log) line(text);
    if (s.log || terminal_.due(std::chrono::milliseconds(100)))
      terminal_.bar(static_cast<double>(s.progress.step) / static_cast<double>(s.progress.total_steps), text);
  }

  void on_action(const Progress& now, const ActionReport& a) override {
    line(fmt::format("step {}: {}: {}", now.step, a.name, a.detail));
  }
  void on_eval(const EvalReport& e) override {
    line(fmt::format("step {}: validation loss {:.4f} | ppl {:.2f} | {} tokens", e.progress.step, e.loss, e.ppl,
                     format_count(static_cast<double>(e.tokens))));
  }
  void on_checkpoint(const CheckpointReport& c) override {
    line(fmt::format("step {}: saved {} in {:.1f} s", c.step, c.folder.string(), c.seconds));
  }
  void on_end(const RunSummary& s) override {
    line(fmt::format("{} after step {}, {}", s.status, s.step, format_duration(s.seconds)));
  }

 private:
  void line(const std::string& text) const { terminal_.line(text); }

  Terminal terminal_;
};

}  // namespace

std::unique_ptr<RunObserver> make_console() { return std::make_unique<Console>(); }

}  // namespace tersor
