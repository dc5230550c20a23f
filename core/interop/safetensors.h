// The safetensors format: an 8-byte length, a JSON header with type, shape and offsets of every tensor, then the bytes.
//
//   write_safetensors(file, {{"model.norm.weight", tensor}, …}, metadata);   // one tensor in host memory at a time
//   SafetensorsFile read(file);  read.copy_into("model.norm.weight", tensor);
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <span>

#include "core/base/files.h"

namespace tersor {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// Writes the tensors in the order given, bit for bit, and makes the file durable. Returns its SHA-256.
std::string write_safetensors(const std::filesystem::path& file, const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata = {});

// A mapped file; tensors are copied out one by one. The constructor checks the whole header against the file.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& file);

  struct Entry {
    at::ScalarType dtype;
    std::vector<int64_t> shape;
    size_t begin;  // within the file
    size_t end;
  };
  [[nodiscard]] const std::map<std::string, Entry>& entries() const { return entries_; }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // The bytes of a tensor, which must exist, as stored in the file.
  [[nodiscard]] std::span<const std::byte> bytes_of(const std::string& name) const;
  // Copies a tensor into `target`, converting the type. Throws UserError if it is missing or has another shape.
  void copy_into(const std::string& name, const at::Tensor& target) const;

 private:
  void parse_header();

  MappedFile file_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace tersor
