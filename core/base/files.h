// Atomically written files, read-only mappings, and checksums.
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

// Returns the whole file as text. Throws UserError if it cannot be read.
[[nodiscard]] std::string read_text(const std::filesystem::path& file);

// Replaces `file` in one step: after a crash either the old or the new file exists, never a part. Without `commit` the old one stays.
class WholeFile {
 public:
  // All members throw a UserError with the reason if the file cannot be written.
  explicit WholeFile(std::filesystem::path file);
  ~WholeFile();
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;

  void write(std::string_view bytes);
  // Moves back to the beginning of the file, which further writes overwrite.
  void rewind();
  void commit();

 private:
  void check() const;

  std::filesystem::path file_;
  std::filesystem::path temporary_;
  std::ofstream stream_;
};

// Writes a whole text the same way.
void write_whole(const std::filesystem::path& file, std::string_view text);

// Flushes a file, or the entries of a folder, to disk, so that they survive a power cut.
void sync_to_disk(const std::filesystem::path& file_or_folder);

// A file mapped into memory for reading.
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

// SHA-256 in hexadecimal, of data added piece by piece.
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
