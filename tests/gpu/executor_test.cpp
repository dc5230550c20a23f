// The kernel executor itself: it refuses what it must, and computes what a GPU would.
#include <ATen/ATen.h>

#include "tests/gpu/bad_kernels.h"
#include "tests/support/catch.h"
#include "tests/support/gpu.h"
#include "tests/support/simt/executor.h"

namespace tersor::testing {
namespace {

at::Tensor integers(int64_t size) { return at::zeros({size}, at::TensorOptions(at::kInt).device(gpu_device())); }
int* data(const at::Tensor& x) { return x.data_ptr<int>(); }
std::vector<int> numbers(const at::Tensor& x) {
  const at::Tensor host = x.cpu();
  return {host.data_ptr<int>(), host.data_ptr<int>() + host.numel()};
}

template <class F>
std::string refusal(F f) {
  try {
    f();
  } catch (const simt::Error& error) {
    return error.what();
  }
  return "nothing refused";
}

}  // namespace

TEST_CASE("executor: barriers and warps that not all reach are refused, with the place", "[gpu]") {
  const at::Tensor out = integers(64);
  using Catch::Contains;
  CHECK_NOTHROW(barrier_for_some(true));
  CHECK_THAT(refusal([] { barrier_for_some(false); }), Contains("bad_kernels.cu:") && Contains("waits for the block"));
  CHECK_THAT(refusal([] { leave_before_barrier(); }), Contains("thread (5,0,0) of block (0,0,0) has left the kernel"));
  CHECK_NOTHROW(shuffle_with_some(true, data(out)));
  CHECK_THAT(refusal([&] { shuffle_with_some(false, data(out)); }), Contains("for lane 16, which has left the kernel"));
  CHECK_THAT(refusal([&] { read_from_outsider(data(out)); }), Contains("lane 20 is read from and does not take part"));
}

TEST_CASE("executor: votes and shuffles", "[gpu]") {
  const at::Tensor out = integers(32);
  votes(data(out));
  const std::vector<int> got = numbers(out);
  for (int lane = 0; lane < 32; ++lane)
    CHECK(got[static_cast<size_t>(lane)] == 10000 * std::max(0, lane - 1) + 100 * std::min(31, lane + 1) + lane / 8 * 8 + 3);
}

TEST_CASE("executor: products of tiles", "[gpu]") {
  const at::Tensor a = at::randn({16, 16}).to(at::kBFloat16);
  const at::Tensor b = at::randn({16, 16}).to(at::kBFloat16);
  const at::Tensor on_a = a.to(gpu_device());
  const at::Tensor on_b = b.to(gpu_device());
  const at::Tensor c = at::empty({16, 16}, at::TensorOptions(at::kFloat).device(gpu_device()));
  tensor_product(on_a.data_ptr(), on_b.data_ptr(), c.data_ptr<float>());
  CHECK(at::allclose(c.cpu(), a.to(at::kFloat).mm(b.to(at::kFloat).t()) + 1, 1e-5, 1e-5));
}

TEST_CASE("executor: copies into shared memory arrive when they have been waited for", "[gpu]") {
  const at::Tensor x = at::randint(1000, {256}, at::kInt);
  const at::Tensor on = x.to(gpu_device());
  const at::Tensor out = integers(256);
  copy_into_shared(true, data(on), data(out));
  CHECK(at::equal(out.cpu(), x));
  CHECK_THAT(refusal([&] { copy_unaligned(data(on), data(out)); }), Catch::Contains("a copy of 16 bytes from or to an address that is not aligned"));
#if !defined(__SANITIZE_ADDRESS__)
  CHECK_THAT(refusal([&] { copy_into_shared(false, data(on), data(out)); }), Catch::Contains("reads shared memory that its block has not written"));
#endif
}

TEST_CASE("executor: atomics", "[gpu]") {
  const at::Tensor x = at::randint(1000, {300}, at::kInt);
  const at::Tensor out = integers(2);
  const at::Tensor on = x.to(gpu_device());
  largest_of(data(on), 300, data(out));
  CHECK(numbers(out) == std::vector<int>{x.max().item<int>(), 7});
  const at::Tensor count = integers(1);
  blocks_write_the_same(true, data(count));
  CHECK(numbers(count)[0] == 2);
}

TEST_CASE("executor: an index beyond declared shared memory is refused", "[gpu]") {
  const at::Tensor out = integers(1);
  CHECK_NOTHROW(beyond_declared_shared(63, data(out)));
#if !defined(__SANITIZE_ADDRESS__)  // its own checks end the program
  CHECK_THAT(refusal([&] { beyond_declared_shared(64, data(out)); }), Catch::Contains("an array has no element 64"));
#endif
}

#if !defined(__SANITIZE_ADDRESS__)  // kernels then carry its checks instead of these
TEST_CASE("executor: races are refused, in shared and in global memory", "[gpu]") {
  using Catch::Contains;
  const at::Tensor out = integers(64);
  CHECK_NOTHROW(sum_of_neighbours(true, data(out)));
  CHECK(numbers(out)[1] == 34);
  CHECK_THAT(refusal([&] { sum_of_neighbours(false, data(out)); }), Contains("shared memory"));
  CHECK_NOTHROW(lanes_in_shared(true, data(out)));
  CHECK_THAT(refusal([&] { lanes_in_shared(false, data(out)); }), Contains("shared memory"));
  CHECK_THAT(refusal([&] { blocks_write_the_same(false, data(out)); }), Contains("a race in global memory") && Contains("thread 0 of block 0 wrote"));
}

TEST_CASE("executor: memory beyond what there is, or that nobody has written, is refused", "[gpu]") {
  using Catch::Contains;
  const at::Tensor out = integers(4);
  CHECK_NOTHROW(beyond_asked_for_shared(63, data(out)));
  CHECK_THAT(refusal([&] { beyond_asked_for_shared(64, data(out)); }), Contains("touches byte 256 of 256 bytes of shared memory"));
  CHECK_NOTHROW(beyond_global(data(out), 3));
  CHECK_THAT(refusal([&] { beyond_global(data(out), 4); }), Contains("16 bytes into one of 16"));
  CHECK_THAT(refusal([&] { beyond_global(data(out), -1); }), Contains("was not allocated"));
  CHECK_THAT(refusal([&] { read_unwritten_shared(data(out)); }), Contains("thread (0,0,0) of block (1,0,0) reads shared memory that its block has not written"));
}
#endif

}  // namespace tersor::testing
