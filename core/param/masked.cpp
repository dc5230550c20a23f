// Sparse weights: SPDF's static sparsity, and gradual pruning.    Thangarasa et al. 2023 (SPDF), arXiv:2303.10464, section 2
//
//   y = x·(M ⊙ W)ᵀ        M (out, in): fixed, random, of exactly the density asked for
//
//   unstructured    any entries                     block           whole blocks of `block` × `block`
//   two_of_four     two of every four neighbours in a row, whatever `sparsity` says
//
// Only the entries that are there exist: values, gradients and moments are as many as M has ones, and positions take 2 bytes
// each. They begin as the dense weight would, without compensation for what is missing. With `sparsity: 0` all are there and no
// positions are kept, for the action `prune` to take some away; `densify` brings all back, at zero.
#include "core/param/operations.h"
#include "kernels/fill_normal.h"
#include "kernels/sparse_low_rank_linear.h"

namespace tersor {

enum class MaskStructure { kUnstructured, kBlock, kTwoOfFour };
template <>
struct EnumNames<MaskStructure> {
  static constexpr std::array values{std::pair{MaskStructure::kUnstructured, std::string_view("unstructured")},
                                     std::pair{MaskStructure::kBlock, std::string_view("block")},
                                     std::pair{MaskStructure::kTwoOfFour, std::string_view("two_of_four")}};
};

namespace {

using kernels::SparsePattern;

class Masked final : public Parameterization, public Prunable {
 public:
  struct Config {
    double sparsity = 0.75;
    MaskStructure structure = MaskStructure::kUnstructured;
    int64_t block = 16;
    void fields(FieldVisitor& v) {
      v("sparsity", sparsity, less_than(0, 1), "share of the entries that are not there");
      v("structure", structure, "what can be missing: single entries, blocks, or two of every four neighbours");
      v("block", block, at_least(1), "side of a block");
    }
  };

  Masked(const Config& config, const WeightShape& shape) : c_(config), name_(shape.name), device_(shape.options.device()), pattern_(std::make_shared<SparsePattern>()) {
    pattern_->out = shape.out;
    pattern_->in = shape.in;
    const at::TensorOptions options = shape.options.requires_grad(false);
    if (options.device().is_meta()) {
      set_sizes(expected_nnz(), options);
      return;
    }
    at::Tensor dense = at::empty({shape.out, shape.in}, options);
    kernels::fill_normal(dense, shape.init_std, random_stream(shape.seed, "init", shape.name + ".weight"));
    if (c_.structure == MaskStructure::kUnstructured && c_.sparsity == 0) {
      set_sizes(shape.out * shape.in, options);
    } else {
      const at::Tensor chosen = random_positions(random_stream(shape.seed, "support", shape.name));
      take_positions(chosen);
      values_ = at::empty({chosen.numel()}, options).requires_grad_(true);
    }
    assign(dense);
  }

  at::Tensor forward(const at::Tensor& x) override {
    if (is_full()) return at::linear(x, values_.view({pattern_->out, pattern_->in}));
    return kernels::sparse_low_rank_linear(x, {}, {}, 1, pattern_, values_);
  }
  at::Tensor materialize() const override {
    if (is_full()) return values_.detach().view({pattern_->out, pattern_->in});
    at::Tensor w = at::empty({pattern_->out, pattern_->in}, values_.options().requires_grad(false));
    kernels::compose({}, {}, 1, *pattern_, values_, w);
    return w;
  }
  void assign(const at::Tensor& w) override { values_.detach().copy_(is_full() ? w.flatten() : kernels::gather(*pattern_, w.contiguous())); }

  std::vector<Param> params() override { return {{name_ + ".values", values_, Role::kSparse}}; }
  std::vector<PackedPart> kept() const override {
    return {{name_ + ".row_starts", pattern_->row_starts}, {name_ + ".columns", pattern_->columns}};
  }
  void resize_like(const SavedSizes& saved) override {
    const auto values = saved("values");
    const auto columns = saved("columns");
    if (!values || values->size() != 1 || !columns || columns->size() != 1) return;
    set_sizes(values->front(), values_.options());
    TERSOR_CHECK(columns->front() == pattern_->columns.numel(), "{}: {} positions for {} values", name_, columns->front(), values->front());
  }

  at::Tensor magnitudes() const override {
    refuse_to_prune();
    const at::Tensor size = values_.detach().abs().to(at::kFloat);
    if (c_.structure == MaskStructure::kUnstructured) return size;
    const auto [blocks, of_entry] = at::_unique(block_of(positions()), true, true);
    const at::Tensor squares = at::zeros({blocks.numel()}, size.options()).index_add_(0, of_entry, size.square());
    const at::Tensor entries = at::zeros({blocks.numel()}, size.options()).index_add_(0, of_entry, at::ones_like(size));
    return (squares / entries).sqrt();
  }
  at::Tensor prune(const at::Tensor& kept) override {
    refuse_to_prune();
    at::Tensor entries = kept;
    const at::Tensor before = positions();
    if (c_.structure == MaskStructure::kBlock) entries = kept.index_select(0, std::get<1>(at::_unique(block_of(before), true, true)));
    const at::Tensor survivors = entries.nonzero().squeeze(1);
    take_positions(before.index_select(0, survivors));
    values_ = values_.detach().index_select(0, survivors).requires_grad_(true);
    return survivors;
  }
  at::Tensor densify() override {
    if (values_.is_meta()) {  // on paper sizes are all there is
      set_sizes(pattern_->out * pattern_->in, values_.options());
      return {};
    }
    const at::Tensor before = positions();
    const at::Tensor w = materialize().clone();
    set_sizes(pattern_->out * pattern_->in, values_.options());
    assign(w);
    return at::full({values_.numel()}, -1, before.options()).index_copy_(0, before, at::arange(before.numel(), before.options()));
  }
  double density() const override { return static_cast<double>(values_.numel()) / static_cast<double>(pattern_->out * pattern_->in); }

