#include "core/base/files.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <sstream>

#include "core/base/error.h"

namespace tersor {

namespace fs = std::filesystem;

namespace {

void refuse_folder(const fs::path& file) {
  if (fs::is_directory(file)) throw user_error("'{}' is a folder; a file is needed", file.string());
}

}  // namespace

std::string read_text(const fs::path& file) {
  refuse_folder(file);
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  if (!fs::is_regular_file(file) || !stream) throw user_error("'{}' cannot be read", file.string());
  text << stream.rdbuf();
  return std::move(text).str();
}

WholeFile::WholeFile(fs::path file) : file_(std::move(file)), temporary_(file_.string() + ".tmp") {
  errno = 0;
  stream_.open(temporary_, std::ios::binary | std::ios::trunc);
  check();
}

WholeFile::~WholeFile() {
  stream_.close();
  std::error_code ignored;
  fs::remove(temporary_, ignored);  // a no-op after `commit`
}

void WholeFile::check() const {
  if (!stream_) throw user_error("'{}' cannot be written: {}", file_.string(), errno != 0 ? std::strerror(errno) : "the system gives no reason");
}

void WholeFile::write(std::string_view bytes) {
  errno = 0;
  stream_.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  check();
}

void WholeFile::rewind() {
  errno = 0;
  stream_.seekp(0);
  check();
}

void WholeFile::commit() {
  errno = 0;
  stream_.close();
  check();
  sync_to_disk(temporary_);
  fs::rename(temporary_, file_);
}

void write_whole(const fs::path& file, std::string_view text) {
  WholeFile whole(file);
  whole.write(text);
  whole.commit();
}

void sync_to_disk(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool done = fd >= 0 && ::fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!done) throw user_error("'{}' cannot be written to disk: {}", path.string(), std::strerror(error));
}

MappedFile::MappedFile(const fs::path& file) : path_(file) {
  refuse_folder(file);
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info {};
  if (fd < 0 || ::fstat(fd, &info) != 0) {
    const int error = errno;
    if (fd >= 0) ::close(fd);
    throw user_error("'{}' cannot be read: {}", file.string(), std::strerror(error));
  }
  size_ = static_cast<size_t>(info.st_size);
  void* mapped = size_ == 0 ? nullptr : ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
  ::close(fd);
  if (mapped == MAP_FAILED) throw user_error("'{}' cannot be mapped: {}", file.string(), std::strerror(errno));
  data_ = static_cast<const std::byte*>(mapped);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

struct Sha256::State {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  TERSOR_CHECK(EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr) == 1, "no SHA-256");
}
Sha256::~Sha256() = default;

void Sha256::add(std::string_view bytes) { EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()); }

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  EVP_DigestFinal_ex(state_->context.get(), digest.data(), &length);
  std::string text;
  for (unsigned i = 0; i < length; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

std::string sha256_of_text(std::string_view text) {
  Sha256 sum;
  sum.add(text);
  return sum.hex();
}

std::string sha256_of_file(const fs::path& file) {
  const MappedFile mapped(file);
  const auto bytes = mapped.bytes();
  return sha256_of_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace tersor
