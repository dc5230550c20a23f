// Files that are either whole or not there, read-only mappings, and checksums.
//
//   write_whole(folder / "manifest.json", text);           // temporary file, fsync, rename
//   MappedFile shard(path);  shard.bytes()…
#pragma once

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace tersor {

// The whole file as text. UserError when it cannot be read.
[[nodiscard]] std::string read_text(const std::filesystem::path& file);

// A file that replaces `file` in one step: after a crash there is the old one or the new, never a part. Without `commit` the old stays.
class WholeFile {
 public:
  // All throw a UserError that says why something cannot be written.
  explicit WholeFile(std::filesystem::path file);
  ~WholeFile();
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;

  void write(std::string_view bytes);
  // From here on `write` goes on at the file's beginning, over what is there.
  void rewind();
  void commit();

 private:
  void check() const;

  std::filesystem::path file_;
  std::filesystem::path temporary_;
  std::ofstream stream_;
};

// The same for a text.
void write_whole(const std::filesystem::path& file, std::string_view text);

// Makes what was written to a file, or the entries of a folder, survive a power cut.
void sync_to_disk(const std::filesystem::path& file_or_folder);

// A file mapped for reading.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& file);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// SHA-256 in hexadecimal, of pieces added one after the other.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void add(std::string_view bytes);
  [[nodiscard]] std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};
[[nodiscard]] std::string sha256_of_text(std::string_view text);
[[nodiscard]] std::string sha256_of_file(const std::filesystem::path& file);

}  // namespace tersor
