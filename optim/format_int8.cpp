// Block-wise 8-bit state.    Dettmers et al. 2022, arXiv:2110.02861; the dynamic map of bitsandbytes
//
//   x ≈ map[code] · absmax(block)         blocks of 256 numbers within one row
//
// Every row starts a new block, so that block boundaries do not move when rows are split over processes. Signed slots use a
// signed map, second moments an unsigned one. Slots with fewer than `min_size` numbers stay in fp32: there is nothing to save,
// and they are the norms and biases, which would suffer. So do slots whose rows are so short (one number) that codes and scales
// would take more memory than fp32.
#include <c10/util/accumulate.h>

#include "kernels/quantize_blockwise.h"
#include "optim/state_format.h"

namespace tersor {
namespace {

class Int8Format final : public StateFormat {
 public:
  struct Config {
    int64_t min_size = 4096;
    void fields(FieldVisitor& v) { v("min_size", min_size, at_least(0), "slots with fewer numbers stay in fp32"); }
  };
  explicit Int8Format(const Config& config) : config_(config) {}

  std::vector<at::Tensor> allocate(at::IntArrayRef shape, SlotKind kind, const at::TensorOptions& options) const override {
    if (is_small(shape)) return {at::zeros(shape, options.dtype(at::kFloat))};
    const uint8_t zero = kernels::dynamic_map(is_signed(kind)).encode(0);
    return {at::full(shape, zero, options.dtype(at::kByte)),
            at::zeros(kernels::block_scales_shape(shape), options.dtype(at::kFloat))};
  }
  void encode(const at::Tensor& fp32, SlotKind kind, const RandomStream&, std::span<const at::Tensor> resting) const override {
    if (resting.size() == 1) {
      resting[0].copy_(fp32);
      return;
    }
    at::Tensor codes = resting[0];
    at::Tensor scales = resting[1];
    kernels::quantize_blockwise(fp32.contiguous(), kernels::dynamic_map(is_signed(kind)), codes, scales);
  }
  at::Tensor decode(std::span<const at::Tensor> resting, SlotKind kind, at::IntArrayRef) const override {
    if (resting.size() == 1) return resting[0];
    return kernels::dequantize_blockwise(resting[0], resting[1], kernels::dynamic_map(is_signed(kind)));
  }
  bool by_rows() const override { return true; }
  int64_t bytes(at::IntArrayRef shape, SlotKind) const override { return is_small(shape) ? bytes_whole(shape) : bytes_packed(shape); }

 private:
  static bool is_signed(SlotKind kind) { return kind != SlotKind::kNonNegative; }
  static int64_t bytes_whole(at::IntArrayRef shape) { return c10::multiply_integers(shape) * static_cast<int64_t>(sizeof(float)); }
  static int64_t bytes_packed(at::IntArrayRef shape) { return c10::multiply_integers(shape) + bytes_whole(kernels::block_scales_shape(shape)); }
  bool is_small(at::IntArrayRef shape) const {
    return c10::multiply_integers(shape) < std::max<int64_t>(1, config_.min_size) || bytes_packed(shape) >= bytes_whole(shape);
  }

  Config config_;
};

const bool registered = state_formats().add<Int8Format>("int8", "block-wise 8-bit, Dettmers et al. 2022, arXiv:2110.02861");

}  // namespace
}  // namespace tersor
