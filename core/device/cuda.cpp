// NVIDIA GPUs through LibTorch. Only in builds with TERSOR_CUDA.
#define USE_C10D_NCCL  // as LibTorch was built
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/csrc/autograd/profiler.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include <cctype>
#include <cstdlib>

#include "core/base/error.h"
#include "core/base/quantity.h"
#include "core/device/cuda_options.h"
#include "core/device/device.h"

namespace tersor {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw user_error("run.device: {}: {}", what, cudaGetErrorString(error));
}

// Whether a GPU of this name is of this model: "NVIDIA A100-SXM4-80GB" is an "A100", and "NVIDIA RTX A1000" is not.
bool is_model(std::string_view gpu, std::string_view model) {
  const auto ends = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; };
  for (size_t at = gpu.find(model); at != std::string_view::npos; at = gpu.find(model, at + 1)) {
    const size_t end = at + model.size();
    if ((at == 0 || ends(gpu[at - 1])) && (end == gpu.size() || ends(gpu[end]))) return true;
  }
  return false;
}

// The peak memory of all tensors of this GPU since the last reset. The total comes from the caching allocator, the segments from the
// ledger.
MemoryPeak peak_of(const at::Device& device) {
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  MemoryPeak peak = memory_peak(device.type());
  peak.whole.total = allocator::getDeviceStats(device.index()).requested_bytes[kAll].peak;
  return peak;
}

// A CUDA graph, captured on its own stream, with its tensors in their own pool. During a replay the ledger counts nothing, so
// `peak` remembers what the capture took.
class Graph final : public Recorder {
 public:
  explicit Graph(std::shared_ptr<std::optional<MemoryPeak>> peak) : peak_(std::move(peak)) {}

  // The streams wait for each other, because tensors of one are read on the other.
  void warm(const std::function<void()>& work) override {
    const c10::cuda::CUDAStream usual = c10::cuda::getCurrentCUDAStream(stream_.device_index());
    let_wait(stream_, usual);
    {
      const c10::cuda::CUDAStreamGuard guard(stream_);
      work();
    }
    let_wait(usual, stream_);
  }
  std::vector<at::Tensor> record(const std::function<std::vector<at::Tensor>()>& work) override {
    c10::cuda::device_synchronize();
    allocator::emptyCache();  // the pool allocates its own memory
    graph_.emplace();
    std::vector<at::Tensor> results;
    {
      const c10::cuda::CUDAStreamGuard guard(stream_);
      const auto pool = at::cuda::graph_pool_handle();
      graph_->capture_begin(pool);
      try {
        results = work();
      } catch (...) {
        try {
          graph_->capture_end();
        } catch (const std::exception&) {  // says only that something failed before, and leaves the pool open
          allocator::endAllocateToPool(stream_.device_index(), pool);
        }
        forget();
        throw;
      }
      graph_->capture_end();
    }
    *peak_ = peak_of(stream_.device());
    replay();  // the capture computed nothing
    return results;
  }
  void replay() override { graph_->replay(); }
  // Waits first: updates on the usual stream may still read the pool's gradients.
  void forget() override {
    if (!graph_) return;
    c10::cuda::device_synchronize();
    graph_.reset();
    allocator::emptyCache();
    peak_->reset();
  }

 private:
  // What comes next on `stream` starts after all work given to `other` so far.
  static void let_wait(const c10::cuda::CUDAStream& stream, const c10::cuda::CUDAStream& other) {
    at::cuda::CUDAEvent reached;
    reached.record(other);
    reached.block(stream);
  }

  const c10::cuda::CUDAStream stream_ = c10::cuda::getStreamFromPool();  // one for good, because libraries keep buffers per stream
  std::optional<at::cuda::CUDAGraph> graph_;
  std::shared_ptr<std::optional<MemoryPeak>> peak_;
};

class Cuda final : public DeviceKind {
 public:
  using Config = CudaOptions;
  explicit Cuda(const Config& config) : c_(config) {}

