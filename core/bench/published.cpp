#include "core/bench/published.h"

#include <algorithm>

namespace tersor {

void Published::check(const ConfigNode& node, Diagnostics& out) const {
  const ConfigNode* written = node.find("results");
  for (size_t i = 0; i < results.size(); ++i)
    if (std::none_of(sources.begin(), sources.end(), [&](const PublishedSource& s) { return s.key == results[i].source; }))
      out.add(written->items[i], fmt::format("'{}' is not one of the sources", results[i].source));
}

Published read_published(const std::filesystem::path& file) {
  Diagnostics out;
  const ConfigNode node = load_config({file}, {}, out);
  out.throw_if_any();
  Published published;
  read_fields(published, node, out);
  out.throw_if_any();
  return published;
}

}  // namespace tersor
