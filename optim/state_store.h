// The state of all rules, by name: parameter → slot → the tensors its format stores. Checkpoints, memory plans, resets and
// sharding are written against this and know nothing of rules.
//
// Offloaded moments rest in host memory, where all functions here find them. For a step they are brought to the GPU:
//
//   state.bring(param);     // overlaps with computation, so the earlier the better
//   state.use(param);       // from here on its slots are on the GPU
//   …                       // open, the rule's step, close
//   state.put_back(param);
#pragma once

#include <functional>
#include <map>

#include "optim/fused_step.h"
#include "optim/state_format.h"
#include "optim/transfers.h"

namespace tersor {

// How the slots of one group are stored. Exact and host slots are always fp32.
struct SlotFormats {
  const StateFormat* state = nullptr;      // moments
  const StateFormat* projector = nullptr;  // bases
  std::string state_name;
  std::string projector_name;
  bool offload = false;  // keep moments in host memory between steps if parameters are on a GPU
};

// Which part of a parameter's state is reset.
struct Reset {
  enum class Keep { kNothing, kRandom, kLargest };
  Keep keep = Keep::kNothing;
  double share = 0;               // share of the moments that stays, at random or the largest by first moment
  std::vector<int64_t> slices{};  // only these, along the parameter's slice axis; empty: all
};

struct ResetCount {
  int64_t zeroed = 0;
  int64_t numbers = 0;  // all that were examined
};

// Where a parameter's state comes from when the set of parameters changes.
struct Inheritance {
  std::string from;  // the old name
  at::Tensor index;  // (numel) int64: each number's index in the old parameter, −1 for none; undefined: the same index
};

// Some rows of a matrix, [begin, end).
struct Rows {
  int64_t begin = 0;
  int64_t end = 0;
  bool last = true;  // they include the matrix's last row
};

class StateStore {
 public:
  // Allocates the slots of one parameter, all zero. The formats must outlive the store.
  void declare(const std::string& param, const ParamShape& shape, const std::vector<SlotSpec>& specs, const SlotFormats& formats,
               const at::TensorOptions& options);

  // The slots in fp32, for one call of a rule; `close` stores what the rule wrote. `random` draws the rounding.
  [[nodiscard]] Slots open(const std::string& param) const;
  // Only those of one kind.
  [[nodiscard]] Slots open(const std::string& param, SlotKind kind) const;
  void close(const std::string& param, const Slots& slots, const RandomStream& random);
  // The slots of some rows of a matrix, where the formats allow it; parts are opened from the first row to the last. A slot without
  // rows, such as a counter, is opened as a copy for all parts but the last, so that it is updated once.
  [[nodiscard]] bool opens_by_rows(const std::string& param) const;
  [[nodiscard]] Slots open(const std::string& param, const Rows& rows) const;
  void close(const std::string& param, const Slots& slots, const RandomStream& random, const Rows& rows);
  // The slots as stored.
  [[nodiscard]] std::vector<RestingSlot> resting(const std::string& param) const;
  // The stored tensors of some rows of a matrix, or of all for {0, 0}; slots without rows, such as counters, come whole.
  [[nodiscard]] std::vector<at::Tensor> resting(const std::string& param, const Rows& rows) const;

  // Zeroes what `what` says. Where moments are partly kept, counters and bases stay, and a second moment loses the entries that the
  // first moment of its shape loses: a first moment over a zeroed second moment would be an unbounded step. Second moments of
  // another shape, whose entries many numbers share, stay.
  ResetCount reset(const std::string& param, const Reset& what = {}, const RandomStream& random = RandomStream(0));

  void bring(const std::string& param);
  void use(const std::string& param);
  void put_back(const std::string& param);

  // Takes over the state of a parameter of `old`, slot by slot, where names and shapes allow it, re-encoded if the formats differ; the rest
  // stays zero.
  void inherit(const std::string& param, const StateStore& old, const Inheritance& from);
  [[nodiscard]] bool contains(const std::string& param) const { return params_.contains(param); }
  // Drops the slots of other kinds.
  void keep(const std::string& param, const std::function<bool(SlotKind)>& kinds);
  // Drops the other rows of a matrix whose slots open by rows.
  void keep(const std::string& param, const Rows& rows);
  // Moves what is offloaded to new host memory, so that the memory of dropped slots and rows is freed.
  void move_together();

  [[nodiscard]] int64_t bytes() const;

  // Every resting tensor with its name "param/slot" or "param/slot/part"; the callback may write into the tensor.
  void visit(const std::function<void(const std::string& name, const at::Tensor& value)>& each) const;

 private:
  struct Record {
    SlotSpec spec;
    const StateFormat* format;
    std::string format_name;
    std::vector<at::Tensor> resting;
    bool away = false;              // at rest in host memory, of a parameter on a GPU
    std::vector<at::Tensor> there;  // the same on the GPU, while in use
  };
  struct State {
    ParamShape shape;
    std::vector<Record> records;
    Transfers::Mark brought = nullptr;  // when those that are away had arrived
  };
  [[nodiscard]] const State& state(const std::string& param) const;
  // The tensors at rest, or those on the GPU while they are there.
  [[nodiscard]] const std::vector<at::Tensor>& parts(const Record& record) const;
  [[nodiscard]] const std::vector<Record>& records(const std::string& param) const { return state(param).records; }

  std::map<std::string, State> params_;
  std::shared_ptr<Transfers> transfers_;  // null unless something is offloaded
};

}  // namespace tersor
