#include "core/interop/safetensors.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "core/base/error.h"

namespace tersor {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array kTypes{
    std::pair{at::kFloat, "F32"}, std::pair{at::kDouble, "F64"}, std::pair{at::kBFloat16, "BF16"},
    std::pair{at::kHalf, "F16"},  std::pair{at::kLong, "I64"},   std::pair{at::kInt, "I32"},
    std::pair{at::kShort, "I16"}, std::pair{at::kChar, "I8"},    std::pair{at::kByte, "U8"},
    std::pair{at::kBool, "BOOL"}};

std::string type_name(at::ScalarType type) {
  for (const auto& [known, name] : kTypes)
    if (known == type) return name;
  TERSOR_CHECK(false, "safetensors has no type for {}", static_cast<int>(type));
  return "";
}

std::string make_header(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t place = 0;
  for (const auto& [name, tensor] : tensors) {
    const size_t end = place + tensor.nbytes();
    header[name] = {{"dtype", type_name(tensor.scalar_type())}, {"shape", tensor.sizes().vec()}, {"data_offsets", {place, end}}};
    place = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // so that the data begin aligned
  return text;
}

}  // namespace

std::string write_safetensors(const std::filesystem::path& file, const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata) {
  const std::string header = make_header(tensors, metadata);
  const auto length = static_cast<uint64_t>(header.size());
  WholeFile whole(file);
  Sha256 sum;
  const auto put = [&](const void* data, size_t size) {
    const std::string_view bytes(static_cast<const char*>(data), size);
    whole.write(bytes);
    sum.add(bytes);
  };
  put(&length, sizeof(length));
  put(header.data(), header.size());
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor plain = tensor.detach().to(at::kCPU).contiguous();
    put(plain.const_data_ptr(), plain.nbytes());
  }
  whole.commit();
  return sum.hex();
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& file) : file_(file) {
  try {
    parse_header();
  } catch (const nlohmann::json::exception& e) {
    throw user_error("'{}' is not a safetensors file: {}", file.string(), e.what());
  }
}

void SafetensorsFile::parse_header() {
  const auto bytes = file_.bytes();
  const std::string name = file_.path().string();
  constexpr std::string_view kPointer = "version https://git-lfs";
  if (std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()).starts_with(kPointer))
    throw user_error("'{}' is a Git LFS pointer, not the file itself; run 'git lfs pull' in its repository", name);
  uint64_t length = 0;
  if (bytes.size() < sizeof(length)) throw user_error("'{}' is not a safetensors file: it is too short", name);
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length > bytes.size() - sizeof(length)) throw user_error("'{}' is cut off: its header is longer than the file", name);
  const size_t data = sizeof(length) + length;
  const Json header = Json::parse(std::string_view(reinterpret_cast<const char*>(bytes.data()) + sizeof(length), length));
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__") {
      metadata_ = value.get<std::map<std::string, std::string>>();
      continue;
    }
    const std::string type = value.at("dtype");
    const auto known = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& t) { return t.second == type; });
    if (known == kTypes.end()) throw user_error("'{}': tensor '{}' has type {}, which is not supported", name, key, type);
    const auto begin = value.at("data_offsets").at(0).get<uint64_t>();
    const auto end = value.at("data_offsets").at(1).get<uint64_t>();
    if (begin > end || end > bytes.size() - data)
      throw user_error("'{}' is cut off: tensor '{}' ends at byte {} of {}", name, key, end, bytes.size() - data);
    Entry entry{.dtype = known->first, .shape = value.at("shape"), .begin = data + begin, .end = data + end};
    size_t expected = c10::elementSize(entry.dtype);
    for (const int64_t size : entry.shape) expected *= static_cast<size_t>(size);
    if (entry.end - entry.begin != expected)
      throw user_error("'{}' is damaged: tensor '{}' takes {} bytes, its shape needs {}", name, key, entry.end - entry.begin, expected);
    entries_.emplace(key, std::move(entry));
  }
}

std::span<const std::byte> SafetensorsFile::bytes_of(const std::string& name) const {
  const Entry& entry = entries_.at(name);
  return file_.bytes().subspan(entry.begin, entry.end - entry.begin);
}

void SafetensorsFile::copy_into(const std::string& name, const at::Tensor& target) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) throw user_error("'{}' holds no tensor '{}'", file_.path().string(), name);
  const Entry& entry = found->second;
  if (target.sizes() != at::IntArrayRef(entry.shape))
    throw user_error("'{}': tensor '{}' is {}, expected {}", file_.path().string(), name, fmt::join(entry.shape, " x "),
                     fmt::join(target.sizes(), " x "));
  const at::NoGradGuard no_grad;
  if (target.numel() == 0) return;
  auto* place = const_cast<std::byte*>(file_.bytes().data() + entry.begin);
  if (reinterpret_cast<uintptr_t>(place) % c10::elementSize(entry.dtype) == 0) {
    target.detach().copy_(at::from_blob(place, entry.shape, at::TensorOptions(entry.dtype)));
  } else {  // other writers may not align
    const at::Tensor aligned = at::empty(entry.shape, entry.dtype);
    std::memcpy(aligned.data_ptr(), place, entry.end - entry.begin);
    target.detach().copy_(aligned);
  }
}

}  // namespace tersor
