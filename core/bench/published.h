// Perplexities from papers, as data with their sources, to stand beside those of a suite that follows the same protocol.
#pragma once

#include "core/config/fields.h"

namespace tersor {

struct PublishedSource {
  std::string key;
  std::string title;
  void fields(FieldVisitor& v) {
    v("key", key, required, "what results call it");
    v("title", title, required, "authors, year, where, which table");
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
    v("protocol", protocol, required, "that of the suites it stands beside");
    v("method", method, required, "what suites call it");
    v("ppl", ppl, required, positive, "validation perplexity as printed");
    v("memory", memory, "of weights and optimizer state, as printed");
    v("source", source, required, "key of the source");
    v("remark", remark, "what a reader has to know");
  }
};

struct Published {
  std::vector<PublishedSource> sources;
  std::vector<PublishedResult> results;
  void fields(FieldVisitor& v) {
    v("sources", sources, required, "where results come from");
    v("results", results, required, "what was printed there");
  }
  void check(const ConfigNode& node, Diagnostics& out) const;
};

// UserError with all that is wrong with the file.
[[nodiscard]] Published read_published(const std::filesystem::path& file);

}  // namespace tersor
