// Documents of files as people have them: other encodings, other keys, names in capitals.
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/data/documents.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryFolder;

std::vector<std::string> documents_of(const std::vector<fs::path>& files) {
  std::vector<std::string> documents;
  for_each_document(files, [&](std::string_view d) { documents.emplace_back(d); });
  return documents;
}

TEST_CASE("documents: a line of JSON that is not UTF-8 is told from one that is no JSON", "[data]") {
  const TemporaryFolder folder;
  write_whole(folder / "a.jsonl", "{\"text\": \"caf\xc3\xa9\"}\n{\"text\": \"caf\xe9\"}\n");
  CHECK_THROWS_WITH(documents_of({folder / "a.jsonl"}), Catch::Contains("a.jsonl:2: not UTF-8; convert the file with iconv"));
  write_whole(folder / "a.jsonl", "{\"text\": \"caf\xc3\xa9\"}\n{\"text\": \"caf\n");
  CHECK_THROWS_WITH(documents_of({folder / "a.jsonl"}), Catch::Contains("a.jsonl:2: not a JSON object"));
}

}  // namespace
}  // namespace tersor
