#include "kernels/quantize_blockwise.h"

#include <ATen/Parallel.h>

#include <bit>
#include <cmath>
#include <limits>
#include <map>

#include "core/base/error.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"
#include "kernels/vectorize.h"

namespace tersor::kernels {
namespace {

constexpr int kDecades = 7;
constexpr int64_t kGrainBlocks = 64;

// Middles of `count` equal parts of [0.1, 1], times 10^(decade − 6).
void add_decade(std::vector<double>& values, int decade, int count) {
  for (int i = 0; i < count; ++i) {
    const double fraction = 0.1 + 0.9 * (i + 0.5) / count;
    values.push_back(fraction * std::pow(10.0, decade - (kDecades - 1)));
  }
}

struct Rows {
  int64_t columns;
  int64_t blocks;  // in a row
  int64_t rows;
};

Rows rows_of(at::IntArrayRef shape) {
  const int64_t columns = shape.empty() ? 1 : shape.back();
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return {columns, (columns + kQuantizationBlock - 1) / kQuantizationBlock, rows};
}

// Read as integers, the magnitudes of floating-point numbers keep their order, and integers can be compared in any order.
TERSOR_VECTORIZED float largest_magnitude(const float* x, int64_t size) {
  int32_t largest = 0;
  for (int64_t i = 0; i < size; ++i) largest = std::max(largest, std::bit_cast<int32_t>(x[i]) & 0x7fffffff);
  return std::bit_cast<float>(largest);
}

TERSOR_VECTORIZED void scale_and_key(const float* x, float scale, int64_t size, float* scaled, int32_t* keys) {
  for (int64_t i = 0; i < size; ++i) {
    scaled[i] = x[i] / scale;
    keys[i] = dynamic_key(scaled[i]);
  }
}

}  // namespace

DynamicMap::DynamicMap(bool with_sign) {
  std::vector<double> values{0.0, 1.0};
  for (int decade = 0; decade < kDecades; ++decade) {
    const int count = 1 << (with_sign ? decade : decade + 1);
    const size_t before = values.size();
    add_decade(values, decade, count);
    if (!with_sign) continue;
    const size_t end = values.size();
    for (size_t i = before; i < end; ++i) values.push_back(-values[i]);
  }
  TERSOR_CHECK(values.size() == values_.size(), "a map of {} numbers", values.size());
  std::sort(values.begin(), values.end());
  for (size_t i = 0; i < values.size(); ++i) values_[i] = static_cast<float>(values[i]);
  for (size_t i = 0; i + 1 < values_.size(); ++i) boundaries_[i] = (values_[i] + values_[i + 1]) / 2;
  boundaries_.back() = std::numeric_limits<float>::infinity();
  // The last entry that a negative number may take: not zero if the map has negative entries.
  zero_ = static_cast<uint8_t>(std::find(values_.begin(), values_.end(), 0.0f) - values_.begin());
  const auto last_negative = static_cast<uint8_t>(with_sign ? zero_ - 1 : zero_);
  for (int32_t key = 0; key < kDynamicKeys; ++key) {
    const auto upper = static_cast<uint32_t>(key + kLowestDynamicKey) << 16;
    const auto entry = [&](float x) {
      return static_cast<uint8_t>(std::lower_bound(boundaries_.begin(), boundaries_.end(), x) - boundaries_.begin());
    };
    lowest_[static_cast<size_t>(key)] = key == 0 ? zero_ : entry(std::bit_cast<float>(upper));
    // A key's smallest negative number is the one with the largest magnitude.
    lowest_[static_cast<size_t>(kDynamicKeys + key)] = std::min(last_negative, entry(-std::bit_cast<float>(upper | 0xffffu)));
  }
  if (with_sign) boundaries_[last_negative] = std::numeric_limits<float>::infinity();
}

const DynamicMap& dynamic_map(bool with_sign) {
  static const DynamicMap with(true);
  static const DynamicMap without(false);
  return with_sign ? with : without;
}

gpu::Map DynamicMap::on_gpu(const at::Tensor& codes) const {
  struct Tables {
    at::Tensor numbers;  // (2, 256)
    at::Tensor lowest;
  };
  static std::map<std::pair<const DynamicMap*, c10::DeviceIndex>, Tables> all;  // one per map and device
  Tables& tables = all[{this, codes.device().index()}];
  if (!tables.numbers.defined()) {
    const at::Tensor numbers = at::empty({2, 256}, at::kFloat);
    std::copy(values_.begin(), values_.end(), numbers.data_ptr<float>());
    std::copy(boundaries_.begin(), boundaries_.end(), numbers.data_ptr<float>() + 256);
    const at::Tensor lowest = at::empty({static_cast<int64_t>(lowest_.size())}, at::kByte);
    std::copy(lowest_.begin(), lowest_.end(), lowest.data_ptr<uint8_t>());
    tables = {numbers.to(codes.device()), lowest.to(codes.device())};
  }
  const float* values = tables.numbers.const_data_ptr<float>();
  return {.values = values, .boundaries = values + 256, .lowest = tables.lowest.const_data_ptr<uint8_t>(), .zero = zero_};
}

std::vector<int64_t> block_scales_shape(at::IntArrayRef shape) {
  const Rows r = rows_of(shape);
  return {r.rows, r.blocks};
}

void for_each_block(at::IntArrayRef shape, const std::function<void(int64_t, int64_t, int64_t)>& each) {
  const Rows r = rows_of(shape);
  at::parallel_for(0, r.rows * r.blocks, kGrainBlocks, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t inside = block % r.blocks * kQuantizationBlock;
      each(block, block / r.blocks * r.columns + inside, std::min(kQuantizationBlock, r.columns - inside));
    }
  });
}

