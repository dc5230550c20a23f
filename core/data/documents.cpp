#include "core/data/documents.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "core/base/error.h"
#include "core/data/utf8.h"

namespace tersor {
namespace {

namespace fs = std::filesystem;
constexpr size_t kBlock = 1 << 16;
constexpr std::string_view kSeparator = "<|endoftext|>";

// The extension in lower case; some systems write it in capitals.
std::string ending_of(const fs::path& file) {
  std::string ending = file.extension().string();
  for (char& c : ending)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return ending;
}

// Reads the decompressed bytes of a file.
class ByteReader {
 public:
  virtual ~ByteReader() = default;
  virtual size_t read(char* out, size_t size) = 0;  // 0 at the end
};

// Also reads plain files: zlib passes uncompressed data through.
class GzipReader final : public ByteReader {
 public:
  explicit GzipReader(const fs::path& file) : name_(file.string()), file_(gzopen(file.c_str(), "rb"), &gzclose) {
    if (!file_) throw user_error("'{}' cannot be read", name_);
  }
  size_t read(char* out, size_t size) override {
    const int got = gzread(file_.get(), out, static_cast<unsigned>(size));
    int error = Z_OK;
    const char* why = gzerror(file_.get(), &error);
    if (got < 0 || error == Z_BUF_ERROR) throw user_error("'{}' is damaged: {}", name_, why);
    return static_cast<size_t>(got);
  }

 private:
  std::string name_;
  std::unique_ptr<gzFile_s, decltype(&gzclose)> file_;
};

class ZstdReader final : public ByteReader {
 public:
  explicit ZstdReader(const fs::path& file) : name_(file.string()), stream_(file, std::ios::binary), packed_(kBlock) {
    if (!stream_) throw user_error("'{}' cannot be read", name_);
  }
  size_t read(char* out, size_t size) override {
    ZSTD_outBuffer target{out, size, 0};
    while (target.pos == 0) {
      if (source_.pos == source_.size && !refill()) return 0;
      open_ = ZSTD_decompressStream(context_.get(), &target, &source_);
      if (ZSTD_isError(open_) != 0) throw user_error("'{}' is damaged: {}", name_, ZSTD_getErrorName(open_));
    }
    return target.pos;
  }

 private:
  bool refill() {
    stream_.read(packed_.data(), static_cast<std::streamsize>(packed_.size()));
    source_ = {packed_.data(), static_cast<size_t>(stream_.gcount()), 0};
    if (source_.size == 0 && open_ != 0) throw user_error("'{}' is cut off", name_);
    return source_.size > 0;
  }

  std::string name_;
  std::ifstream stream_;
  std::vector<char> packed_;
  ZSTD_inBuffer source_{nullptr, 0, 0};
  size_t open_ = 0;  // zstd's hint of what is missing of the frame; 0 at its end
  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context_{ZSTD_createDCtx(), &ZSTD_freeDCtx};
};

std::unique_ptr<ByteReader> unpacked(const fs::path& file) {
  if (ending_of(file) == ".zst") return std::make_unique<ZstdReader>(file);
  return std::make_unique<GzipReader>(file);
}

class LineReader {
 public:
  // Throws UserError if the byte order mark says UTF-16.
  explicit LineReader(const fs::path& file) : bytes_(unpacked(file)), block_(kBlock) { skip_byte_order_mark(file); }

  // Returns the next line without its newline.
  std::optional<std::string> next() {
    std::string line;
    bool any = false;
    while (begin_ < end_ || refill()) {
      any = true;
      const char* start = block_.data() + begin_;
      const char* stop = std::find(start, static_cast<const char*>(block_.data()) + end_, '\n');
      line.append(start, stop);
      begin_ = static_cast<size_t>(stop - block_.data());
      if (begin_ == end_) continue;
      ++begin_;
      return line;
    }
    return any ? std::optional(line) : std::nullopt;
  }

 private:
  bool refill() {
    begin_ = 0;
    end_ = bytes_->read(block_.data(), block_.size());
    return end_ > 0;
  }

