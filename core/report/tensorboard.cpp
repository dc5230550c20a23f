#include "core/report/tensorboard.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>

#include "core/base/error.h"

namespace tersor {
namespace {

// Protocol-buffer wire format: a key (field number, wire type), then the value.
enum WireType : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}
void put_little_endian(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}
void put_key(std::string& out, uint64_t field, WireType type) { put_varint(out, field << 3 | type); }
void put_int(std::string& out, uint64_t field, int64_t value) {
  put_key(out, field, kVarint);
  put_varint(out, static_cast<uint64_t>(value));
}
void put_double(std::string& out, uint64_t field, double value) {
  put_key(out, field, kFixed64);
  put_little_endian(out, std::bit_cast<uint64_t>(value), 8);
}
void put_float(std::string& out, uint64_t field, float value) {
  put_key(out, field, kFixed32);
  put_little_endian(out, std::bit_cast<uint32_t>(value), 4);
}
void put_bytes(std::string& out, uint64_t field, std::string_view value) {
  put_key(out, field, kBytes);
  put_varint(out, value.size());
  out.append(value);
}

// Field numbers of tensorflow.Event.
constexpr uint64_t kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;

std::string event(double wall_time, int64_t step) {
  std::string out;
  put_double(out, kWallTime, wall_time);
  if (step != 0) put_int(out, kStep, step);
  return out;
}

uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string file_name() {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  return fmt::format("events.out.tfevents.{}.{}.{}.tersor", static_cast<int64_t>(now() * 1e6), host.data(), getpid());
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      t[i] = i;
      for (int bit = 0; bit < 8; ++bit) t[i] = (t[i] >> 1) ^ ((t[i] & 1) != 0 ? 0x82f63b78u : 0u);
    }
    return t;
  }();
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = (crc >> 8) ^ table[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

TensorboardWriter::TensorboardWriter(const std::filesystem::path& folder, int64_t first_step) {
  std::filesystem::create_directories(folder);
  file_ = folder / file_name();
  stream_.open(file_, std::ios::binary);
  if (!stream_) throw user_error("'{}' cannot be written to", folder.string());
  std::string version = event(now(), 0);
  put_bytes(version, kFileVersion, "brain.Event:2");
  write_record(version);
  if (first_step > 0) {
    std::string session;
    put_int(session, 1, 1);  // SessionLog.status = START
    std::string restart = event(now(), first_step);
    put_bytes(restart, kSessionLog, session);
    write_record(restart);
  }
  beginning_ = std::exchange(pending_, {});
  flush();
}

void TensorboardWriter::scalar(std::string_view tag, int64_t step, double value, double wall_time) {
  std::string entry;  // Summary.Value: tag = 1, simple_value = 2
  put_bytes(entry, 1, tag);
  put_float(entry, 2, static_cast<float>(value));
  std::string summary;
  put_bytes(summary, 1, entry);
  std::string record = event(wall_time, step);
  put_bytes(record, kSummary, summary);
  write_record(record);
}

void TensorboardWriter::text(std::string_view tag, int64_t step, std::string_view text, double wall_time) {
  std::string plugin;  // SummaryMetadata.plugin_data.plugin_name
  put_bytes(plugin, 1, "text");
  std::string metadata;
  put_bytes(metadata, 1, plugin);
  std::string tensor;  // TensorProto: dtype = DT_STRING, string_val
  put_int(tensor, 1, 7);
  put_bytes(tensor, 2, "");
  put_bytes(tensor, 8, text);
  std::string entry;  // Summary.Value: tag = 1, tensor = 8, metadata = 9
  put_bytes(entry, 1, tag);
  put_bytes(entry, 9, metadata);
  put_bytes(entry, 8, tensor);
  std::string summary;
  put_bytes(summary, 1, entry);
  std::string record = event(wall_time, step);
  put_bytes(record, kSummary, summary);
  write_record(record);
}

void TensorboardWriter::write_record(const std::string& data) {
  std::string length;
  put_little_endian(length, data.size(), 8);
  std::string record = length;
  put_little_endian(record, masked_crc(length), 4);
  record += data;
  put_little_endian(record, masked_crc(data), 4);
  pending_ += record;
}

void TensorboardWriter::flush() {
  if (!stream_.is_open()) {
    std::error_code error;
    std::filesystem::resize_file(file_, static_cast<uintmax_t>(size_), error);  // drops half a record
    stream_.open(file_, std::ios::binary | std::ios::app);
  }
  const std::string all = beginning_ + pending_;
  stream_.write(all.data(), static_cast<std::streamsize>(all.size())).flush();
  if (stream_) {
    size_ += static_cast<int64_t>(all.size());
    beginning_.clear();
  } else {
    stream_.close();
    stream_.clear();
  }
  pending_.clear();
}

}  // namespace tersor