void decode_block(const uint8_t* codes, float scale, const DynamicMap& map, int64_t size, float* out) {
  const float* values = map.values().data();
  for (int64_t i = 0; i < size; ++i) out[i] = values[codes[i]] * scale;
}

float encode_block(const float* x, const DynamicMap& map, int64_t size, uint8_t* codes) {
  const float scale = largest_magnitude(x, size);
  if (scale == 0) {
    std::fill_n(codes, size, map.encode(0));
    return 0;
  }
  std::array<float, kQuantizationBlock> scaled;
  std::array<int32_t, kQuantizationBlock> keys;
  scale_and_key(x, scale, size, scaled.data(), keys.data());
  for (size_t i = 0; i < static_cast<size_t>(size); ++i) codes[i] = map.look_up(scaled[i], keys[i]);
  return scale;
}

gpu::Codes codes_on_gpu(const at::Tensor& codes, const at::Tensor& scales, const DynamicMap& map) {
  return {.codes = codes.data_ptr<uint8_t>(), .scales = scales.data_ptr<float>(), .map = map.on_gpu(codes)};
}

gpu::Blocks blocks_on_gpu(at::IntArrayRef shape) {
  const Rows r = rows_of(shape);
  return {.rows = r.rows, .columns = r.columns};
}

void quantize_blockwise(const at::Tensor& x, const DynamicMap& map, at::Tensor& codes, at::Tensor& scales) {
  TERSOR_CHECK(x.scalar_type() == at::kFloat && codes.scalar_type() == at::kByte && scales.scalar_type() == at::kFloat &&
                   x.is_contiguous() && codes.is_contiguous() && scales.is_contiguous() && x.sizes() == codes.sizes() &&
                   scales.sizes() == at::IntArrayRef(block_scales_shape(x.sizes())) && x.device() == codes.device(),
               "fp32 to uint8 codes of the same shape, on one device");
  if (x.is_meta()) return;
  if (!on_host(x))
    return gpu::quantize_blockwise(x.const_data_ptr<float>(), blocks_on_gpu(x.sizes()), codes_on_gpu(codes, scales, map), gpu::stream_of(x));
  const float* in = x.const_data_ptr<float>();
  auto* out = codes.data_ptr<uint8_t>();
  float* scale = scales.data_ptr<float>();
  for_each_block(x.sizes(), [=, &map](int64_t block, int64_t first, int64_t size) {
    scale[block] = encode_block(in + first, map, size, out + first);
  });
}

at::Tensor dequantize_blockwise(const at::Tensor& codes, const at::Tensor& scales, const DynamicMap& map) {
  TERSOR_CHECK(codes.is_contiguous() && scales.is_contiguous(), "contiguous codes");
  at::Tensor x = at::empty(codes.sizes(), codes.options().dtype(at::kFloat));
  if (x.is_meta()) return x;
  if (!on_host(x)) {
    gpu::dequantize_blockwise(codes_on_gpu(codes, scales, map), blocks_on_gpu(codes.sizes()), x.data_ptr<float>(), gpu::stream_of(x));
    return x;
  }
  const auto* in = codes.const_data_ptr<uint8_t>();
  const float* scale = scales.const_data_ptr<float>();
  float* out = x.data_ptr<float>();
  for_each_block(codes.sizes(), [=, &map](int64_t block, int64_t first, int64_t size) {
    decode_block(in + first, scale[block], map, size, out + first);
  });
  return x;
}

}  // namespace tersor::kernels
