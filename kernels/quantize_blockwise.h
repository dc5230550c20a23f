// Block-wise 8-bit numbers on a non-linear map.    Dettmers et al. 2022, arXiv:2110.02861, section 2.1
//
//   scale[b] = max |x| over block b        code = nearest entry of the map to x / scale[b]        x ≈ map[code] · scale[b]
//
// x: fp32 (rows…, columns), contiguous · codes: uint8, the same shape · scales: fp32, block_scales_shape(shape): a block is
// 256 numbers of one row; the last of a row may be shorter. Deterministic. A block of zeros has scale 0 and comes back as zeros;
// a negative number never comes back as zero, so the sign of a first moment is kept (as in bitsandbytes).
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <span>

#include "kernels/dynamic_key.h"
#include "kernels/gpu.h"

namespace tersor::kernels {

inline constexpr int64_t kQuantizationBlock = 256;

// 256 numbers in [−1, 1] or [0, 1], denser toward zero: seven decades, each with twice the entries of the one below.
class DynamicMap {
 public:
  explicit DynamicMap(bool with_sign);

  [[nodiscard]] float decode(uint8_t code) const { return values_[code]; }
  // The entry nearest to x in [−1, 1], found without a branch, so that loops over it keep the processor busy.
  [[nodiscard]] uint8_t encode(float x) const { return look_up(x, dynamic_key(x)); }
  [[nodiscard]] const std::array<float, 256>& values() const { return values_; }
  // The map in the memory of the GPU that holds `codes`.
  [[nodiscard]] gpu::Map on_gpu(const at::Tensor& codes) const;

  // The second half of `encode`. Entries lie further apart than the numbers of one key, so at most one boundary falls among those.
  [[nodiscard]] uint8_t look_up(float x, int32_t key) const {
    const uint32_t code = lowest_[static_cast<uint32_t>(key)];
    return static_cast<uint8_t>(code + (x > boundaries_[code] ? 1U : 0U));
  }

 private:
  uint8_t zero_ = 0;
  std::array<float, 256> values_;                 // ascending
  std::array<float, 256> boundaries_;             // between entry i and i + 1; infinite where no number may pass on to i + 1
  std::array<uint8_t, 2 * kDynamicKeys> lowest_;  // by key, negative numbers second: the entry nearest to the key's smallest x
};

[[nodiscard]] const DynamicMap& dynamic_map(bool with_sign);

// One scale per block: (product of all dimensions but the last, ⌈columns / 256⌉).
[[nodiscard]] std::vector<int64_t> block_scales_shape(at::IntArrayRef shape);

void quantize_blockwise(const at::Tensor& x, const DynamicMap& map, at::Tensor& codes, at::Tensor& scales);
[[nodiscard]] at::Tensor dequantize_blockwise(const at::Tensor& codes, const at::Tensor& scales, const DynamicMap& map);

// One block, for kernels that work on quantized state directly. `size` is at most 256.
void decode_block(const uint8_t* codes, float scale, const DynamicMap& map, int64_t size, float* out);
// Returns the scale.
float encode_block(const float* x, const DynamicMap& map, int64_t size, uint8_t* codes);

// The same for kernels on the GPU that holds codes and scales.
[[nodiscard]] gpu::Codes codes_on_gpu(const at::Tensor& codes, const at::Tensor& scales, const DynamicMap& map);
[[nodiscard]] gpu::Blocks blocks_on_gpu(at::IntArrayRef shape);

// Calls `each(block, first, size)` for all blocks of a tensor of this shape, on all threads: `first` is the index of the
// block's first number in the flat tensor, `block` that of its scale.
void for_each_block(at::IntArrayRef shape, const std::function<void(int64_t block, int64_t first, int64_t size)>& each);

}  // namespace tersor::kernels
