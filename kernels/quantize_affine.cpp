#include "kernels/quantize_affine.h"

#include <ATen/Parallel.h>
#include <c10/util/accumulate.h>

#include <array>
#include <cmath>

#include "core/base/error.h"
#include "kernels/affine_range.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"
#include "kernels/quantize_blockwise.h"
#include "kernels/scalar_math.h"
#include "kernels/vectorize.h"

namespace tersor::kernels {
namespace {

constexpr int64_t kGrainBlocks = 64;

struct Layout {
  int64_t rows;
  int64_t columns;
  int64_t row_bytes;
  int64_t blocks;  // in a row

  Layout(at::IntArrayRef shape, int bits)
      : columns(shape.empty() ? 1 : shape.back()), row_bytes((columns * bits + 7) / 8),
        blocks((columns + kQuantizationBlock - 1) / kQuantizationBlock) {
    rows = columns == 0 ? 0 : c10::multiply_integers(shape) / columns;
  }
};

void put(uint8_t* row, int64_t column, int bits, uint8_t code) {
  if (bits == 8) {
    row[column] = code;
  } else if (column % 2 == 0) {
    row[column / 2] = code;
  } else {
    row[column / 2] = static_cast<uint8_t>(row[column / 2] | (code << 4));
  }
}

// Unpacks 4-bit codes to one per byte.
const uint8_t* unpacked(const uint8_t* pairs, int64_t size, uint8_t* out) {
  for (int64_t i = 0; i < size; ++i) out[i] = i % 2 == 0 ? pairs[i / 2] & 0xf : pairs[i / 2] >> 4;
  return out;
}

template <class T>
TERSOR_VECTORIZED void decode(const uint8_t* codes, float scale, int zero, int64_t size, T* out) {
  for (int64_t i = 0; i < size; ++i) store(out[i], scale * static_cast<float>(codes[i] - zero));
}

AffineRange range_of(const float* x, int64_t size, int levels) {
  float low = 0;
  float high = 0;
  for (int64_t i = 0; i < size; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  return affine_range(low, high, static_cast<float>(levels));
}

gpu::Affine on_gpu(const AffineQuantized& q) {
  const Layout l(q.shape, q.bits);
  return {.codes = q.codes.data_ptr<uint8_t>(), .scales = q.scales.data_ptr<float>(), .zeros = q.zeros_.data_ptr<uint8_t>(),
          .rows = l.rows, .columns = l.columns, .row_bytes = l.row_bytes, .bits = q.bits};
}

}  // namespace

AffineQuantized AffineQuantized::zeros(at::IntArrayRef shape, int bits, const at::TensorOptions& options) {
  const Layout l(shape, bits);
  return {shape.vec(), bits, at::zeros({l.rows, l.row_bytes}, options.dtype(at::kByte)),
          at::zeros({l.rows, l.blocks}, options.dtype(at::kFloat)), at::zeros({l.rows, l.blocks}, options.dtype(at::kByte))};
}

AffineQuantized AffineQuantized::from_parts(std::span<const at::Tensor> parts, at::IntArrayRef shape, int bits) {
  return {shape.vec(), bits, parts[0], parts[1], parts[2]};
}

int64_t AffineQuantized::bytes(at::IntArrayRef shape, int bits) {
  const Layout l(shape, bits);
  return l.rows * (l.row_bytes + l.blocks * static_cast<int64_t>(sizeof(float) + 1));
}

void quantize_affine(const at::Tensor& x, const AffineQuantized& out, const std::optional<RandomStream>& random) {
  TERSOR_CHECK(x.scalar_type() == at::kFloat && x.is_contiguous() && x.device() == out.codes.device() && x.sizes() == at::IntArrayRef(out.shape),
               "contiguous fp32 on the device of the codes");
  if (x.is_meta()) return;
  if (!on_host(x)) {
    gpu::quantize_affine(x.const_data_ptr<float>(), on_gpu(out), random.has_value(), random ? random->key() : 0, gpu::stream_of(x));
    return;
  }
  const Layout l(out.shape, out.bits);
  const int levels = (1 << out.bits) - 1;
  const float* in = x.const_data_ptr<float>();
  auto* codes = out.codes.data_ptr<uint8_t>();
  auto* scales = out.scales.data_ptr<float>();
  auto* zeros = out.zeros_.data_ptr<uint8_t>();
  at::parallel_for(0, l.rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, l.columns)), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      uint8_t* packed = codes + row * l.row_bytes;
      for (int64_t column = 0; column < l.columns; ++column) {
        const int64_t block = row * l.blocks + column / kQuantizationBlock;
        if (column % kQuantizationBlock == 0) {
          const AffineRange range = range_of(in + row * l.columns + column, std::min(kQuantizationBlock, l.columns - column), levels);
          scales[block] = range.scale;
          zeros[block] = static_cast<uint8_t>(range.zero);
        }
        const int64_t place = row * l.columns + column;
        const float exact = in[place] / scales[block];
        const float rounded = random ? std::floor(exact + static_cast<float>(random->uniform(static_cast<uint64_t>(place))))
                                     : std::nearbyint(exact);
        const float code = std::clamp(rounded + static_cast<float>(zeros[block]), 0.0f, static_cast<float>(levels));
        put(packed, column, out.bits, static_cast<uint8_t>(code));
      }
    }
  });
}

at::Tensor dequantize_affine(const AffineQuantized& q, at::ScalarType type) {
  if (type != at::kFloat && type != at::kBFloat16) return dequantize_affine(q).to(type);
  const Layout l(q.shape, q.bits);
  at::Tensor x = at::empty(q.shape, q.codes.options().dtype(type));
  if (x.is_meta()) return x;
  if (!on_host(x)) {
    gpu::dequantize_affine(on_gpu(q), gpu::number_of(x), x.data_ptr(), gpu::stream_of(x));
    return x;
  }
  const auto* codes = q.codes.const_data_ptr<uint8_t>();
  const auto* scales = q.scales.const_data_ptr<float>();
  const auto* zeros = q.zeros_.const_data_ptr<uint8_t>();
  const auto write = [&](auto* out) {
    at::parallel_for(0, l.rows * l.blocks, kGrainBlocks, [=, bits = q.bits](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const int64_t row = block / l.blocks;
        const int64_t column = block % l.blocks * kQuantizationBlock;
        const int64_t size = std::min(kQuantizationBlock, l.columns - column);
        std::array<uint8_t, kQuantizationBlock> wide;
        const uint8_t* these = codes + row * l.row_bytes + column * bits / 8;
        if (bits == 4) these = unpacked(these, size, wide.data());
        decode(these, scales[block], zeros[block], size, out + row * l.columns + column);
      }
    });
  };
  type == at::kFloat ? write(x.data_ptr<float>()) : write(x.data_ptr<c10::BFloat16>());
  return x;
}

}  // namespace tersor::kernels
