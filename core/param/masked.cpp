// Sparse weights: SPDF's static sparsity, and gradual pruning.    Thangarasa et al. 2023 (SPDF), arXiv:2303.10464, section 2
//
//   y = x·(M ⊙ W)ᵀ        M (out, in): fixed, random, of exactly the requested density
//
//   unstructured    any entries                     block           whole blocks of `block` × `block`
//   two_of_four     two of every four neighbors in a row, whatever `sparsity` says
//
// Only the entries that M keeps exist: there are as many values, gradients and moments as M has ones. They begin as in the dense
// weight, without compensation for missing entries. With `sparsity: 0` all entries exist and no positions are stored, for the
// action `prune` to remove some; `densify` brings all back, at zero.
//
// On a GPU, forward products with `two_of_four` weights in bf16 go through cuSPARSELt.
//
// With blocks whose side is a power of two of at least 64, products skip missing blocks, and positions take almost no memory. In all
// other cases positions take 2 bytes per entry (4 beyond 65536 columns), and W is composed, zeros included, for each product.
#include "core/param/operations.h"
#include "kernels/block_sparse_linear.h"
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

using kernels::BlockPattern;
using kernels::SparsePattern;

// Which entries of a matrix exist, if not all do. Values are in ascending order of their positions, row · in + column.
class Support {
 public:
  virtual ~Support() = default;
  [[nodiscard]] virtual at::Tensor forward(const at::Tensor& x, const at::Tensor& values) const = 0;
  [[nodiscard]] virtual at::Tensor positions() const = 0;     // int64, in host memory
  virtual void take(const at::Tensor& positions) = 0;         // int64, in host memory
  virtual void take(const BlockPattern& blocks, bool on_paper) = 0;
  virtual void clear() = 0;                                   // drops all positions
  virtual void resize(int64_t nnz, const SavedSizes& saved) = 0;  // makes room for what a checkpoint or a plan has
  virtual void restored() {}
  // As in Parameterization, named without the weight's name.
  [[nodiscard]] virtual std::vector<PackedPart> kept() const = 0;
  [[nodiscard]] virtual std::vector<PackedPart> derived() const { return {}; }
};

class Entries final : public Support {
 public:
  Entries(int64_t out, int64_t in, bool two_of_four, const at::Device& device) : device_(device), pattern_(std::make_shared<SparsePattern>()) {
    pattern_->out = out;
    pattern_->in = in;
    pattern_->two_of_four = two_of_four;
    clear();
  }

  at::Tensor forward(const at::Tensor& x, const at::Tensor& values) const override {
    return kernels::sparse_low_rank_linear(x, {}, {}, 1, pattern_, values);
  }
  at::Tensor positions() const override { return pattern_->positions(); }
  void take(const at::Tensor& positions) override {
    const SparsePattern taken = SparsePattern::of_positions(pattern_->out, pattern_->in, positions);
    pattern_->row_starts = taken.row_starts.to(device_);
    pattern_->columns = taken.columns.to(device_);
  }
  void take(const BlockPattern& blocks, bool on_paper) override {
    if (on_paper)
      set_sizes(pattern_->out + 1, blocks.nnz());
    else
      take(blocks.positions());
  }
  void clear() override { set_sizes(0, 0); }
  void resize(int64_t nnz, const SavedSizes&) override { set_sizes(pattern_->out + 1, nnz); }
  std::vector<PackedPart> kept() const override { return {{"row_starts", pattern_->row_starts}, {"columns", pattern_->columns}}; }

 private:
  void set_sizes(int64_t starts, int64_t columns) {
    const at::TensorOptions options = at::TensorOptions().device(device_);
    pattern_->row_starts = at::zeros({starts}, options.dtype(at::kInt));
    pattern_->columns = at::zeros({columns}, options.dtype(SparsePattern::column_type(pattern_->in)));
  }

  at::Device device_;
  std::shared_ptr<SparsePattern> pattern_;
};

class Blocks final : public Support {
 public:
  Blocks(int64_t out, int64_t in, int64_t block, const at::Device& device) : device_(device), pattern_(std::make_shared<BlockPattern>()) {
    pattern_->out = out;
    pattern_->in = in;
    pattern_->block = block;
    clear();
  }

