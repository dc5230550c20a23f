// The state of all rules, kept by name: parameter → slot → what its format keeps. Checkpoints, memory plans, resets and
// sharding are written against this and know no rule.
#pragma once

#include <functional>
#include <map>

#include "optim/fused_step.h"
#include "optim/state_format.h"

namespace tersor {

// How the slots of one group rest. Exact and host slots are always fp32.
struct SlotFormats {
  const StateFormat* state = nullptr;      // moments
  const StateFormat* projector = nullptr;  // bases
  std::string state_name;
  std::string projector_name;
};

class StateStore {
 public:
  // Allocates the slots of one parameter, all zero. The formats must outlive the store.
  void declare(const std::string& param, const std::vector<SlotSpec>& specs, const SlotFormats& formats,
               const at::TensorOptions& options);

  // The slots in fp32, for one call of a rule; `close` puts to rest what the rule wrote. `random` draws the rounding.
  [[nodiscard]] Slots open(const std::string& param) const;
  // Only those of one kind.
  [[nodiscard]] Slots open(const std::string& param, SlotKind kind) const;
  void close(const std::string& param, const Slots& slots, const RandomStream& random);
  // The slots as they rest.
  [[nodiscard]] std::vector<RestingSlot> resting(const std::string& param) const;

  // Zeroes every slot of one parameter and returns how many numbers that were.
  int64_t reset(const std::string& param);

  [[nodiscard]] int64_t bytes() const;

  // Every resting tensor with its name "param/slot" or "param/slot/part"; the callback may write into the tensor.
  void visit(const std::function<void(const std::string& name, const at::Tensor& value)>& each) const;

 private:
  struct Record {
    SlotSpec spec;
    const StateFormat* format;
    std::string format_name;
    std::vector<at::Tensor> resting;
  };
  [[nodiscard]] const std::vector<Record>& records(const std::string& param) const;

  std::map<std::string, std::vector<Record>> params_;
};

}  // namespace tersor
