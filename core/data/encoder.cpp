#include "core/data/encoder.h"

#include <algorithm>
#include <future>
#include <thread>

#include "core/data/utf8.h"

namespace tersor {
namespace {

constexpr size_t kBatchBytes = 1 << 22;   // of documents encoded together
constexpr size_t kSampleBytes = 1 << 20;  // decoded again of any text, plus one in kSampleShare bytes
constexpr size_t kSampleShare = 100;
constexpr size_t kLongest = 1 << 20;  // only the beginning of a longer document is decoded again

}  // namespace

bool Encoder::is_in_sample(std::string_view text) {
  const bool taken = looks_back_ && sample_bytes_ <= kSampleBytes + bytes_ / kSampleShare;
  bytes_ += text.size();
  if (taken) sample_bytes_ += std::min(text.size(), kLongest);
  return taken;
}

void Encoder::add(std::string_view text) {
  batch_.push_back({.text = std::string(text), .look_back = is_in_sample(text)});
  batch_bytes_ += text.size();
  if (batch_bytes_ >= kBatchBytes) flush();
}

void Encoder::flush() {
  const size_t threads = std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::future<void>> workers;
  for (size_t t = 0; t < threads; ++t) {
    workers.push_back(std::async(std::launch::async, [this, t, threads] {
      for (size_t i = t; i < batch_.size(); i += threads) encode(batch_[i]);
    }));
  }
  for (std::future<void>& worker : workers) worker.get();
  for (Document& document : batch_) hand_on(document);
  batch_.clear();
  batch_bytes_ = 0;
}

void Encoder::encode(Document& document) const {
  const std::string& text = document.text;
  document.tokens = tokenizer_.encode(text);
  document.unknown = std::count(document.tokens.begin(), document.tokens.end(), tokenizer_.unk_id());
  document.is_utf8 = is_utf8(text);
  document.look_back = document.look_back && document.is_utf8;  // invalid UTF-8 cannot come back, and is counted already
  if (!document.look_back) return;
  if (text.size() <= kLongest) {
    document.comes_back = tokenizer_.decode(document.tokens) == text;
    return;
  }
  const std::string_view beginning = std::string_view(text).substr(0, whole_characters(text, kLongest));
  document.comes_back = tokenizer_.decode(tokenizer_.encode(beginning)) == beginning;
}

void Encoder::hand_on(Document& document) {
  counts_.tokens += static_cast<int64_t>(document.tokens.size());
  counts_.unknown += document.unknown;
  counts_.not_utf8 += document.is_utf8 ? 0 : 1;
  counts_.looked_at += document.look_back ? 1 : 0;
  counts_.changed += document.comes_back ? 0 : 1;
  if (tokenizer_.eos_id() >= 0) document.tokens.push_back(tokenizer_.eos_id());
  sink_(document.tokens, document.text.size());
}

}  // namespace tersor
