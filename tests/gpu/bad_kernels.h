// Kernels with one known fault each, which the executor must refuse, and sound forms, which it must let pass.
#pragma once

namespace tersor::testing {

// `right`: the sound form.  out: (64) int
void sum_of_neighbours(bool right, int* out);            // shared memory; a barrier is missing
void barrier_for_some(bool right);                       // half of a block waits at another barrier
void leave_before_barrier();                             // one thread has left the kernel
void shuffle_with_some(bool right, int* out);            // half of a warp is elsewhere
void read_from_outsider(int* out);                       // reads from a lane that does not take part
void beyond_declared_shared(int index, int* out);        // an index into __shared__ int x[64]
void beyond_asked_for_shared(int index, int* out);       // the same for 64 numbers requested at launch
void beyond_global(int* out, int index);
void read_unwritten_shared(int* out);
void blocks_write_the_same(bool right, int* out);        // `right`: with an atomic addition
void lanes_in_shared(bool right, int* out);              // within a warp; `right`: with __syncwarp
void copy_into_shared(bool right, const int* x, int* out);  // 256 numbers, still in flight when read unless `right`
void copy_unaligned(const int* x, int* out);             // 16 bytes from the second number on
void votes(int* out);                                    // ballot, any, all, and shuffles in all directions
void tensor_product(const void* a, const void* b, float* c);  // bf16 16 × 16 each
void largest_of(const int* x, int size, int* out);        // atomicMax and atomicCAS

}  // namespace tersor::testing
