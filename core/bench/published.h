// Perplexities from papers, with their sources, to show beside those of a suite that follows the same protocol.
#pragma once

#include "core/config/fields.h"

namespace tersor {

struct PublishedSource {
  std::string key;
  std::string title;
  void fields(FieldVisitor& v) {
    v("key", key, required, "the key by which results refer to it");
    v("title", title, required, "authors, year, venue, table");
  }
};

struct PublishedResult {
  std::string protocol;
  std::string method;
  double ppl = 0;
  std::string memory;
  std::string source;
  std::string remark;
  void fields(FieldVisitor& v) {
    v("protocol", protocol, required, "the protocol of the suites that show it");
    v("method", method, required, "the method's name in suites");
    v("ppl", ppl, required, positive, "validation perplexity as printed");
    v("memory", memory, "memory of weights and optimizer state, as printed");
    v("source", source, required, "key of the source");
    v("remark", remark, "what a reader should know");
  }
};

struct Published {
  std::vector<PublishedSource> sources;
  std::vector<PublishedResult> results;
  void fields(FieldVisitor& v) {
    v("sources", sources, required, "where results come from");
    v("results", results, required, "the numbers printed there");
  }
  void check(const ConfigNode& node, Diagnostics& out) const;
};

// Throws UserError with everything that is wrong with the file.
[[nodiscard]] Published read_published(const std::filesystem::path& file);

}  // namespace tersor
