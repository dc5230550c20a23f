// An op on the GPU against the same op on the CPU.
#pragma once

#include <torch/csrc/autograd/autograd.h>

#include "kernels/fill_normal.h"
#include "tests/support/catch.h"
#include "tests/support/gpu.h"

namespace tersor::testing {

inline at::Tensor normal(at::IntArrayRef shape, const std::string& name, at::ScalarType type = at::kFloat) {
  const at::Tensor x = at::empty(shape);
  kernels::fill_normal(x, 1.5, random_stream(3, name));
  return x.to(type);
}

inline void check_near(const at::Tensor& on_gpu, const at::Tensor& on_cpu, double bound) {
  REQUIRE(on_gpu.device() == gpu_device());
  REQUIRE(on_gpu.scalar_type() == on_cpu.scalar_type());
  REQUIRE(on_gpu.sizes() == on_cpu.sizes());
  const at::Tensor a = on_gpu.cpu().to(at::kDouble);
  const at::Tensor b = on_cpu.to(at::kDouble);
  CHECK((a - b).norm().item<double>() <= bound * b.norm().item<double>() + 1e-30);
}

// Compares results and gradients of an op on both devices. bf16 is rounded alike, except that sums run in another order.
using Op = std::function<at::Tensor(const std::vector<at::Tensor>&)>;
inline void check_op(const Op& op, const std::vector<std::vector<int64_t>>& shapes, int64_t launches = 1) {
  for (const auto& [type, bound] : {std::pair{at::kFloat, 2e-6}, std::pair{at::kBFloat16, 2e-3}}) {
    INFO(at::toString(type) << " " << fmt::format("{}", fmt::join(shapes[0], "x")));
    std::vector<at::Tensor> host;
    std::vector<at::Tensor> device;
    for (const auto& shape : shapes) {
      host.push_back(normal(shape, std::to_string(host.size()), type).requires_grad_(true));
      device.push_back(host.back().detach().to(gpu_device()).requires_grad_(true));
    }
    const auto before = gpu_launches();
    const at::Tensor expected = op(host);
    const at::Tensor y = op(device);
    check_near(y.detach(), expected.detach(), bound);
    const at::Tensor direction = at::linspace(-1, 1, y.numel()).view(y.sizes()).to(type);
    const auto grads = torch::autograd::grad({y}, device, {direction.to(gpu_device())});
    const auto expected_grads = torch::autograd::grad({expected}, host, {direction});
    for (size_t i = 0; i < grads.size(); ++i) check_near(grads[i], expected_grads[i], bound);
    if (before) CHECK(*gpu_launches() >= *before + launches);
  }
}

}  // namespace tersor::testing
