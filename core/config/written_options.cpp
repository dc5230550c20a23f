#include "core/config/written_options.h"

#include "core/config/merge.h"

namespace tersor {

void WrittenOptions::read(const ConfigNode& node, Diagnostics& out) {
  if (node.kind != ConfigNode::Kind::kMap)
    return out.add(node, fmt::format("must be a map such as {{optimizer.lr: 0.003}}, not {}", node.kind_name()));
  entries_ = node.entries;
}

Json WrittenOptions::to_json() const {
  Json all = Json::object();
  for (const ConfigEntry& entry : entries_) all[entry.key] = written_to_json(entry.value);
  return all;
}

void WrittenOptions::apply(ConfigNode& root, Diagnostics& out) const {
  for (const ConfigEntry& entry : entries_) set_option(root, entry.key, entry.value, out);
}

Json written_to_json(const ConfigNode& node) {
  switch (node.kind) {
    case ConfigNode::Kind::kNull: return nullptr;
    case ConfigNode::Kind::kScalar: {
      const Json value = node.quoted ? Json(node.scalar) : Json::parse(node.scalar, nullptr, false);
      return value.is_primitive() ? value : Json(node.scalar);
    }
    case ConfigNode::Kind::kSequence: {
      Json items = Json::array();
      for (const ConfigNode& item : node.items) items.push_back(written_to_json(item));
      return items;
    }
    case ConfigNode::Kind::kMap: {
      Json map = Json::object();
      for (const ConfigEntry& entry : node.entries) map[entry.key] = written_to_json(entry.value);
      return map;
    }
  }
  return nullptr;
}

}  // namespace tersor
