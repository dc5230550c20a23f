#include "core/data/token_file.h"

#include <array>
#include <cstring>
#include <limits>
#include <vector>

#include "core/base/error.h"

namespace tersor {
namespace {

constexpr int32_t kMagic16 = 20240520;
constexpr int32_t kVersion16 = 1;
constexpr int32_t kMagic32 = 20240801;
constexpr int32_t kVersion32 = 7;
constexpr int64_t kHeaderBytes = 256 * static_cast<int64_t>(sizeof(int32_t));

template <class T>
void copy_tokens(const std::byte* from, std::span<int64_t> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    T token;
    std::memcpy(&token, from + i * sizeof(T), sizeof(T));
    out[i] = static_cast<int64_t>(token);
  }
}

}  // namespace

TokenFile::TokenFile(const std::filesystem::path& file) : file_(file) {
  const auto bytes = file_.bytes();
  std::array<int32_t, 3> header{};
  const std::string name = file.string();
  if (static_cast<int64_t>(bytes.size()) < kHeaderBytes)
    throw user_error("'{}' is not a token shard: {} bytes, less than a header; make it again with 'tersor tokenize'", name, bytes.size());
  std::memcpy(header.data(), bytes.data(), sizeof(header));
  const bool narrow = header[0] == kMagic16 && header[1] == kVersion16;
  const bool wide = header[0] == kMagic32 && header[1] == kVersion32;
  if (!narrow && !wide)
    throw user_error("'{}' is not a token shard: magic {} and version {}, expected {} and {} or {} and {}", name, header[0],
                     header[1], kMagic16, kVersion16, kMagic32, kVersion32);
  width_ = wide ? 4 : 2;
  size_ = header[2];
  if (size_ <= 0) throw user_error("'{}' holds no tokens", name);
  const int64_t expected = kHeaderBytes + size_ * width_;
  if (static_cast<int64_t>(bytes.size()) != expected)
    throw user_error("'{}' is damaged: its header says {} tokens, so {} bytes, but it has {}; make it again with 'tersor tokenize'",
                     name, size_, expected, bytes.size());
}

void TokenFile::read(int64_t first, std::span<int64_t> out) const {
  TERSOR_CHECK(first >= 0 && first + static_cast<int64_t>(out.size()) <= size_, "tokens {} + {} of {}", first, out.size(), size_);
  const std::byte* from = file_.bytes().data() + kHeaderBytes + first * width_;
  if (width_ == 2)
    copy_tokens<uint16_t>(from, out);
  else
    copy_tokens<uint32_t>(from, out);
}

TokenFileWriter::TokenFileWriter(const std::filesystem::path& file, int64_t vocab_size)
    : file_(file), wide_(vocab_size > int64_t{std::numeric_limits<uint16_t>::max()} + 1) {
  write_header();
}

void TokenFileWriter::write_header() {
  std::array<int32_t, 256> header{};
  header[0] = wide_ ? kMagic32 : kMagic16;
  header[1] = wide_ ? kVersion32 : kVersion16;
  header[2] = static_cast<int32_t>(size_);
  file_.rewind();
  file_.write({reinterpret_cast<const char*>(header.data()), static_cast<size_t>(kHeaderBytes)});
}

void TokenFileWriter::append(std::span<const int32_t> tokens) {
  if (wide_) {
    file_.write({reinterpret_cast<const char*>(tokens.data()), tokens.size_bytes()});
  } else {
    const std::vector<uint16_t> narrow(tokens.begin(), tokens.end());
    file_.write({reinterpret_cast<const char*>(narrow.data()), narrow.size() * sizeof(uint16_t)});
  }
  size_ += static_cast<int64_t>(tokens.size());
  TERSOR_CHECK(size_ <= std::numeric_limits<int32_t>::max(), "a shard holds at most 2^31 - 1 tokens");
}

void TokenFileWriter::close() {
  write_header();
  file_.commit();
}

}  // namespace tersor
