// Records of the cells of a suite that have ended: one line of results.jsonl each, with the exact configuration.
//
//   Results results(suite.folder() / "results.jsonl");
//   if (results.find(cell) == nullptr) …  results.put(record_of(…));
#pragma once

#include "core/bench/suite.h"
#include "core/train/run_plan.h"

namespace tersor {

struct CellRecord {
  std::string cell;
  std::string method;
  std::vector<GridValue> point;
  int64_t seed = 0;
  std::string status;             // done | failed | planned
  std::vector<std::string> log;   // the last lines of a run that failed
  bool killed = false;            // ended by a signal, as when memory runs out
  std::string tokens_sum;         // fingerprint of its data and plugins; empty if not recorded
  std::optional<double> loss;     // mean over validation tokens, at the end
  std::optional<double> ppl;
  std::optional<double> ppl_legacy;
  std::optional<double> tokens_per_second;  // the median over the recorded steps
  std::optional<double> seconds;  // of training, over all resumptions of the run
  int64_t steps = 0;
  int64_t tokens = 0;
  int64_t parameters = 0;
  int64_t planned_bytes = 0;      // at the peak, by plan
  int64_t weight_bytes = 0;       // by plan
  int64_t state_bytes = 0;        // by plan
  std::map<std::string, int64_t> planned_segments;  // at that peak
  std::optional<int64_t> ledger_bytes;    // peak of tensors, measured
  std::optional<int64_t> resident_bytes;  // peak of the whole process, measured
  Json config;  // the identity of the cell

  [[nodiscard]] Json to_json() const;
  [[nodiscard]] static CellRecord from_json(const Json& json);
  [[nodiscard]] bool finished() const { return status == "done" || status == "planned"; }
};

class Results {
 public:
  // Reads the records of the suite whose file lies in `home`. Throws UserError for a line that is not a record, except a cut-off last line.
  Results(std::filesystem::path file, const std::filesystem::path& home);

  // The record of exactly this configuration; nullptr if there is none.
  [[nodiscard]] const CellRecord* find(const Cell& cell) const;
  // The record of this cell with another configuration, if there is one.
  [[nodiscard]] const CellRecord* find_other(const Cell& cell) const;
  void put(CellRecord record);
  // Drops the failures, so that they are tried again. Returns how many there were.
  int64_t forget_failures();
  void forget(const Cell& cell) { records_.erase(cell.name); }
  [[nodiscard]] const std::map<std::string, CellRecord>& all() const { return records_; }

 private:
  void write() const;

  std::filesystem::path file_;
  std::map<std::string, CellRecord> records_;  // by cell
};

// The record of a cell whose run has ended, from what it left in its folder.
[[nodiscard]] CellRecord record_of(const Cell& cell, const RunPlan& plan, const std::string& status);

}  // namespace tersor
