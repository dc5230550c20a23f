// All that runs on a GPU: the `.cu` files define it, and the ops call it. Pointers are to device memory, arrays are contiguous, and
// work is queued on a stream without waiting for it. The formulas are in the headers of the ops.
//
// Includes no header of LibTorch or CUDA. In a build without CUDA these functions have no definition and are not called.
#pragma once

#include <cstdint>

struct CUstream_st;

#define TERSOR_GPU [[gnu::weak]]

namespace tersor::kernels::gpu {

using Stream = CUstream_st*;
enum class Number : uint8_t { kFp32, kBf16 };

// rms_norm.h.  x, y (rows, width) and gain (width) of `type`, scale (rows)
struct RmsNorm {
  Number type;
  const void* x;
  const void* gain;
  int64_t rows;
  int64_t width;
  float eps;
  void* y;
  float* scale;
};
struct RmsNormBackward {
  Number type;
  const void* x;
  const void* gain;
  const float* scale;
  const void* dy;
  const void* around;  // or null
  int64_t rows;
  int64_t width;
  void* dx;
  float* d_gains;  // (⌈rows / 8⌉, width): partial sums over 8 rows each
};
inline constexpr int64_t kNormRowsAtOnce = 8;
TERSOR_GPU void rms_norm(const RmsNorm& n, Stream stream);
TERSOR_GPU void rms_norm_backward(const RmsNormBackward& n, Stream stream);

// swiglu.h.  All (size) of `type`; the gradients are written over gate and up.
TERSOR_GPU void swiglu(Number type, const void* gate, const void* up, int64_t size, void* y, Stream stream);
TERSOR_GPU void swiglu_backward(Number type, const void* dy, int64_t size, void* gate, void* up, Stream stream);

// rotary.h.  x, y (rows, heads, width), where row % length is the position; tables (length, width)
struct Rotary {
  Number type;
  const void* x;
  const void* cos;
  const void* sin;
  int64_t rows;
  int64_t length;
  int64_t heads;
  int64_t width;
  float direction;  // 1, or −1 for the gradient
  void* y;
};
TERSOR_GPU void rotary(const Rotary& r, Stream stream);

// linear_cross_entropy.h.  logits (rows, classes), overwritten with scale · (softmax − one-hot) if gradients are wanted;
// losses (rows), zero for a row without a target, NaN for a target that is not a class
struct CrossEntropy {
  Number type;
  void* logits;
  const int64_t* targets;
  int64_t rows;
  int64_t classes;
  float scale;
  bool gradients;
  double* losses;
};
TERSOR_GPU void cross_entropy(const CrossEntropy& c, Stream stream);

// fill_normal.h, fill_uniform.h.  x (size) of `type`
TERSOR_GPU void fill_normal(Number type, void* x, int64_t size, double std, uint64_t key, Stream stream);
TERSOR_GPU void fill_uniform(Number type, void* x, int64_t size, double bound, uint64_t key, Stream stream);

// stochastic_round.h.  y: bf16
struct Rounding {
  uint64_t key;
  int64_t first;  // the index of the draw for the tensor's first number
};
TERSOR_GPU void stochastic_round(const float* x, int64_t size, const Rounding& rounding, uint16_t* y, Stream stream);

// add_outer.h.  w (out, in) of `type`, u (count, out), v (count, in)
struct AddOuter {
  Number type;
  void* w;
  const float* u;
  const float* v;
  int64_t count;
  int64_t out;
  int64_t in;
  float scale;
  Rounding rounding;
};
TERSOR_GPU void add_outer(const AddOuter& a, Stream stream);

// adamw.h.  `corrections`: this step's gain and ε in device memory, or null for those given here.
struct AdamNumbers {
  float keep2, new1, new2, epsilon, grad_scale, decay, lr, gain;
  const float* corrections;
};
struct Weights {  // rounded stochastically if in bf16
  Number type;
  void* w;
  Number grad_type;
  const void* grad;
  Rounding rounding;
};
TERSOR_GPU void adam_corrections(float* t, double beta1, double beta2, double epsilon, bool epsilon_corrected, float* corrections, Stream stream);
TERSOR_GPU void adam_direction(const float* grad, float* m, float* v, float* n, int64_t size, const AdamNumbers& a, Stream stream);
TERSOR_GPU void adamw_step(const Weights& w, float* m, float* v, int64_t size, const AdamNumbers& a, Stream stream);

// quantize_blockwise.h.  A map has two rows of 256, its values and the boundaries between them, and the lowest code for each key.
struct Map {
  const float* values;
  const float* boundaries;
  const uint8_t* lowest;  // dynamic_key.h
  int zero;               // the entry that is 0
};
struct Blocks {  // of 256 numbers in a row
  int64_t rows;
  int64_t columns;
};
struct Codes {
  uint8_t* codes;
  float* scales;
  Map map;
};
TERSOR_GPU void quantize_blockwise(const float* x, const Blocks& blocks, const Codes& out, Stream stream);
TERSOR_GPU void dequantize_blockwise(const Codes& in, const Blocks& blocks, float* x, Stream stream);
TERSOR_GPU void adamw_step_int8(const Weights& w, const Codes& m, const Codes& v, const Blocks& blocks, const AdamNumbers& a, Stream stream);

// quantize_affine.h
struct Affine {
  uint8_t* codes;  // (rows, row_bytes)
  float* scales;   // (rows, ⌈columns / 256⌉), like zeros
  uint8_t* zeros;
  int64_t rows;
  int64_t columns;
  int64_t row_bytes;
  int bits;  // 4 or 8
};
TERSOR_GPU void quantize_affine(const float* x, const Affine& out, bool stochastic, uint64_t key, Stream stream);
TERSOR_GPU void dequantize_affine(const Affine& in, Number type, void* x, Stream stream);

// add_scaled.h.  gain, already multiplied by `rate`: one, (rows) or (columns)
enum class Gain : uint8_t { kOne, kByRow, kByColumn };
struct AddScaled {
  float* w;
  const float* x;
  const float* gain;  // or null for `rate` itself
  int64_t rows;
  int64_t columns;
  float keep;
  float rate;
  Gain form;
};
TERSOR_GPU void add_scaled(const AddScaled& a, Stream stream);

// square_norm.h, for many tensors at once. sums: one per 65536 numbers of each tensor
inline constexpr int64_t kSquaresOfABlock = 65536;
inline constexpr float kSmallestSureSum = 1e-30f;  // a smaller one in fp32 may have lost squares to underflow
struct ManyTensors {
  static constexpr int kMost = 512;
  int count;
  const void* at[kMost];
  int64_t sizes[kMost];
  int64_t blocks[kMost + 1];  // in all tensors before it
};
TERSOR_GPU void square_sums(Number type, const ManyTensors& x, double* sums, Stream stream);
// x (rows, columns). sums: (rows), or (⌈rows / 64⌉, columns), partial sums over 64 rows each
inline constexpr int64_t kSquaresOfRows = 64;
TERSOR_GPU void row_square_sums(Number type, const void* x, int64_t rows, int64_t columns, double* sums, Stream stream);
TERSOR_GPU void column_square_sums(Number type, const void* x, int64_t rows, int64_t columns, double* sums, Stream stream);

// sparse_pattern.h.  Entries of a matrix (out, in)
struct Entries {
  const int32_t* row_starts;
  const void* columns;  // 16 bits each if narrow, else 32
  bool narrow;
  int64_t out;
  int64_t in;
};
TERSOR_GPU void scatter_add(Number type, const Entries& at, const void* values, void* w, Stream stream);
TERSOR_GPU void gather(Number type, const Entries& at, const void* w, void* values, Stream stream);
// values[k] = Σ_t dy[t, row k] · x[t, column k], dy (tokens, out), x (tokens, in)
TERSOR_GPU void sampled_product(Number type, const Entries& at, const void* dy, const void* x, int64_t tokens, float* values, Stream stream);

// sparse_low_rank_linear.h: w ← scale · b·a + values at the entries, in one pass.  b (out, rank), a (rank, in)
struct Compose {
  Number type;
  Entries at;
  const void* b;
  const void* a;
  int64_t rank;
  float scale;
  const void* values;
  void* w;
};
TERSOR_GPU void compose(const Compose& c, Stream stream);

// block_sparse_linear.h.  The tensors of a BlockPattern whose blocks are 1 << shift wide, at least 64.
struct Blocked {
  Number type;
  const int32_t* row_starts;
  const int32_t* columns;
  const int64_t* offsets;
  const int32_t* lengths;
  const int32_t* column_starts;
  const int32_t* rows;
  const int32_t* places;
  int64_t out;
  int64_t in;
  int64_t blocks;
  int shift;
};
// x (tokens, in), y (tokens, out)
TERSOR_GPU void block_sparse(const Blocked& b, const void* x, const void* values, int64_t tokens, void* y, Stream stream);
TERSOR_GPU void block_sparse_transposed(const Blocked& b, const void* dy, const void* values, int64_t tokens, void* dx, Stream stream);
TERSOR_GPU void block_sparse_sampled(const Blocked& b, const void* dy, const void* x, int64_t tokens, void* d_values, Stream stream);

}  // namespace tersor::kernels::gpu