 private:
  [[nodiscard]] bool is_full() const { return values_.numel() == pattern_->out * pattern_->in; }

  void refuse_to_prune() const {
    if (c_.structure == MaskStructure::kTwoOfFour)
      throw user_error("'{}' has two of every four entries and cannot be pruned further; use structure: unstructured or block", name_);
  }

  // Tensors for so many values, uninitialized; positions only where some are missing.
  void set_sizes(int64_t nnz, const at::TensorOptions& options) {
    const bool full = nnz == pattern_->out * pattern_->in;
    const at::TensorOptions plain = options.requires_grad(false);
    values_ = at::empty({nnz}, plain).requires_grad_(true);
    pattern_->row_starts = at::zeros({full ? 0 : pattern_->out + 1}, plain.dtype(at::kInt));
    pattern_->columns = at::zeros({full ? 0 : nnz}, plain.dtype(SparsePattern::column_type(pattern_->in)));
  }
  void take_positions(const at::Tensor& positions) {
    const bool full = positions.numel() == pattern_->out * pattern_->in;
    *pattern_ = SparsePattern::of_positions(pattern_->out, pattern_->in, positions.cpu()).to(device_);
    if (!full) return;
    pattern_->row_starts = at::zeros({0}, pattern_->row_starts.options());
    pattern_->columns = at::zeros({0}, pattern_->columns.options());
  }
  // Ascending, int64, where the values are.
  [[nodiscard]] at::Tensor positions() const {
    return is_full() ? at::arange(values_.numel(), values_.options().dtype(at::kLong).requires_grad(false)) : pattern_->positions().to(device_);
  }
  [[nodiscard]] int64_t blocks_across() const { return (pattern_->in + c_.block - 1) / c_.block; }
  [[nodiscard]] int64_t blocks_down() const { return (pattern_->out + c_.block - 1) / c_.block; }
  [[nodiscard]] at::Tensor block_of(const at::Tensor& positions) const {
    const at::Tensor row = at::floor_divide(positions, pattern_->in);
    const at::Tensor column = positions - row * pattern_->in;
    return at::floor_divide(row, c_.block) * blocks_across() + at::floor_divide(column, c_.block);
  }

  [[nodiscard]] int64_t share_of(int64_t all) const {
    return std::max<int64_t>(1, static_cast<int64_t>((1 - c_.sparsity) * static_cast<double>(all) + 1e-9));
  }
  // For shapes without numbers: exact but for blocks that the edge cuts.
  [[nodiscard]] int64_t expected_nnz() const {
    if (c_.structure == MaskStructure::kTwoOfFour) return pattern_->out * (pattern_->in / 4 * 2 + (pattern_->in % 4 + 1) / 2);
    if (c_.structure == MaskStructure::kUnstructured) return share_of(pattern_->out * pattern_->in);
    return std::min(pattern_->out * pattern_->in, share_of(blocks_down() * blocks_across()) * c_.block * c_.block);
  }

  [[nodiscard]] at::Tensor random_positions(const RandomStream& random) const {
    const int64_t out = pattern_->out;
    const int64_t in = pattern_->in;
    if (c_.structure == MaskStructure::kUnstructured) return SparsePattern::random(out, in, share_of(out * in), random).positions();
    at::Tensor mask = at::zeros({out, in}, at::kBool);
    if (c_.structure == MaskStructure::kBlock) {
      const SparsePattern blocks = SparsePattern::random(blocks_down(), blocks_across(), share_of(blocks_down() * blocks_across()), random);
      const at::Tensor ids = blocks.positions();
      for (int64_t i = 0; i < ids.numel(); ++i) {
        const int64_t id = ids[i].item<int64_t>();
        const int64_t row = id / blocks_across() * c_.block;
        const int64_t column = id % blocks_across() * c_.block;
        mask.slice(0, row, std::min(out, row + c_.block)).slice(1, column, std::min(in, column + c_.block)).fill_(true);
      }
    } else {
      bool* flags = mask.data_ptr<bool>();
      uint64_t draw = 0;
      for (int64_t row = 0; row < out; ++row) {
        for (int64_t begin = 0; begin < in; begin += 4) {
          const int64_t width = std::min<int64_t>(4, in - begin);
          int64_t wanted = (width + 1) / 2;
          for (int64_t i = 0; i < width; ++i) {
            if (static_cast<int64_t>(random.below(draw++, static_cast<uint64_t>(width - i))) >= wanted) continue;
            flags[row * in + begin + i] = true;
            --wanted;
          }
        }
      }
    }
    return mask.flatten().nonzero().squeeze(1);
  }

  Config c_;
  std::string name_;
  at::Device device_;
  std::shared_ptr<SparsePattern> pattern_;  // with no columns where every entry is there
  at::Tensor values_;                       // (nnz)
};

const bool registered = parameterizations().add<Masked>("masked", "sparse, static or pruned, Thangarasa et al. 2023 (SPDF), arXiv:2303.10464");

}  // namespace
}  // namespace tersor
