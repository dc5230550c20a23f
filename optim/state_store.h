// The state of all rules, kept by name: parameter → slot → what its format keeps. Checkpoints, memory plans, resets and
// sharding are written against this and know no rule.
#pragma once

#include <functional>
#include <map>

#include "optim/state_format.h"

namespace tersor {

class StateStore {
 public:
  // Allocates the slots of one parameter, all zero. The format must outlive the store.
  void declare(const std::string& param, const std::vector<SlotSpec>& specs, const StateFormat& format,
               const at::TensorOptions& options);

  // The slots in fp32, for one call of a rule; `close` puts to rest what the rule wrote. `random` draws the rounding.
  [[nodiscard]] Slots open(const std::string& param) const;
  void close(const std::string& param, const Slots& slots, const RandomStream& random);

  // Zeroes every slot of one parameter and returns how many numbers that were.
  int64_t reset(const std::string& param);

  [[nodiscard]] int64_t bytes() const;

  // Every resting tensor with its name "param/slot" or "param/slot/part"; the callback may write into the tensor.
  void visit(const std::function<void(const std::string& name, const at::Tensor& value)>& each) const;

 private:
  struct Record {
    SlotSpec spec;
    const StateFormat* format;
    std::vector<at::Tensor> resting;
  };
  [[nodiscard]] const std::vector<Record>& records(const std::string& param) const;

  std::map<std::string, std::vector<Record>> params_;
};

}  // namespace tersor
