#include "tests/support/gpu.h"

#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/native/TensorFactories.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/library.h>

#include <atomic>

#include "core/device/device.h"
#include "core/memory/ledger.h"
#include "tests/support/simt/executor.h"

namespace tersor::testing {
namespace {

std::atomic<int64_t> waits = 0;
std::atomic<int64_t> replays = 0;
thread_local bool through_host_now = false;  // copies that only stand for an operator on the GPU

at::Device pretend_gpu() { return {at::kPrivateUse1, 0}; }

class Guard final : public c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::PrivateUse1> {
 public:
  c10::Device exchangeDevice(c10::Device) const override { return pretend_gpu(); }
  c10::Device getDevice() const override { return pretend_gpu(); }
  // One stream, on which everything is done at once.
  c10::Stream getStream(c10::Device) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, pretend_gpu()); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, pretend_gpu()); }
  void* getStreamNativeHandle(const c10::Stream) const override { return nullptr; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

// What LibTorch asks of an accelerator.
class Hooks final : public at::PrivateUse1HooksInterface {
 public:
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
};
const bool hooked = [] {
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  c10::register_privateuse1_backend("pretend");
  return true;
}();

// Kernels may touch what it gives out, to the byte.
class Memory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes == 0 ? nullptr : c10::alloc_cpu(bytes);
    if (data != nullptr) simt::allow(data, bytes);
    if (data != nullptr) note_allocated(data, static_cast<int64_t>(bytes));
    return {data, data, &release, pretend_gpu()};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }

 private:
  static void release(void* data) {
    if (data == nullptr) return;
    simt::forbid(data);
    note_released(data);
    c10::free_cpu(data);
  }
};
Memory memory;
REGISTER_ALLOCATOR(c10::DeviceType::PrivateUse1, &memory)

constexpr c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> type, std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &memory, kKeys, type.value_or(at::kFloat), format);
}
at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> type, std::optional<at::Layout>,
                         std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &memory, kKeys, type.value_or(at::kFloat));
}

// The same memory as a tensor of the host.
at::Tensor on_host(const at::Tensor& x) {
  if (x.is_cpu()) return x;
  return at::from_blob(x.data_ptr(), x.sizes(), x.strides(), at::TensorOptions(x.scalar_type()));
}
// LibTorch waits for a copy from one side to the other, unless it is told not to.
at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool beside_the_host) {
  if (to.is_cpu() != from.is_cpu() && !beside_the_host && !through_host_now) ++waits;
  if (to.numel() > 0) on_host(to).copy_(on_host(from));
  return to;
}
at::Scalar local_scalar(const at::Tensor& x) {
  if (!through_host_now) ++waits;
  return on_host(x).item();
}
const at::Tensor& resize(const at::Tensor& x, at::IntArrayRef size, std::optional<at::MemoryFormat>) {
  const bool grows = x.nbytes() < static_cast<size_t>(c10::multiply_integers(size)) * x.element_size() || !x.has_storage();
  if (grows) x.storage().set_data_ptr(memory.allocate(static_cast<size_t>(c10::multiply_integers(size)) * x.element_size()));
  if (grows) x.storage().set_nbytes(static_cast<size_t>(c10::multiply_integers(size)) * x.element_size());
  x.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  return x;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) to.resize_(from.sizes());
  return copy_from(from, to, false);
}

// cuSPARSELt's, which LibTorch has for its GPUs alone. Of a matrix with more than two of four neighbours it makes another.
at::Tensor compress(const at::Tensor& w) {
  const at::Tensor counts = (on_host(w) != 0).view({-1, 4}).sum(1);
  TORCH_CHECK(counts.max().item<int64_t>() <= 2, "more than two of four neighbours");
  return w.clone();
}
at::Tensor sparse_mm(const at::Tensor& a, const at::Tensor& b, const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& alpha,
                     std::optional<at::ScalarType> type, bool transposed, int64_t, int64_t, int64_t) {
  TORCH_CHECK(!bias && !alpha && !type, "not pretended");
  const at::Tensor result = on_host(a).mm(on_host(b));
  return (transposed ? result.t() : result).contiguous().to(pretend_gpu());
}

// Any other operator: by way of the host, where all its tensors are on the device. Numbers may be the host's, as on a GPU.
void through_host(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto refuse = [&](const at::Tensor& x) {
    TORCH_CHECK(!x.defined() || x.device().type() == at::kPrivateUse1 || x.dim() == 0, op.schema().name(), ": a tensor of '", x.device(),
                "' beside one of the GPU");
  };
  for (const c10::IValue& argument : torch::jit::last(*stack, op.schema().arguments().size())) {
    if (argument.isTensor()) refuse(argument.toTensor());
    if (argument.isTensorList())
      for (const at::Tensor& x : argument.toTensorVector()) refuse(x);
  }
  through_host_now = true;
  at::native::cpu_fallback(op, stack, true);
  through_host_now = false;
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&through_host>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("as_strided", at::native::as_strided_tensorimpl);
  m.impl("view", at::native::view);
  m.impl("unfold", at::native::unfold);
  m.impl("_reshape_alias", at::native::_reshape_alias);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("_local_scalar_dense", local_scalar);
  m.impl("resize_", resize);
  m.impl("_cslt_compress", compress);
  m.impl("_cslt_sparse_mm", sparse_mm);
}

// Does the work again and puts its results where they lay.
class Again final : public Recorder {
 public:
  std::vector<at::Tensor> record(const std::function<std::vector<at::Tensor>()>& work) override {
    work_ = work;
    results_ = work();
    return results_;
  }
  void replay() override {
    const std::vector<at::Tensor> fresh = work_();
    for (size_t i = 0; i < fresh.size(); ++i) results_[i].copy_(fresh[i]);
    ++replays;
  }
  void forget() override { work_ = nullptr; }

 private:
  std::function<std::vector<at::Tensor>()> work_;
  std::vector<at::Tensor> results_;
};

class PretendKind final : public DeviceKind {
 public:
  struct Config {
    bool graphs = false;
    void fields(FieldVisitor& v) { v("graphs", graphs, "do passes again that were recorded"); }
  };
  explicit PretendKind(const Config& config) : c_(config) {}
  std::unique_ptr<Recorder> recorder() const override { return c_.graphs ? std::make_unique<Again>() : nullptr; }

  at::DeviceType type() const override { return at::kPrivateUse1; }
  bool there() const override { return true; }
  at::Device open(int, at::ScalarType) const override { return pretend_gpu(); }
  std::string name(int) const override { return "pretended"; }
  int64_t free_memory(int, int) const override { return 0; }
  MemoryPeak peak(const at::Device& device) const override { return memory_peak(device.type()); }
  void reset_peak(const at::Device& device) const override { reset_memory_peak(device.type()); }

 private:
  Config c_;
};
const bool registered = devices().add<PretendKind>("pretend", "a GPU that is not there, for tests");

}  // namespace

bool gpu_there() { return true; }
at::Device gpu_device() { return pretend_gpu(); }
std::string gpu_name() { return "pretend"; }
std::optional<int64_t> gpu_launches() { return simt::launches(); }
std::optional<int64_t> gpu_waits() { return waits; }
std::optional<int64_t> gpu_replays() { return replays; }
UncheckedKernels::UncheckedKernels() { simt::set_unchecked(true); }
UncheckedKernels::~UncheckedKernels() { simt::set_unchecked(false); }

}  // namespace tersor::testing
