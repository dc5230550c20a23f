// The memory ledger: how many bytes of tensors are live, and what they are for.
//
//   install_memory_ledger();                       // once, before the first tensor
//   { const MemoryScope scope(Segment::kWeights);  … }   // allocations in here are weights
//   book(gradient, Segment::kGradients);           // from now on this tensor is a gradient
//   MemoryPeak most = memory_peak();
//
// Counting allocators replace LibTorch's; they count the bytes asked for, without malloc's rounding. Meta tensors, which have no
// data, have a ledger of their own, which counts what they would take: a run on them is a plan of the run. The GPU keeps its own
// allocator, which reports to the third ledger.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <string_view>
#include <vector>

namespace tersor {

enum class Segment { kOther, kWeights, kGradients, kOptimizer, kActivations, kTemporary, kData };
inline constexpr std::array<std::string_view, 7> kSegmentNames{"other",       "weights",   "gradients", "optimizer",
                                                               "activations", "temporary", "data"};

struct MemoryUse {
  std::array<int64_t, kSegmentNames.size()> bytes{};
  int64_t total = 0;

  [[nodiscard]] int64_t of(Segment segment) const { return bytes[static_cast<size_t>(segment)]; }
};

// `whole`: all segments at the moment when their total was largest. `most`: the largest size of each segment at any moment.
struct MemoryPeak {
  MemoryUse whole;
  std::array<int64_t, kSegmentNames.size()> most{};

  [[nodiscard]] int64_t most_of(Segment segment) const { return most[static_cast<size_t>(segment)]; }
};

// Books this thread's allocations under a segment for as long as the scope lives.
class MemoryScope {
 public:
  explicit MemoryScope(Segment segment);
  ~MemoryScope();
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;

 private:
  Segment before_;
};

// Makes LibTorch allocate through the ledger from here on. Nothing is counted before.
void install_memory_ledger();

// Allocations and releases of the process's GPU allocator; scopes give the segment, as in host memory. Threads other than the
// one that installed the ledger run backward passes: without a scope, their allocations are temporary.
void note_allocated(const void* address, int64_t bytes);
void note_released(const void* address);

// The use of host memory, of meta tensors, or else of the GPU.
[[nodiscard]] MemoryUse memory_now(at::DeviceType device = at::kCPU);
// The peak since the last `reset_memory_peak`.
[[nodiscard]] MemoryPeak memory_peak(at::DeviceType device = at::kCPU);
void reset_memory_peak(at::DeviceType device = at::kCPU);
// Memory use over time, from `record_memory` to `recorded_memory`: a few hundred moments, each the fullest of its stretch.
struct MemoryMoment {
  double seconds = 0;  // since `record_memory`
  MemoryUse use;
};
void record_memory(at::DeviceType device = at::kCPU);
[[nodiscard]] std::vector<MemoryMoment> recorded_memory(at::DeviceType device = at::kCPU);

// Moves a tensor's storage to another segment.
void book(const at::Tensor& tensor, Segment segment);

}  // namespace tersor
