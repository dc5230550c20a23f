// Every op against the same work by LibTorch's operators, in turns on one device, with caches flushed before each: prints medians,
// and the share of the device's copy bandwidth at which an op moves the bytes it must read and write. Run by scripts/bench kernels.
//
// A GPU's time is taken by its own clock. Flushing its caches takes longer than the host needs to launch the work that follows, so
// launches do not count.
#include <ATen/ops/_fused_adamw.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/base/error.h"
#include "core/device/device.h"
#include "kernels/adamw.h"
#include "kernels/add_outer.h"
#include "kernels/add_scaled.h"
#include "kernels/block_sparse_linear.h"
#include "kernels/fill_normal.h"
#include "kernels/linear_cross_entropy.h"
#include "kernels/quantize_affine.h"
#include "kernels/quantize_blockwise.h"
#include "kernels/rms_norm.h"
#include "kernels/rotary.h"
#include "kernels/sparse_low_rank_linear.h"
#include "kernels/square_norm.h"
#include "kernels/stochastic_round.h"
#include "kernels/swiglu.h"

namespace tersor {
namespace {

using Clock = std::chrono::steady_clock;
using Work = std::function<void()>;

// A block of LLaMA-1.3B on 16384 tokens or, on a CPU, of a 60M model on 1024.
struct Shapes {
  int64_t tokens = 0;
  int64_t width = 0;
  int64_t heads = 0;
  int64_t inner = 0;
  int64_t classes = 0;
  int64_t rank = 0;
};

class Bench {
 public:
  Bench(const DeviceKind& kind, const at::Device& device)
      : device_(device), flush_(at::empty({device.is_cpu() ? int64_t{64} << 20 : int64_t{2} << 30}, of(at::kByte))) {
    const at::Tensor from = at::empty({flush_.numel() / 4}, of(at::kFloat));
    at::Tensor to = at::empty_like(from);
    const double seconds = median(seconds_of(std::vector<Work>{[&] { to.copy_(from); }})[0]);
    copies_ = 2 * static_cast<double>(from.nbytes()) / seconds;
    fmt::print("{}, copies {:.0f} GB/s\n\n{:<28} {:>18} {:>10} {:>10} {:>7} {:>8} {:>8}\n", kind.name(0), copies_ / 1e9, "op", "shape", "ours", "LibTorch", "ratio",
               "GB/s", "of copy");
  }

  [[nodiscard]] at::TensorOptions of(at::ScalarType type) const { return at::TensorOptions(type).device(device_); }
  [[nodiscard]] at::Tensor normal(at::IntArrayRef shape, at::ScalarType type = at::kBFloat16) const {
    const at::Tensor x = at::empty(shape, of(type));
    kernels::fill_normal(x, 1, random_stream(1, "bench"));
    return x;
  }

  // `bytes`: the least that must be read and written; 0 if products dominate the time.
  void compare(const std::string& op, const std::string& shape, double bytes, const Work& ours, const Work& theirs) {
    const auto seconds = seconds_of(std::vector<Work>{ours, theirs});
    const double own = median(seconds[0]);
    const double other = median(seconds[1]);
    fmt::print("{:<28} {:>18} {:>7.3f} ms {:>7.3f} ms {:>6.2f}x", op, shape, 1e3 * own, 1e3 * other, other / own);
    if (bytes > 0) fmt::print(" {:>8.0f} {:>7.0f}%", bytes / own / 1e9, 100 * bytes / own / copies_);
    fmt::print("\n");
    std::fflush(stdout);
  }

