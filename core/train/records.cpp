// The two observers that write files: metrics.jsonl and TensorBoard events.
#include <chrono>
#include <cmath>
#include <fstream>

#include "core/base/files.h"
#include "core/base/log.h"
#include "core/report/run_records.h"
#include "core/report/tensorboard.h"
#include "core/train/observer.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;

Json finite(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json step_values(const StepReport& s) {
  Json values = {{"train/loss", finite(s.loss)},
          {"lr", s.lr},
          {"grad_norm", finite(s.grad_norm)},
          {"model/active_parameters", s.active_parameters},
          {"model/average_parameters", s.average_parameters},
          {"tokens_per_second", s.tokens_per_second},
          {"time/step_ms", s.step_ms},
          {"time/data_ms", s.data_ms},
          {"mem/peak_bytes", s.peak_bytes},
          {"elapsed_seconds", s.elapsed_seconds},
          {"eta_seconds", s.eta_seconds}};
  if (s.mfu > 0) values["mfu"] = s.mfu;
  if (s.update_ms) values["time/method_ms"] = *s.update_ms;
  if (s.comm_bytes > 0) {
    values["comm/bytes"] = s.comm_bytes;
    values["time/wait_ms"] = s.wait_ms;
  }
  values["mem/allocated_peak_bytes"] = s.memory.total;
  for (size_t i = 0; i < kSegmentNames.size(); ++i) values[fmt::format("mem/at_peak/{}", kSegmentNames[i])] = s.memory.bytes[i];
  for (const auto& [source, windows] : s.drawn) values["data/windows/" + source] = windows;
  return values;
}

Json eval_values(const EvalReport& e) {
  Json values = {{"val/loss", finite(e.loss)}, {"val/ppl", finite(e.ppl)}, {"val/ppl_legacy", finite(e.ppl_legacy)}, {"val/tokens", e.tokens}};
  for (const auto& [source, loss] : e.losses) values["val/loss/" + source] = finite(loss);
  return values;
}

Json memory_values(const RunInfo& info) {
  return {{"mem/weights_bytes", info.weight_bytes}, {"mem/optimizer_bytes", info.optimizer_bytes}};
}

// Memory over one step, by segment; segments that were never used are left out.
Json moments_values(const std::vector<MemoryMoment>& moments) {
  Json milliseconds = Json::array();
  for (const MemoryMoment& moment : moments) milliseconds.push_back(std::round(1e5 * moment.seconds) / 100);
  Json segments = Json::object();
  for (size_t i = 0; i < kSegmentNames.size(); ++i) {
    Json bytes = Json::array();
    for (const MemoryMoment& moment : moments) bytes.push_back(moment.use.bytes[i]);
    const bool used = std::any_of(moments.begin(), moments.end(), [i](const MemoryMoment& m) { return m.use.bytes[i] > 0; });
    if (used) segments[std::string(kSegmentNames[i])] = bytes;
  }
  return {{"ms", milliseconds}, {"bytes", segments}};
}

class Jsonl final : public RunObserver {
 public:
  explicit Jsonl(const fs::path& run) : file_(run / kMetricsFile) {}

  void on_start(const RunInfo& info) override {
    keep_until(info.first_step);
    stream_.open(file_, std::ios::app);
    if (!stream_) throw user_error("'{}' cannot be written to", file_.string());
    size_ = fs::file_size(file_);
    const RunConfig& c = info.config;
    write("start", info.first_step,
          {{"run", c.run.name},
           {"model", {{"parameters", info.num_parameters}, {"num_hidden_layers", c.model.num_hidden_layers}, {"hidden_size", c.model.hidden_size}}},
           {"total_steps", c.total_steps()},
           {"tokens_per_step", c.tokens_per_step()},
           {"device", info.device},
           {"dtype", enum_name(c.run.dtype)}});
    write("memory", info.first_step, memory_values(info));
  }
  void on_step(const StepReport& s) override {
    if (!s.memory_moments.empty()) write("memory_over_step", s.progress.step, moments_values(s.memory_moments));
    if (!s.log && !s.skipped) return;
    Json values = {{"tokens", s.progress.tokens}};
    values.update(step_values(s));
    if (s.norm_is_estimate) values["grad_norm_is_estimate"] = true;
    if (s.skipped) values["skipped"] = true;
    write("step", s.progress.step, values);
  }
  void on_action(const Progress& now, const ActionReport& a) override {
    write("event", now.step, {{"tokens", now.tokens}, {"name", a.name}, {"detail", a.detail}});
  }
  void on_eval(const EvalReport& e) override {
    Json values = {{"tokens", e.progress.tokens}};
    values.update(eval_values(e));
    write("eval", e.progress.step, values);
  }
  void on_end(const RunSummary& s) override { write("end", s.step, {{"status", s.status}, {"seconds", s.seconds}}); }

 private:
  // After a crash the file may hold records of steps beyond the checkpoint, and a partial line.
  void keep_until(int64_t step) {
    if (!fs::exists(file_)) return;
    std::istringstream old(read_text(file_));
    std::string kept;
    bool has_steps = false;
    for (std::string text; std::getline(old, text);) {
      const Json record = Json::parse(text, nullptr, false);
      has_steps = has_steps || (record.is_object() && record.value("type", "") == "step");
      if (record.is_object() && record.value("step", int64_t{0}) <= step && record.value("type", "") != "end") kept += text + "\n";
    }
    if (step == 0 && has_steps) put_aside();
    write_whole(file_, step > 0 ? kept : "");
  }
  // For a run that starts over because an earlier one left no checkpoint, or lost them.
  void put_aside() {
    const fs::path aside = file_.parent_path() / kOldMetricsFile;
    fs::rename(file_, aside);
    log().info("there is no checkpoint to resume from: the run starts over, and earlier records are moved to '{}'", aside.string());
  }
  void write(const std::string& type, int64_t step, const Json& values) {
    Json record = {{"type", type}, {"step", step}};
    record.update(values);
    stream_ << record.dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;  // flushed, so that a crash loses no record
    std::error_code error;
    if (stream_) {
      const uintmax_t size = fs::file_size(file_, error);
      if (!error) size_ = size;  // else somebody has removed the file
      return;
    }
    if (!failed_) log().warn("'{}' cannot be written to; is the disk full? Records are being lost", file_.string());
    failed_ = true;
    stream_.close();
    stream_.clear();
    fs::resize_file(file_, size_, error);  // drop the part of the record that still fitted
    stream_.open(file_, std::ios::app);
  }

  fs::path file_;
  std::ofstream stream_;
  uintmax_t size_ = 0;  // up to the end of the last record
  bool failed_ = false;
};

class Tensorboard final : public RunObserver {
 public:
  explicit Tensorboard(const fs::path& run) : folder_(run / "tb") {}

  void on_start(const RunInfo& info) override {
    events_ = std::make_unique<TensorboardWriter>(folder_, info.first_step > 0 ? info.first_step + 1 : 0);
    if (info.first_step == 0) events_->text("config", 0, "```yaml\n" + to_yaml(info.resolved) + "```", now());
    scalars(info.first_step, memory_values(info));
  }
  void on_step(const StepReport& s) override {
    if (s.log) scalars(s.progress.step, step_values(s));
  }
  void on_eval(const EvalReport& e) override { scalars(e.progress.step, eval_values(e)); }
  void on_action(const Progress& progress, const ActionReport& a) override {
    events_->text("event/" + a.name, progress.step, a.detail, now());
    events_->flush();
  }

 private:
  static double now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  }
  void scalars(int64_t step, const Json& values) {
    for (const auto& [tag, value] : values.items())
      if (value.is_number()) events_->scalar(tag, step, value.get<double>(), now());
    events_->flush();
  }

  fs::path folder_;
  std::unique_ptr<TensorboardWriter> events_;
};

}  // namespace

std::unique_ptr<RunObserver> make_jsonl(const fs::path& run) { return std::make_unique<Jsonl>(run); }
std::unique_ptr<RunObserver> make_tensorboard(const fs::path& run) { return std::make_unique<Tensorboard>(run); }

}  // namespace tersor
