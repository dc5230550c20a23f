// A configuration as written: a tree of YAML values, each of which remembers where it came from.
//
//   ConfigNode root = load_config({"base.yaml", "mine.yaml"}, {"optimizer.lr=0.003"}, diagnostics);
//
// Later files win over earlier ones, `extends:` inside a file counts as earlier, and command-line overrides win
// over all. Maps merge key by key; everything else replaces. A map whose `type` differs from the one below it
// replaces it whole, so that one method's options never leak into another's.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"

namespace tersor {

// Where a value was written. Lines and columns count from 1; line 0 means "no line" (the command line).
struct Mark {
  std::shared_ptr<const std::string> file;
  int line = 0;
  int column = 0;

  [[nodiscard]] std::string text() const;               // "file:line:col"
  [[nodiscard]] std::filesystem::path folder() const;   // what relative paths are relative to
};

struct ConfigEntry;

struct ConfigNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };

  Kind kind = Kind::kNull;
  std::string scalar;                // kScalar; of a map, the scalar it was before options were added: `rule: lion`, then `rule.beta2=0.9`
  bool quoted = false;               // kScalar: written in quotes, so never a number
  std::vector<ConfigNode> items;     // kSequence
  std::vector<ConfigEntry> entries;  // kMap, in the order written
  Mark mark;
  std::string path;                  // "optimizer.groups[0].rule"

  [[nodiscard]] const ConfigNode* find(std::string_view key) const;  // nullptr when absent
  [[nodiscard]] ConfigNode* find(std::string_view key);
  // Returns the value of a nested key, or the nearest one above it that was written: where a message about that key points.
  [[nodiscard]] const ConfigNode& nearest(std::initializer_list<std::string_view> keys) const;
  [[nodiscard]] std::string_view kind_name() const;  // for messages: "a list"
};

struct ConfigEntry {
  std::string key;
  Mark key_mark;
  ConfigNode value;
};

// All errors in a configuration, collected so that they can be reported together.
class Diagnostics {
 public:
  void add(const Mark& mark, std::string_view path, std::string message);
  void add(const ConfigNode& node, std::string message) { add(node.mark, node.path, std::move(message)); }
  [[nodiscard]] size_t size() const { return lines_.size(); }
  [[nodiscard]] bool empty() const { return lines_.empty(); }
  // All messages, one per line, in the order of files and lines.
  [[nodiscard]] std::string text() const;
  // Throws a UserError with that text if there are any.
  void throw_if_any() const;

 private:
  struct Line {
    Mark mark;
    std::string text;
  };
  std::vector<Line> lines_;
};

// Reads and merges `files` in order, then applies `overrides` ("a.b=value", "--a.b=value"; a number picks an
// element of a list: "optimizer.groups.0.rule.type=sgd"). Reports whatever cannot be read in `diagnostics`.
[[nodiscard]] ConfigNode load_config(const std::vector<std::filesystem::path>& files,
                                     const std::vector<std::string>& overrides,
                                     Diagnostics& diagnostics);

// Parses one text, without resolving `extends`; `name` stands for the file in messages.
[[nodiscard]] ConfigNode parse_config(const std::string& text, const std::string& name,
                                      Diagnostics& diagnostics);

// A value that comes from outside any configuration; messages call it `path`.
[[nodiscard]] ConfigNode scalar_node(std::string text, std::string path = {});

// "; did you mean 'rank'?" for the nearest of `known`, or "" if none is close.
[[nodiscard]] std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

}  // namespace tersor
