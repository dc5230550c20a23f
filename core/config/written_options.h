// Options kept as they were written, with their marks, to be laid over a configuration later:
//
//   set: {train.steps: 200, optimizer: {groups: [...]}, optimizer.groups.0.rule.rank: 48}
//
// Keys are paths, as on the command line; later entries win.
#pragma once

#include "core/config/fields.h"

namespace tersor {

class WrittenOptions {
 public:
  void read(const ConfigNode& node, Diagnostics& out);
  [[nodiscard]] Json to_json() const;
  [[nodiscard]] Json schema() const { return {{"type", "object"}}; }
  [[nodiscard]] std::string type_name() const { return "map of options"; }

  void add(ConfigEntry entry) { entries_.push_back(std::move(entry)); }
  [[nodiscard]] const std::vector<ConfigEntry>& entries() const { return entries_; }
  // Lays them over `root`; reports those that cannot be set.
  void apply(ConfigNode& root, Diagnostics& out) const;

 private:
  std::vector<ConfigEntry> entries_;
};

// Returns a value as JSON; unquoted text that reads as a number, true, false or null becomes that.
[[nodiscard]] Json written_to_json(const ConfigNode& node);

}  // namespace tersor