  // Some editors begin files with a byte order mark, which is not text.
  void skip_byte_order_mark(const fs::path& file) {
    constexpr std::string_view kUtf8 = "\xEF\xBB\xBF";
    while (end_ < kUtf8.size()) {
      const size_t got = bytes_->read(block_.data() + end_, block_.size() - end_);
      if (got == 0) break;
      end_ += got;
    }
    const std::string_view first(block_.data(), end_);
    if (first.starts_with("\xFF\xFE") || first.starts_with("\xFE\xFF"))
      throw user_error("'{}' is UTF-16; convert it with 'iconv -f UTF-16 -t UTF-8'", file.string());
    if (first.starts_with(kUtf8)) begin_ = kUtf8.size();
  }

  std::unique_ptr<ByteReader> bytes_;
  std::vector<char> block_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

// The extension before compression: ".jsonl" of "a.jsonl.gz".
std::string kind_of(const fs::path& file) {
  const std::string last = ending_of(file);
  return last == ".gz" || last == ".zst" ? ending_of(file.stem()) : last;
}

// Compressed .json files also hold one object per line, as C4's do.
bool is_jsonl(const fs::path& file) {
  const std::string kind = kind_of(file);
  return kind == ".jsonl" || (kind == ".json" && ending_of(file) != ".json");
}

bool is_text_file(const fs::path& file) { return kind_of(file) == ".txt" || is_jsonl(file); }

void emit(const std::string& text, const std::function<void(std::string_view)>& each) {
  if (text.find_first_not_of(" \t\r\n") != std::string::npos) each(text);
}

void read_plain(LineReader& lines, const std::function<void(std::string_view)>& each) {
  std::string document;
  while (const auto line = lines.next()) {
    if (std::string_view(*line).substr(0, line->ends_with('\r') ? line->size() - 1 : line->size()) == kSeparator) {
      emit(document, each);
      document.clear();
    } else {
      document += *line + "\n";
    }
  }
  emit(document, each);
}

void read_jsonl(const fs::path& file, LineReader& lines, const std::function<void(std::string_view)>& each, const std::string& key) {
  int64_t number = 0;
  while (const auto line = lines.next()) {
    ++number;
    if (line->find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto object = nlohmann::json::parse(*line, nullptr, false);
    if (object.is_discarded() && !is_utf8(*line))
      throw user_error("{}:{}: not UTF-8; convert the file with iconv, for instance 'iconv -f WINDOWS-1252 -t UTF-8'", file.string(), number);
    if (!object.is_object() || !object.contains(key) || !object[key].is_string())
      throw user_error("{}:{}: not a JSON object with a string '{}'; choose another key with --text-key", file.string(), number, key);
    emit(object[key].get<std::string>(), each);
  }
}

}  // namespace

TextFiles list_text_files(const std::vector<fs::path>& inputs) {
  TextFiles all;
  for (const fs::path& input : inputs) {
    if (fs::is_directory(input)) {
      std::vector<fs::path> inside;
      for (const auto& entry : fs::recursive_directory_iterator(input)) {
        if (!entry.is_regular_file()) continue;
        if (is_text_file(entry.path()))
          inside.push_back(entry.path());
        else
          all.left_out.push_back(entry.path().lexically_relative(input));
      }
      if (inside.empty()) throw user_error("'{}' holds no .txt or .jsonl file", input.string());
      std::sort(inside.begin(), inside.end());
      all.files.insert(all.files.end(), inside.begin(), inside.end());
    } else if (!fs::exists(input)) {
      throw user_error("'{}' does not exist", input.string());
    } else if (!is_text_file(input)) {
      throw user_error("'{}' is of no known kind; known are .txt and .jsonl, also with .gz or .zst", input.string());
    } else {
      all.files.push_back(input);
    }
  }
  std::sort(all.left_out.begin(), all.left_out.end());
  std::set<fs::path> seen;  // a file named twice is read once, lest it be both trained and validated on
  std::erase_if(all.files, [&](const fs::path& file) { return !seen.insert(fs::weakly_canonical(file)).second; });
  return all;
}

void for_each_document(const std::vector<fs::path>& files, const std::function<void(std::string_view)>& each, const std::string& text_key) {
  for (const fs::path& file : files) (void)LineReader(file);  // reject unreadable files before hours are spent on the others
  for (const fs::path& file : files) {
    LineReader lines(file);
    if (is_jsonl(file))
      read_jsonl(file, lines, each, text_key);
    else
      read_plain(lines, each);
  }
}

}  // namespace tersor
