// The data that a suite's page is drawn from.
#include <cmath>

#include "core/bench/outputs.h"

namespace tersor {
namespace {

Json finite(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
Json or_null(const auto& value) { return value ? Json(*value) : Json(nullptr); }

// {"mean": …, "low": …, "high": …, "deviation": …} over the seeds that are done.
Json spread(const std::vector<double>& values) {
  if (values.empty()) return nullptr;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return {{"mean", finite(mean(values))}, {"low", finite(*low)}, {"high", finite(*high)}, {"deviation", finite(standard_deviation(values))}};
}

Json point_json(const PointSummary& point) {
  return {{"text", point.cells.front()->point_text()},
          {"lr", point.cells.front()->config.optimizer.lr},
          {"loss", spread(point.values(&CellRecord::loss))},
          {"done", point.num_done()},
          {"failed", point.num_failed()}};
}

Json published_json(const Suite& suite, const std::string& method) {
  Json all = Json::array();
  for (const PublishedResult& r : suite.published) {
    if (r.method == method) all.push_back({{"ppl", r.ppl}, {"memory", r.memory}, {"source", suite.number_of(r)}, {"remark", r.remark}});
  }
  return all;
}

Json method_json(const Suite& suite, const MethodSummary& method) {
  Json json{{"name", method.name}, {"points", Json::array()}, {"published", published_json(suite, method.name)}};
  for (const PointSummary& point : method.points) json["points"].push_back(point_json(point));
  if (const CellRecord* record = method.any_record()) {
    json["plan_bytes"] = record->planned_bytes;
    json["kept_bytes"] = record->weight_bytes + record->state_bytes;
    json["segments"] = record->planned_segments;
    json["parameters"] = record->parameters;
  }
  if (!method.best) return json;
  const PointSummary& best = *method.best_point();
  json["best"] = *method.best;
  json["at_edge"] = method.at_edge;
  json["on_front"] = method.on_front;
  json["loss"] = spread(best.values(&CellRecord::loss));
  json["ppl"] = spread(best.values(&CellRecord::ppl));
  json["ppl_legacy"] = spread(best.values(&CellRecord::ppl_legacy));
  json["tokens_per_second"] = spread(best.values(&CellRecord::tokens_per_second));
  json["seconds"] = spread(best.values(&CellRecord::seconds));
  json["ledger_bytes"] = or_null(best.largest(&CellRecord::ledger_bytes));
  json["resident_bytes"] = or_null(best.largest(&CellRecord::resident_bytes));
  return json;
}

Json cell_json(const Cell& cell, const CellRecord& r) {
  return {{"cell", r.cell},
          {"method", r.method},
          {"point", cell.point_text()},
          {"seed", r.seed},
          {"status", r.status},
          {"loss", or_null(r.loss)},
          {"ppl", or_null(r.ppl)},
          {"ppl_legacy", or_null(r.ppl_legacy)},
          {"plan_bytes", r.planned_bytes},
          {"ledger_bytes", or_null(r.ledger_bytes)},
          {"tokens_per_second", or_null(r.tokens_per_second)},
          {"seconds", or_null(r.seconds)},
          {"steps", r.steps},
          {"log", r.log},
          {"config", to_yaml(r.config)}};
}

}  // namespace

Json bench_json(const Suite& suite, const std::vector<MethodSummary>& methods, const Results& results) {
  const SuiteConfig& c = suite.config;
  Json json{{"title", c.title.empty() ? c.name : c.title}, {"plan_only", c.plan_only}, {"baseline", c.baseline}, {"total", num_cells_to_run(suite)},
            {"remarks", remarks_on(suite, methods)}, {"sources", Json::array()}, {"methods", Json::array()}, {"cells", Json::array()}};
  if (!suite.published.empty())
    for (const PublishedSource& source : suite.sources) json["sources"].push_back(source.title);
  for (const MethodSummary* method : by_loss(methods)) json["methods"].push_back(method_json(suite, *method));
  for (const Cell& cell : suite.cells)
    if (const CellRecord* record = results.find(cell)) json["cells"].push_back(cell_json(cell, *record));
  return json;
}

}  // namespace tersor
