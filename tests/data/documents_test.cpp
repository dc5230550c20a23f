// Documents from files as they occur in practice: other encodings, other keys, names in capitals.
#include <zstd.h>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/data/documents.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryFolder;

std::vector<std::string> documents_of(const std::vector<fs::path>& files, const std::string& text_key = kTextKey) {
  std::vector<std::string> documents;
  for_each_document(files, [&](std::string_view d) { documents.emplace_back(d); }, text_key);
  return documents;
}

TEST_CASE("documents: a line of JSON that is not UTF-8 is told from one that is no JSON", "[data]") {
  const TemporaryFolder folder;
  write_whole(folder / "a.jsonl", "{\"text\": \"caf\xc3\xa9\"}\n{\"text\": \"caf\xe9\"}\n");
  CHECK_THROWS_WITH(documents_of({folder / "a.jsonl"}), Catch::Contains("a.jsonl:2: not UTF-8; convert the file with iconv"));
  write_whole(folder / "a.jsonl", "{\"text\": \"caf\xc3\xa9\"}\n{\"text\": \"caf\n");
  CHECK_THROWS_WITH(documents_of({folder / "a.jsonl"}), Catch::Contains("a.jsonl:2: not a JSON object"));
}

TEST_CASE("documents: a byte order mark is no text, and UTF-16 is refused by name before anything is read", "[data]") {
  const TemporaryFolder folder;
  const std::string mark = "\xEF\xBB\xBF";
  write_whole(folder / "a.txt", mark + "<|endoftext|>\none " + mark);  // within text a mark stays
  write_whole(folder / "b.jsonl", mark + "{\"text\": \"two\"}\n");
  write_whole(folder / "c.txt", mark.substr(0, 2));  // shorter than a mark
  write_whole(folder / "d.txt", "");
  CHECK(documents_of({folder / "a.txt", folder / "b.jsonl"}) == std::vector<std::string>{"one " + mark + "\n", "two"});
  CHECK(documents_of({folder / "c.txt", folder / "d.txt"}) == std::vector<std::string>{mark.substr(0, 2) + "\n"});
  int read = 0;
  for (const std::string& utf16 : {std::string("\xFF\xFEh\0i\0", 6), std::string("\xFE\xFF\0h\0i", 6)}) {
    write_whole(folder / "e.txt", utf16);
    CHECK_THROWS_WITH(for_each_document({folder / "a.txt", folder / "e.txt"}, [&](std::string_view) { ++read; }),
                      Catch::Contains("e.txt' is UTF-16; convert it with 'iconv -f UTF-16 -t UTF-8'"));
  }
  CHECK(read == 0);
}

TEST_CASE("documents: endings in capitals are as good, and what is of another kind is told", "[data]") {
  const TemporaryFolder folder;
  const std::string jsonl = "{\"text\": \"two\"}\n";
  std::string packed(ZSTD_compressBound(jsonl.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), jsonl.data(), jsonl.size(), 3));
  write_whole(folder / "A.TXT", "one\n");
  write_whole(folder / "B.JSONL", jsonl);
  write_whole(folder / "C.JSON.ZST", packed);
  write_whole(folder / "D.JSON", jsonl);
  const TextFiles found = list_text_files({folder.path()});
  CHECK(documents_of(found.files) == std::vector<std::string>{"one\n", "two", "two"});
  CHECK(found.left_out == std::vector<fs::path>{"D.JSON"});
  CHECK_THROWS_WITH(list_text_files({folder / "D.JSON"}), Catch::Contains("is of no known kind"));
}

TEST_CASE("documents: a .jsonl may have its text under another key", "[data]") {
  const TemporaryFolder folder;
  write_whole(folder / "a.jsonl", "{\"text\": \"one\", \"content\": \"two\"}\n{\"content\": \"three\"}\n");
  CHECK(documents_of({folder / "a.jsonl"}, "content") == std::vector<std::string>{"two", "three"});
  CHECK_THROWS_WITH(documents_of({folder / "a.jsonl"}), Catch::Contains("a.jsonl:2: not a JSON object with a string 'text'; choose another key with --text-key"));
}

}  // namespace
}  // namespace tersor