  at::Tensor forward(const at::Tensor& x, const at::Tensor& values) const override { return kernels::block_sparse_linear(x, pattern_, values); }
  at::Tensor positions() const override { return pattern_->positions(); }
  void take(const at::Tensor& positions) override {
    take_blocks(std::get<0>(at::_unique(BlockPattern::blocks_at(pattern_->in, pattern_->block, positions), true)));
  }
  void take(const BlockPattern& blocks, bool) override {
    there_ = blocks.blocks().to(device_, at::kInt);
    *pattern_ = blocks.to(device_);
  }
  void clear() override { take_blocks(at::empty({0}, at::kLong)); }
  void resize(int64_t, const SavedSizes& saved) override {
    const auto blocks = saved("blocks");
    if (blocks && blocks->size() == 1) there_ = at::zeros({blocks->front()}, there_.options());
  }
  void restored() override { take_blocks(there_.to(at::kCPU, at::kLong)); }
  std::vector<PackedPart> kept() const override { return {{"blocks", there_}}; }
  std::vector<PackedPart> derived() const override {
    return {{"row_starts", pattern_->row_starts}, {"columns", pattern_->columns}, {"offsets", pattern_->offsets}, {"lengths", pattern_->lengths},
            {"column_starts", pattern_->column_starts}, {"rows", pattern_->rows}, {"places", pattern_->places}};
  }

 private:
  void take_blocks(const at::Tensor& blocks) { take(BlockPattern::of_blocks(pattern_->out, pattern_->in, pattern_->block, blocks), device_.is_meta()); }

  at::Device device_;
  at::Tensor there_;  // (blocks) int32: block row · number of block columns + block column
  std::shared_ptr<BlockPattern> pattern_;
};

class Masked final : public Parameterization, public Prunable {
 public:
  struct Config {
    double sparsity = 0.75;
    MaskStructure structure = MaskStructure::kUnstructured;
    int64_t block = 64;
    void fields(FieldVisitor& v) {
      v("sparsity", sparsity, half_open(0, 1), "share of the entries that are missing");
      v("structure", structure, "what can be missing: single entries, blocks, or two of every four neighbors");
      v("block", block, at_least(1), "side of a block; for powers of two from 64 on, products skip missing blocks");
    }
  };

  Masked(const Config& config, const WeightShape& shape) : c_(config), name_(shape.name), out_(shape.out), in_(shape.in) {
    const at::TensorOptions options = shape.options.requires_grad(false);
    const bool on_paper = options.device().is_meta();
    const RandomStream random = random_stream(shape.seed, "support", shape.name);
    if (c_.structure == MaskStructure::kBlock && kernels::multiplies_blocks_of(c_.block))
      support_ = std::make_unique<Blocks>(out_, in_, c_.block, options.device());
    else
      support_ = std::make_unique<Entries>(out_, in_, c_.structure == MaskStructure::kTwoOfFour, options.device());
    int64_t nnz = out_ * in_;
    if (c_.structure == MaskStructure::kBlock) {
      const BlockPattern blocks = random_blocks(random);
      nnz = blocks.nnz();
      if (nnz < out_ * in_) support_->take(blocks, on_paper);
    } else if (c_.structure == MaskStructure::kTwoOfFour || c_.sparsity > 0) {
      nnz = expected_nnz();
      if (on_paper)
        support_->resize(nnz, {});
      else
        support_->take(random_positions(random));
    }
    values_ = at::empty({nnz}, options).requires_grad_(true);
    if (on_paper) return;
    assign(initial_weight(shape, values_.scalar_type()));
  }

  at::Tensor forward(const at::Tensor& x) override {
    if (is_full()) return at::linear(x, values_.view({out_, in_}));
    return support_->forward(x, values_);
  }
  at::Tensor materialize() const override {
    if (is_full()) return values_.detach().view({out_, in_});
    return at::zeros({out_ * in_}, values_.options().requires_grad(false)).index_copy_(0, positions(), values_.detach()).view({out_, in_});
  }
  void assign(const at::Tensor& w) override { values_.detach().copy_(is_full() ? w.flatten() : w.flatten().index_select(0, positions())); }

  std::vector<Param> params() override { return {{name_ + ".values", values_, Role::kSparse}}; }
  std::vector<PackedPart> kept() const override { return named(support_->kept()); }
  std::vector<PackedPart> derived() const override { return named(support_->derived()); }
  void resize_like(const SavedSizes& saved) override {
    const auto values = saved("values");
    if (!values || values->size() != 1) return;
    set_size(values->front());
    if (!is_full()) support_->resize(values->front(), saved);
  }
  void restored() override { support_->restored(); }

  at::Tensor magnitudes() const override {
    refuse_to_prune();
    return c_.structure == MaskStructure::kUnstructured ? values_.detach().abs().to(at::kFloat) : magnitudes_of_blocks();
  }
  at::Tensor prune(const at::Tensor& kept) override {
    refuse_to_prune();
    at::Tensor entries = kept;
    const at::Tensor before = positions();
    if (c_.structure == MaskStructure::kBlock) entries = kept.index_select(0, std::get<1>(at::_unique(block_of(before), true, true)));
    const at::Tensor survivors = entries.nonzero().squeeze(1);
    values_ = values_.detach().index_select(0, survivors).requires_grad_(true);
    if (!is_full()) support_->take(before.index_select(0, survivors).cpu());
    return survivors;
  }
  at::Tensor densify() override {
    if (values_.is_meta()) {  // meta tensors have only sizes
      set_size(out_ * in_);
      return {};
    }
    const at::Tensor before = positions();
    const at::Tensor w = materialize().clone();
    set_size(out_ * in_);
    assign(w);
    return at::full({values_.numel()}, -1, before.options()).index_copy_(0, before, at::arange(before.numel(), before.options()));
  }
  double density() const override { return static_cast<double>(values_.numel()) / static_cast<double>(out_ * in_); }