  at::DeviceType type() const override { return at::kCUDA; }
  bool there() const override { return count() > 0; }
  at::Device open(int local_rank, at::ScalarType type) const override {
    const c10::DeviceIndex index = index_of(local_rank);
    if (c_.deterministic) setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);  // before cuBLAS starts
    static const bool once = (choose_allocator_settings(), at::globalContext().lazyInitDevice(at::kCUDA), count_memory(), true);
    (void)once;
    c10::cuda::set_device(index);
    at::globalContext().setAllowTF32CuBLAS(c_.tf32.value_or(type == at::kBFloat16));
    at::globalContext().setSDPUseCuDNN(false);  // it plans for every new shape, fails if it has no plan, and sums in any order
    at::globalContext().setAllowBF16ReductionCuBLAS(false);  // sums of bf16 are in fp32, also across parts of a product
    at::globalContext().setDeterministicAlgorithms(c_.deterministic, false);
    at::globalContext().setDeterministicFillUninitializedMemory(false);  // nothing here reads memory before it is written
    if (c_.nvtx) name_ranges();
    return {at::kCUDA, index};
  }
  std::string name(int local_rank) const override { return properties(local_rank).name; }

  // What is free on this GPU now: processes do not share one.
  int64_t free_memory(int local_rank, int) const override {
    c10::cuda::set_device(index_of(local_rank));
    size_t free = 0;
    size_t total = 0;
    check(cudaMemGetInfo(&free, &total), "cannot query the free memory of the GPU");
    return static_cast<int64_t>(free);
  }
  MemoryPeak peak(const at::Device& device) const override {
    MemoryPeak peak = peak_of(device);
    if (!*recorded_peak_) return peak;
    const MemoryPeak& recorded = **recorded_peak_;
    if (recorded.whole.total > peak.whole.total) peak.whole = recorded.whole;
    for (size_t i = 0; i < peak.most.size(); ++i) peak.most[i] = std::max(peak.most[i], recorded.most[i]);
    return peak;
  }
  void reset_peak(const at::Device& device) const override {
    allocator::resetPeakStats(device.index());
    reset_memory_peak(device.type());
  }
  double peak_flops(int local_rank, at::ScalarType type) const override {
    if (type != at::kBFloat16) return 0;
    // Dense bf16 with sums in fp32, from NVIDIA's data sheets; of names with the same beginning, the longer one comes first.
    constexpr std::pair<std::string_view, double> kPeaks[]{
        {"GB300", 2.5e15}, {"B300", 2.25e15}, {"GB200", 2.5e15}, {"B200", 2.25e15}, {"GH200", 9.89e14}, {"H200 NVL", 8.35e14}, {"H200", 9.89e14},
        {"H100 PCIe", 7.56e14}, {"H100 NVL", 8.35e14}, {"H100", 9.89e14}, {"A100", 3.12e14}, {"L40S", 3.62e14}, {"L40", 1.81e14}, {"L4", 1.21e14},
        {"A40", 1.50e14}, {"A10G", 7.0e13}, {"A10", 1.25e14}, {"RTX 5090", 2.095e14}, {"RTX 4090", 1.652e14}, {"RTX 4080", 9.75e13}, {"RTX 3090", 7.1e13}};
    const std::string gpu = name(local_rank);
    for (const auto& [model, flops] : kPeaks)
      if (is_model(gpu, model)) return flops;
    return 0;
  }
  void synchronize(const at::Device& device) const override {
    c10::cuda::set_device(device.index());
    c10::cuda::device_synchronize();
  }

  std::unique_ptr<Recorder> recorder() const override { return c_.graphs ? std::make_unique<Graph>(recorded_peak_) : nullptr; }

  ConnectDevices connector() const override {
    return [](const c10::intrusive_ptr<c10d::Store>& store, int rank, int size, std::chrono::milliseconds timeout) -> c10::intrusive_ptr<c10d::Backend> {
      constexpr std::chrono::seconds kToTell(30);
      if (c10d::getNcclVersionNumber() != NCCL_VERSION_CODE)  // the options' memory layout depends on the version
        throw user_error("LibTorch comes with NCCL {}, but this program was built with the header of NCCL {}.{}.{}; install LibTorch's version of that header and build again",
                         c10d::getNcclVersion(), NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH);
      const auto options = c10d::ProcessGroupNCCL::Options::create();
      options->timeout = timeout + kToTell;  // when LibTorch ends the program; before that, `settle` tells which process is lost
      return c10::make_intrusive<c10d::ProcessGroupNCCL>(c10::make_intrusive<c10d::PrefixStore>("nccl", store), rank, size, options);
    };
  }

  std::vector<std::pair<std::string, std::string>> details(int local_rank) const override {
    const cudaDeviceProp& p = properties(local_rank);
    int driver = 0;
    int runtime = 0;
    check(cudaDriverGetVersion(&driver), "cannot query the version of the driver");
    check(cudaRuntimeGetVersion(&runtime), "cannot query the version of the CUDA runtime");
    const auto version = [](int v) { return fmt::format("{}.{}", v / 1000, v % 1000 / 10); };
    return {{"compute capability", fmt::format("{}.{}", p.major, p.minor)},
            {"memory", fmt::format("{}, {} free", format_bytes(static_cast<double>(p.totalGlobalMem)), format_bytes(static_cast<double>(free_memory(local_rank, 1))))},
            {"multiprocessors", std::to_string(p.multiProcessorCount)},
            {"driver", "up to CUDA " + version(driver)},
            {"CUDA runtime", version(runtime)},
            {"NCCL", c10d::getNcclVersion()}};
  }

 private:
  // Expandable segments leave no holes when sizes change, as at a timeline event. The user's own settings take precedence.
  static void choose_allocator_settings() {
    for (const char* name : {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"})
      if (std::getenv(name) != nullptr) return;
    c10::CachingAllocator::setAllocatorSettings("expandable_segments:True");
  }
  // Reports every tensor to the ledger.
  static void count_memory() {
    using Entry = allocator::TraceEntry;
    try {
      allocator::attachAllocatorTraceTracker([](const Entry& entry) {
        const auto* address = reinterpret_cast<const void*>(entry.addr_);
        if (entry.action_ == Entry::ALLOC) note_allocated(address, static_cast<int64_t>(entry.size_));
        if (entry.action_ == Entry::FREE_REQUESTED) note_released(address);
      });
    } catch (const c10::Error&) {
      throw user_error("PYTORCH_ALLOC_CONF selects an allocator that does not report its allocations; remove its 'backend'");
    }
  }
  // From here on, this thread and those that run its backward passes tell profilers the names of operators and of a step's parts.
  static void name_ranges() {
    using namespace torch::autograd::profiler;
    static const bool once = (enableProfiler(ProfilerConfig(torch::profiler::impl::ProfilerState::NVTX), {},
                                             {at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION, at::RecordScope::USER_SCOPE}), true);
    (void)once;
  }

  static int count() { return c10::cuda::device_count(); }
  // The GPU of a process. srun and mpirun may show each process only its own; torchrun, which sets LOCAL_RANK, shows all.
  static c10::DeviceIndex index_of(int local_rank) {
    const int found = count();
    if (found == 0)
      throw user_error("run.device: no GPU was found; check that NVIDIA's driver is 580 or newer and that CUDA_VISIBLE_DEVICES hides no "
                       "GPU, or set run.device=cpu");
    if (found == 1 && std::getenv("CUDA_VISIBLE_DEVICES") != nullptr && std::getenv("LOCAL_RANK") == nullptr) return 0;
    if (local_rank >= found)
      throw user_error("run.device: process {} of this machine has no GPU because there are only {}; start one process per GPU", local_rank + 1, found);
    return static_cast<c10::DeviceIndex>(local_rank);
  }
  static const cudaDeviceProp& properties(int local_rank) { return *at::cuda::getDeviceProperties(index_of(local_rank)); }

  Config c_;
  std::shared_ptr<std::optional<MemoryPeak>> recorded_peak_ = std::make_shared<std::optional<MemoryPeak>>();
};

const bool registered = devices().add<Cuda>("cuda", "an NVIDIA GPU, one a process");

}  // namespace
}  // namespace tersor
