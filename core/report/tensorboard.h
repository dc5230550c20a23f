// TensorBoard event files, written without TensorBoard.
//
//   TensorboardWriter events(run / "tb");
//   events.scalar("train/loss", 10, 3.2, now);
//
// The format: TFRecords (length, masked CRC-32C of the length, data, masked CRC-32C of the data) of Event protocol buffers,
// as in tensorflow/core/lib/io/record_writer.h and tensorflow/core/util/event.proto.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace tersor {

class TensorboardWriter {
 public:
  // `first_step` > 0: a resumed run; TensorBoard then drops points of an earlier file from that step on.
  explicit TensorboardWriter(const std::filesystem::path& folder, int64_t first_step = 0);
  ~TensorboardWriter() { flush(); }
  TensorboardWriter(const TensorboardWriter&) = delete;
  TensorboardWriter& operator=(const TensorboardWriter&) = delete;

  // `wall_time` in seconds since 1970.
  void scalar(std::string_view tag, int64_t step, double value, double wall_time);
  void text(std::string_view tag, int64_t step, std::string_view text, double wall_time);
  // Writes what was added since the last flush. What cannot be written is lost; the file stays valid, and continues once there is room.
  void flush();

 private:
  void write_record(const std::string& event);

  std::filesystem::path file_;
  std::ofstream stream_;
  std::string beginning_;  // kept until it is written: without it nothing else can be read
  std::string pending_;
  int64_t size_ = 0;  // bytes written
};

// CRC-32C (Castagnoli).
[[nodiscard]] uint32_t crc32c(std::string_view bytes);

}  // namespace tersor