 private:
  static double median(std::vector<double> all) {
    std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
    return all[all.size() / 2];
  }
  std::vector<std::vector<double>> seconds_of(const std::vector<Work>& works) {
    constexpr int kRounds = 11;
    std::vector<std::vector<double>> seconds(works.size());
    for (int round = -1; round < kRounds; ++round)
      for (size_t i = 0; i < works.size(); ++i) {
        flush_.fill_(round & 1);
        flush_.fill_(round & 1);  // while a GPU does this, the host launches all of the work
        const double took = seconds_of(works[i]);
        if (round >= 0) seconds[i].push_back(took);
      }
    return seconds;
  }
  double seconds_of(const Work& work) const {
    if (device_.is_cpu()) {
      const auto begin = Clock::now();
      work();
      return std::chrono::duration<double>(Clock::now() - begin).count();
    }
    const c10::Stream stream = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
    c10::Event begin(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
    c10::Event end(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
    begin.record(stream);
    work();
    end.record(stream);
    end.synchronize();
    return 1e-3 * begin.elapsedTime(end);
  }

  at::Device device_;
  at::Tensor flush_;
  double copies_ = 1;
};

std::string text(std::initializer_list<int64_t> sizes) { return fmt::format("{}", fmt::join(sizes, "x")); }

// Computes value and gradients.
void both_ways(const std::vector<at::Tensor>& leaves, const std::function<at::Tensor()>& f, const at::Tensor& direction) {
  (void)torch::autograd::grad({f()}, leaves, {direction});
}

void block(Bench& b, const Shapes& s) {
  const double numbers = static_cast<double>(s.tokens * s.width) * 2;  // bytes of x
  const at::Tensor x = b.normal({s.tokens, s.width}).requires_grad_(true);
  const at::Tensor gain = b.normal({s.width}).requires_grad_(true);
  const at::Tensor dy = b.normal({s.tokens, s.width});
  const auto plain = [&](const at::Tensor& in) {
    const at::Tensor wide = in.to(at::kFloat);
    return gain * (wide * (wide.square().mean({-1}, true) + 1e-5).rsqrt()).to(at::kBFloat16);
  };
  {
    const at::NoGradGuard no_grad;
    b.compare("rms_norm", text({s.tokens, s.width}), 2 * numbers, [&] { (void)kernels::rms_norm(x, gain, 1e-5); }, [&] { (void)plain(x); });
  }
  b.compare("rms_norm, and gradients", text({s.tokens, s.width}), 5 * numbers, [&] { both_ways({x, gain}, [&] { return kernels::rms_norm(x, gain, 1e-5); }, dy); },
            [&] { both_ways({x, gain}, [&] { return plain(x); }, dy); });
  const double inner = static_cast<double>(s.tokens * s.inner) * 2;
  const at::Tensor gate = b.normal({s.tokens, s.inner}).requires_grad_(true);
  const at::Tensor up = b.normal({s.tokens, s.inner}).requires_grad_(true);
  const at::Tensor d_inner = b.normal({s.tokens, s.inner});
  {
    const at::NoGradGuard no_grad;
    b.compare("swiglu", text({s.tokens, s.inner}), 3 * inner, [&] { (void)kernels::swiglu(gate, up); }, [&] { (void)(at::silu(gate) * up); });
  }
  b.compare("swiglu, and gradients", text({s.tokens, s.inner}), 8 * inner, [&] { both_ways({gate, up}, [&] { return kernels::swiglu(gate, up); }, d_inner); },
            [&] { both_ways({gate, up}, [&] { return at::silu(gate) * up; }, d_inner); });
  const int64_t length = s.tokens / 4;
  const int64_t head = s.width / s.heads;
  const at::Tensor q = x.detach().view({4, length, s.heads, head});
  const at::Tensor cos = b.normal({length, head / 2}).repeat({1, 2});
  const at::Tensor sin = b.normal({length, head / 2}).repeat({1, 2});
  b.compare("rotary", text({4, length, s.heads, head}), 2 * numbers, [&] { (void)kernels::rotary(q, cos, sin); },
            [&] {
              const at::Tensor turned = at::cat({q.slice(3, head / 2).neg(), q.slice(3, 0, head / 2)}, 3);
              (void)(q * cos.unsqueeze(1) + turned * sin.unsqueeze(1));
            });
  const at::Tensor table = b.normal({s.classes, s.width}).requires_grad_(true);
  const at::Tensor targets = at::arange(s.tokens, b.of(at::kLong)).remainder(s.classes);
  const at::Tensor one = at::ones({}, b.of(at::kFloat));
  b.compare("linear_cross_entropy", text({s.tokens, s.width, s.classes}), 0,
            [&] { both_ways({x, table}, [&] { return kernels::linear_cross_entropy(x, table, targets, 1, s.tokens / 4); }, one); },
            [&] { both_ways({x, table}, [&] { return at::cross_entropy_loss(at::linear(x, table).to(at::kFloat), targets, {}, at::Reduction::Sum); }, one); });
}

void updates(Bench& b, const Shapes& s) {
  const std::vector<int64_t> shape{s.inner, s.width};
  const double bytes = 4.0 * static_cast<double>(s.inner * s.width);
  const std::string size = text({s.inner, s.width});
  at::Tensor w = b.normal(shape, at::kFloat);
  const at::Tensor g = b.normal(shape, at::kFloat);
  at::Tensor m = b.normal(shape, at::kFloat);
  at::Tensor v = b.normal(shape, at::kFloat).square();
  const at::Tensor steps = at::ones({}, b.of(at::kFloat));
  const Work fused = [&] {
    at::_fused_adamw_(std::vector<at::Tensor>{w}, std::vector<at::Tensor>{g}, std::vector<at::Tensor>{m}, std::vector<at::Tensor>{v}, {}, std::vector<at::Tensor>{steps},
                      1e-6, 0.9, 0.999, 0.1, 1e-8, false, false);
  };
  b.compare("adamw", size, 7 * bytes, [&] { kernels::adamw_step(w, g, m, v, {}, {.lr = 1e-6, .weight_decay = 0.1}); }, fused);
  const auto codes = [&](const at::Tensor& x, bool with_sign) {
    std::vector<at::Tensor> parts{at::empty(shape, b.of(at::kByte)), at::empty(kernels::block_scales_shape(shape), b.of(at::kFloat))};
    kernels::quantize_blockwise(x, kernels::dynamic_map(with_sign), parts[0], parts[1]);
    return parts;
  };
  const auto m8 = codes(m, true);
  const auto v8 = codes(v, false);
  b.compare("adamw in 8 bits, to fp32's", size, 4 * bytes, [&] { kernels::adamw_step_int8(w, g, m8, v8, {}, {.lr = 1e-6, .weight_decay = 0.1}); }, fused);
  at::Tensor half = at::empty(shape, b.of(at::kBFloat16));
  b.compare("stochastic_round", size, 1.5 * bytes, [&] { kernels::stochastic_round(w, half, random_stream(1, "r")); },
            [&] { half.copy_((w.view(at::kInt) + at::randint(65536, shape, b.of(at::kInt))).bitwise_and_(-65536).view(at::kFloat)); });
  const at::Tensor u = b.normal({8, s.inner}, at::kFloat);
  const at::Tensor across = b.normal({8, s.width}, at::kFloat);
  half.copy_(w);
  b.compare("add_outer, of 8", size, bytes, [&] { kernels::add_outer(half, u, across, 1e-6, random_stream(1, "r")); },
            [&] {
              const at::Tensor sum = at::addmm(half.to(at::kFloat), u.t(), across, 1, 1e-6);
              half.copy_((sum.view(at::kInt) + at::randint(65536, shape, b.of(at::kInt))).bitwise_and_(-65536).view(at::kFloat));
            });
  b.compare("square_norm", size, bytes, [&] { (void)kernels::square_norm(g); }, [&] { (void)at::linalg_vector_norm(g, 2, std::nullopt, false, at::kDouble); });
  const at::Tensor gains = b.normal({1, s.width}, at::kFloat);
  b.compare("add_scaled, by column", size, 3 * bytes, [&] { kernels::add_scaled(w, 0.999, g, gains, 1e-6); }, [&] { w.mul_(0.999).addcmul_(g, gains, 1e-6); });
  const auto packed = kernels::AffineQuantized::zeros(shape, 8, b.of(at::kFloat));
  kernels::quantize_affine(w, packed, std::nullopt);
  if (s.width % kernels::kQuantizationBlock == 0)
    b.compare("dequantize_affine", size, 1.25 * bytes, [&] { (void)kernels::dequantize_affine(packed); },
              [&] {
                const at::Tensor blocks = packed.codes.view({s.inner, -1, kernels::kQuantizationBlock}).to(at::kFloat);
                (void)((blocks - packed.zeros_.unsqueeze(2)) * packed.scales.unsqueeze(2));
              });
}

void sparse(Bench& b, const Shapes& s) {
  const auto pattern =
      kernels::SparsePattern::random(s.inner, s.width, s.inner * s.width * 3 / 100, random_stream(1, "p")).to(b.of(at::kFloat).device());
  const at::Tensor positions = pattern.positions().to(b.of(at::kFloat).device());
  const at::Tensor values = b.normal({pattern.nnz()});
  const at::Tensor left = b.normal({s.inner, s.rank});
  const at::Tensor right = b.normal({s.rank, s.width});
  at::Tensor w = at::empty({s.inner, s.width}, b.of(at::kBFloat16));
  b.compare("compose, 3 % and rank " + std::to_string(s.rank), text({s.inner, s.width}), 0, [&] { kernels::compose(left, right, 0.5, pattern, values, w); },
            [&] { at::addmm_out(w, w, left, right, 0, 0.5).view({-1}).index_add_(0, positions, values); });
  const at::Tensor dy = b.normal({s.tokens, s.inner});
  const at::Tensor x = b.normal({s.tokens, s.width});
  b.compare("sampled_product, 3 %", text({s.tokens, s.inner, s.width}), 0, [&] { (void)kernels::sampled_product(pattern, dy, x); },
            [&] { (void)dy.t().mm(x).view({-1}).index_select(0, positions); });
}

// Three quarters of the blocks are missing; compared with the dense product with zeros in their place.
void blocks(Bench& b, const Shapes& s) {
  const at::Device device = b.of(at::kFloat).device();
  for (const at::ScalarType type : {at::kBFloat16, at::kFloat})
  for (const int64_t side : {64, 128}) {
    const int64_t down = (s.inner + side - 1) / side;
    const int64_t across = (s.width + side - 1) / side;
    const auto pattern = std::make_shared<kernels::BlockPattern>(
        kernels::BlockPattern::of_blocks(s.inner, s.width, side, kernels::random_positions(down * across, down * across / 4, random_stream(1, "b"))));
    const auto there = std::make_shared<kernels::BlockPattern>(pattern->to(device));
    const at::Tensor values = b.normal({pattern->nnz()}, type).requires_grad_(true);
    const at::Tensor w = at::zeros({s.inner * s.width}, values.options()).index_copy(0, pattern->positions().to(device), values.detach()).view({s.inner, s.width}).requires_grad_(true);
    const at::Tensor x = b.normal({s.tokens, s.width}, type).requires_grad_(true);
    const at::Tensor dy = b.normal({s.tokens, s.inner}, type);
    const std::string name = fmt::format("a quarter of blocks of {}{}", side, type == at::kFloat ? ", fp32" : "");
    const std::string shape = text({s.tokens, s.inner, s.width});
    {
      const at::NoGradGuard no_grad;
      b.compare(name, shape, 0, [&] { (void)kernels::block_sparse_linear(x, there, values); }, [&] { (void)at::linear(x, w); });
    }
    b.compare("  and gradients", shape, 0, [&] { both_ways({x, values}, [&] { return kernels::block_sparse_linear(x, there, values); }, dy); },
              [&] { both_ways({x, w}, [&] { return at::linear(x, w); }, dy); });
  }
}

}  // namespace
}  // namespace tersor

int main(int argc, char** argv) {
  using namespace tersor;
  try {
    const auto kind = Choice<devices>(argc > 1 ? argv[1] : "auto").build();
    const at::Device device = kind->open(0, at::kFloat);
    Bench bench(*kind, device);
    const Shapes shapes = device.is_cpu() ? Shapes{1024, 512, 8, 1376, 32000, 128} : Shapes{16384, 2048, 32, 5504, 32000, 512};
    block(bench, shapes);
    updates(bench, shapes);
    sparse(bench, shapes);
    blocks(bench, device.is_cpu() ? shapes : Shapes{.tokens = 4096, .width = 4096, .inner = 11008});
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
}
