#include "optim/transfers.h"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <bit>

namespace tersor {

using c10::impl::VirtualGuardImpl;

Transfers::Transfers(const at::Device& device) : device_(device) {
  if (device.is_meta()) return;
  stream_ = VirtualGuardImpl(device.type()).getNewStream(device);
  event_.emplace(device.type());
}

template <class F>
void Transfers::on_own_stream(F f) {
  const c10::OptionalStreamGuard guard(stream_);
  f();
}

// Pinned memory is allocated in powers of two, so tensors are cut from pieces of such sizes, each as large as all before it together,
// up to 1 GiB.
at::Tensor Transfers::cut(int64_t bytes) {
  constexpr int64_t kAligned = 512;
  constexpr int64_t kMost = int64_t{1} << 30;
  const int64_t wanted = (bytes + kAligned - 1) / kAligned * kAligned;
  if (!piece_.defined() || used_ + wanted > piece_.numel()) {
    const int64_t size = std::max(wanted, std::min(kMost, cut_));
    piece_ = at::empty({static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(size)))}, at::TensorOptions(at::kByte).pinned_memory(device_.is_cuda()));
    used_ = 0;
  }
  used_ += wanted;
  cut_ += wanted;
  return piece_.narrow(0, used_ - wanted, bytes);
}

std::vector<at::Tensor> Transfers::in_host_memory(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> all;
  for (const at::Tensor& x : tensors) {
    if (device_.is_meta()) {
      const auto bytes = static_cast<int64_t>(x.nbytes());
      const c10::Storage nothing(c10::Storage::use_byte_size_t(), bytes, c10::DataPtr(nullptr, device_), c10::GetAllocator(at::kMeta), true);
      all.push_back(at::empty({0}, x.options()).set_(nothing, 0, x.sizes(), x.strides()));
    } else {
      all.push_back(cut(static_cast<int64_t>(x.nbytes())).view(x.scalar_type()).view(x.sizes()).copy_(x));
    }
  }
  return all;
}

std::vector<at::Tensor> Transfers::bring(const std::vector<at::Tensor>& host) {
  std::vector<at::Tensor> there;
  on_own_stream([&] {
    for (const at::Tensor& x : host) {
      there.push_back(at::empty(x.sizes(), at::TensorOptions(x.scalar_type()).device(device_)));
      there.back().copy_(x, true);
    }
  });
  return there;
}

Transfers::Mark Transfers::mark(Mark again) {
  if (!stream_) return nullptr;
  Mark mark = again ? std::move(again) : std::make_shared<c10::Event>(device_.type());
  mark->record(*stream_);
  return mark;
}

void Transfers::wait_for(const Mark& mark) {
  if (mark) mark->block(VirtualGuardImpl(device_.type()).getStream(device_));
}

// The device's tensors were allocated on `stream_`, so their memory is reused only by what comes later on it.
void Transfers::put_back(std::vector<at::Tensor> from, const std::vector<at::Tensor>& host) {
  if (!stream_) return;
  event_->record(VirtualGuardImpl(device_.type()).getStream(device_));
  event_->block(*stream_);
  on_own_stream([&] {
    for (size_t i = 0; i < from.size(); ++i) {
      at::Tensor to = host[i];
      to.copy_(from[i], true);
    }
    from.clear();
  });
  under_way_ = true;
}

void Transfers::finish() {
  if (std::exchange(under_way_, false)) stream_->synchronize();
}

}  // namespace tersor