 private:
  [[nodiscard]] bool is_full() const { return values_.numel() == out_ * in_; }
  [[nodiscard]] std::vector<PackedPart> named(std::vector<PackedPart> parts) const {
    for (PackedPart& part : parts) part.name = name_ + "." + part.name;
    return parts;
  }

  void refuse_to_prune() const {
    if (c_.structure == MaskStructure::kTwoOfFour)
      throw user_error("'{}' has two of every four entries and cannot be pruned further; use structure: unstructured or block", name_);
  }

  // Makes room for `nnz` values, uninitialized.
  void set_size(int64_t nnz) {
    values_ = at::empty({nnz}, values_.options().requires_grad(false)).requires_grad_(true);
    if (is_full()) support_->clear();
  }
  // Ascending, int64, on the device of the values.
  [[nodiscard]] at::Tensor positions() const {
    if (is_full()) return at::arange(values_.numel(), values_.options().dtype(at::kLong).requires_grad(false));
    return support_->positions().to(values_.device());
  }
  [[nodiscard]] at::Tensor block_of(const at::Tensor& positions) const { return BlockPattern::blocks_at(in_, c_.block, positions); }

  [[nodiscard]] int64_t share_of(int64_t all) const {
    return std::max<int64_t>(1, static_cast<int64_t>((1 - c_.sparsity) * static_cast<double>(all) + 1e-9));
  }
  // The root mean square of each existing block, in the order of block indices. Each sum is in a fixed order, on a GPU too: all
  // processes must rank blocks alike.
  [[nodiscard]] at::Tensor magnitudes_of_blocks() const {
    const BlockPattern shape{.out = out_, .in = in_, .block = c_.block};
    const int64_t down = shape.blocks_down();
    const int64_t across = shape.blocks_across();
    const at::Tensor w = at::constant_pad_nd(materialize().to(at::kFloat), {0, across * c_.block - in_, 0, down * c_.block - out_});
    const at::Tensor squares = w.square().view({down, c_.block, across, c_.block}).sum(at::IntArrayRef{1, 3});
    const auto sides = [&](int64_t count, int64_t length) {
      return (length - at::arange(count, squares.options()) * static_cast<double>(c_.block)).clamp_max(static_cast<double>(c_.block));
    };
    const at::Tensor entries = sides(down, out_).unsqueeze(1) * sides(across, in_);
    return (squares / entries).sqrt_().flatten().index_select(0, std::get<0>(at::_unique(block_of(positions()))));
  }
  // How many positions random_positions returns, without drawing them.
  [[nodiscard]] int64_t expected_nnz() const {
    return c_.structure == MaskStructure::kTwoOfFour ? out_ * (in_ / 4 * 2 + (in_ % 4 + 1) / 2) : share_of(out_ * in_);
  }

  [[nodiscard]] BlockPattern random_blocks(const RandomStream& random) const {
    const BlockPattern shape{.out = out_, .in = in_, .block = c_.block};
    const int64_t all = shape.blocks_down() * shape.blocks_across();
    return BlockPattern::of_blocks(out_, in_, c_.block, kernels::random_positions(all, share_of(all), random));
  }
  [[nodiscard]] at::Tensor random_positions(const RandomStream& random) const {
    if (c_.structure == MaskStructure::kUnstructured) return kernels::random_positions(out_ * in_, expected_nnz(), random);
    at::Tensor mask = at::zeros({out_, in_}, at::kBool);
    bool* flags = mask.data_ptr<bool>();
    uint64_t draw = 0;
    for (int64_t row = 0; row < out_; ++row)
      for (int64_t begin = 0; begin < in_; begin += 4) {
        const int64_t width = std::min<int64_t>(4, in_ - begin);
        int64_t wanted = (width + 1) / 2;
        for (int64_t i = 0; i < width; ++i) {
          if (static_cast<int64_t>(random.below(draw++, static_cast<uint64_t>(width - i))) >= wanted) continue;
          flags[row * in_ + begin + i] = true;
          --wanted;
        }
      }
    return mask.flatten().nonzero().squeeze(1);
  }

  Config c_;
  std::string name_;
  int64_t out_;
  int64_t in_;
  std::unique_ptr<Support> support_;
  at::Tensor values_;  // (nnz)
};

const bool registered = parameterizations().add<Masked>("masked", "sparse, static or pruned, Thangarasa et al. 2023 (SPDF), arXiv:2303.10464");

}  // namespace
}  // namespace tersor
