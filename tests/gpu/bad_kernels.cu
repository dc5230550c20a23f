#include "tests/gpu/bad_kernels.h"

#include <cuda_pipeline.h>
#include <mma.h>

#include "kernels/launch.cuh"

namespace tersor::testing {
namespace {

using namespace kernels::gpu;

__global__ void neighbours(bool right, int* out) {
  __shared__ int x[64];
  x[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (right) __syncthreads();
  out[threadIdx.x] = x[threadIdx.x] + x[(threadIdx.x + 32) % 64];
}
__global__ void some_at_barrier(bool right) {
  if (right || threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void left_before_barrier() {
  if (threadIdx.x == 5) return;
  __syncthreads();
}
__global__ void some_shuffle(bool right, int* out) {
  int x = static_cast<int>(threadIdx.x);
  if (right || threadIdx.x < 16) x = __shfl_xor_sync(kAllLanes, x, 1);
  out[threadIdx.x] = x;
}
__global__ void outsider(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffU, static_cast<int>(threadIdx.x), 20);
}
__global__ void declared(int index, int* out) {
  __shared__ int x[64];
  x[threadIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x == 0) *out = x[index];
}
__global__ void asked_for(int index, int* out) {
  int* x = shared_memory<int>();
  x[threadIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x == 0) *out = x[index];
}
__global__ void copied(bool right, const int* x, int* out) {
  __shared__ __align__(16) int y[2][128];
  for (int group = 0; group < 2; ++group) {
    __pipeline_memcpy_async(&y[group][4 * threadIdx.x], x + 128 * group + 4 * threadIdx.x, 16);
    __pipeline_commit();
  }
  __pipeline_wait_prior(right ? 0 : 1);  // the second group is still in flight unless `right`
  __syncthreads();
  for (int group = 0; group < 2; ++group)
    for (int i = 0; i < 4; ++i) out[128 * group + 32 * i + static_cast<int>(threadIdx.x)] = y[group][32 * i + threadIdx.x];
}
__global__ void unaligned(const int* x, int* out) {
  __shared__ __align__(16) int y[4];
  if (threadIdx.x == 0) __pipeline_memcpy_async(y, x + 1, 16);
  __pipeline_commit();
  __pipeline_wait_prior(0);
  if (threadIdx.x == 0) *out = y[0];
}
__global__ void global(int* out, int index) { out[index] = 1; }
__global__ void unwritten(int* out) {
  __shared__ int x[2];
  if (blockIdx.x == 0) x[0] = 1;
  out[blockIdx.x] = x[0];  // the second block has not written it
}
__global__ void same(bool right, int* out) {
  if (threadIdx.x != 0) return;
  if (right)
    atomicAdd(out, 1);
  else
    *out = 1;
}
__global__ void lanes(bool right, int* out) {
  __shared__ int x[32];
  x[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (right) __syncwarp();
  out[threadIdx.x] = x[31 - threadIdx.x];
}
__global__ void vote(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  const unsigned odd = __ballot_sync(kAllLanes, lane % 2);
  const int up = __shfl_up_sync(kAllLanes, lane, 1);
  const int down = __shfl_down_sync(kAllLanes, lane, 1);
  const int third = __shfl_sync(kAllLanes, lane, 3, 8);
  const int some = __any_sync(kAllLanes, lane == 7);
  const int all = __all_sync(kAllLanes, lane == 7);
  out[lane] = odd == 0xaaaaaaaaU && some == 1 && all == 0 ? 10000 * up + 100 * down + third : -1;
}
__global__ void product(const bf16* a, const bf16* b, float* c) {
  using namespace nvcuda::wmma;
  fragment<matrix_a, 16, 16, 16, bf16, row_major> left;
  fragment<matrix_b, 16, 16, 16, bf16, col_major> right;
  fragment<accumulator, 16, 16, 16, float> sums;
  load_matrix_sync(left, a, 16);
  load_matrix_sync(right, b, 16);
  fill_fragment(sums, 1.0f);
  mma_sync(sums, left, right, sums);
  store_matrix_sync(c, sums, 16, mem_row_major);
}
__global__ void largest(const int* x, int size, int* out) {
  for (int i = static_cast<int>(threadIdx.x); i < size; i += static_cast<int>(blockDim.x)) atomicMax(out, x[i]);
  __syncthreads();
  if (threadIdx.x == 0) atomicCAS(out + 1, 0, 7);
}

constexpr Grid kBlock{.blocks = 1, .threads = 64};
constexpr Grid kOneWarp{.blocks = 1, .threads = 32};

}  // namespace

void sum_of_neighbours(bool right, int* out) { launch(neighbours, kBlock, nullptr, right, out); }
void barrier_for_some(bool right) { launch(some_at_barrier, kBlock, nullptr, right); }
void leave_before_barrier() { launch(left_before_barrier, kBlock, nullptr); }
void shuffle_with_some(bool right, int* out) { launch(some_shuffle, kOneWarp, nullptr, right, out); }
void read_from_outsider(int* out) { launch(outsider, kOneWarp, nullptr, out); }
void beyond_declared_shared(int index, int* out) { launch(declared, kBlock, nullptr, index, out); }
void beyond_asked_for_shared(int index, int* out) { launch(asked_for, {.blocks = 1, .threads = 64, .shared_bytes = 64 * sizeof(int)}, nullptr, index, out); }
void beyond_global(int* out, int index) { launch(global, {.blocks = 1, .threads = 1}, nullptr, out, index); }
void read_unwritten_shared(int* out) { launch(unwritten, {.blocks = 2, .threads = 1}, nullptr, out); }
void blocks_write_the_same(bool right, int* out) { launch(same, {.blocks = 2, .threads = 32}, nullptr, right, out); }
void lanes_in_shared(bool right, int* out) { launch(lanes, kOneWarp, nullptr, right, out); }
void copy_into_shared(bool right, const int* x, int* out) { launch(copied, kOneWarp, nullptr, right, x, out); }
void copy_unaligned(const int* x, int* out) { launch(unaligned, kOneWarp, nullptr, x, out); }
void votes(int* out) { launch(vote, kOneWarp, nullptr, out); }
void tensor_product(const void* a, const void* b, float* c) {
  launch(product, kOneWarp, nullptr, static_cast<const bf16*>(a), static_cast<const bf16*>(b), c);
}
void largest_of(const int* x, int size, int* out) { launch(largest, kBlock, nullptr, x, size, out); }

}  // namespace tersor::testing
