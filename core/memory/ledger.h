// The ledger of memory: how many bytes of tensors live, and what for.
//
//   install_memory_ledger();                       // once, before the first tensor
//   { const MemoryScope scope(Segment::kWeights);  … }   // what is allocated here is weights
//   book(gradient, Segment::kGradients);           // a tensor is something else from now on
//   MemoryPeak most = memory_peak();
//
// Counting allocators in the place of LibTorch's: bytes are those asked for, without what malloc rounds up. Tensors without
// numbers (the meta device) have a ledger of their own, of what they would take: a run on them is a run's plan. A GPU's allocator
// stays, and tells the third ledger what it gives out.
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

// `whole`: all segments at the moment when their total was largest. `most`: the largest that each segment was at any moment.
struct MemoryPeak {
  MemoryUse whole;
  std::array<int64_t, kSegmentNames.size()> most{};

  [[nodiscard]] int64_t most_of(Segment segment) const { return most[static_cast<size_t>(segment)]; }
};

// Allocations of this thread belong to a segment for as long as the scope lives.
class MemoryScope {
 public:
  explicit MemoryScope(Segment segment);
  ~MemoryScope();
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;

 private:
  Segment before_;
};

// From here on LibTorch allocates through the ledger; before, nothing is counted.
void install_memory_ledger();

// What the allocator of a process's GPU gives out and takes back; what it is for is known as in host memory. Other threads
// than the one that installed the ledger run backward passes: without a scope theirs is temporary.
void note_allocated(const void* address, int64_t bytes);
void note_released(const void* address);

// Of host memory, of tensors without numbers, or else of the GPU.
[[nodiscard]] MemoryUse memory_now(at::DeviceType device = at::kCPU);
// Since the last `reset_memory_peak`.
[[nodiscard]] MemoryPeak memory_peak(at::DeviceType device = at::kCPU);
void reset_memory_peak(at::DeviceType device = at::kCPU);
// What lived when, from one call to the other: a few hundred moments, each the fullest of its stretch.
struct MemoryMoment {
  double seconds = 0;  // since the first call
  MemoryUse use;
};
void record_memory(at::DeviceType device = at::kCPU);
[[nodiscard]] std::vector<MemoryMoment> recorded_memory(at::DeviceType device = at::kCPU);

// Moves a tensor's storage to another segment.
void book(const at::Tensor& tensor, Segment segment);

}  // namespace tersor
