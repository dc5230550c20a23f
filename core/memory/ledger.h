// The ledger of memory: how many bytes of tensors live in host memory, and what for.
//
//   install_memory_ledger();                       // once, before the first tensor
//   { const MemoryScope scope(Segment::kWeights);  … }   // what is allocated here is weights
//   book(gradient, Segment::kGradients);           // a tensor is something else from now on
//   MemoryUse most = memory_peak();
//
// A counting allocator in the place of LibTorch's: bytes are those asked for, without what malloc rounds up.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <string_view>

namespace tersor {

enum class Segment { kOther, kWeights, kGradients, kOptimizer, kActivations, kTemporary, kData };
inline constexpr std::array<std::string_view, 7> kSegmentNames{"other",       "weights",   "gradients", "optimizer",
                                                               "activations", "temporary", "data"};

struct MemoryUse {
  std::array<int64_t, kSegmentNames.size()> bytes{};
  int64_t total = 0;

  [[nodiscard]] int64_t of(Segment segment) const { return bytes[static_cast<size_t>(segment)]; }
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
[[nodiscard]] bool memory_ledger_installed();

[[nodiscard]] MemoryUse memory_now();
// As it was when the total was largest since the last `reset_memory_peak`.
[[nodiscard]] MemoryUse memory_peak();
void reset_memory_peak();
// Moves a tensor's storage to another segment.
void book(const at::Tensor& tensor, Segment segment);

}  // namespace tersor
