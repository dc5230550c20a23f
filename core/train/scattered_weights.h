// One copy of the weights across all processes.    Rajbhandari et al. 2020 (ZeRO stage 3), arXiv:1910.02054, section 5.3
//
//   ScatteredWeights scattered(shapes_of(config), comm);
//   auto model = build_model(config, device, &scattered);     // never whole on any process
//   scattered.attach(*model);
//
// Every large tensor of a block rests only at its owner: a parameter at the process that updates it, a frozen tensor at the process that
// holds the least. All processes fetch a block's tensors while the block before it runs, and free them after it. Small tensors, the
// embedding and the head rest on every process.
//
// All processes must run the same passes in the same order.
#pragma once

#include <map>

#include "core/model/llama.h"
#include "optim/ownership.h"

namespace tersor {

class ScatteredWeights final : public WeightKeeper {
 public:
  // Assigns the owners for a model, which may be on the meta device.
  ScatteredWeights(const Llama& shapes, Communicator& comm);

  // Keeps a model's weights from here on, which are scattered already or, after `gather`, whole. Sizes may differ from before.
  void attach(Llama& model);
  // Brings all weights to all processes until the next `attach`.
  void gather();
  // Frees all fetched weights; no pass may be using them.
  void rest();

  void fetch(int64_t block, Pass pass) override;
  void release(int64_t block) override;
  void hold(const std::vector<PackedPart>& tensors) override;
  void shed(const std::vector<PackedPart>& tensors) override;

 private:
  struct Fetched {
    std::vector<PackedPart> tensors;  // those that rest at an owner and are read by products
    bool asked_for = false;
    std::vector<Pending> coming{};
  };
  [[nodiscard]] static std::map<std::string, int> owners_of(const Llama& model, int processes);
  [[nodiscard]] bool own(const std::string& name) const { return owners_.at(name) == comm_.rank(); }
  [[nodiscard]] std::vector<Pending> bring(const std::vector<PackedPart>& tensors);
  void ask_for(int64_t block);
  void send_away(Fetched& block);

  Communicator& comm_;
  std::map<std::string, int> owners_;  // by name of the tensor
  std::vector<Fetched> blocks_;
  Llama* model_ = nullptr;
  bool whole_ = false;
};

// Scatters a whole model if its processes shard weights; else returns nullptr.
[[nodiscard]] std::unique_ptr<ScatteredWeights> scatter(Llama& model, const Processes& processes);

}  // namespace tersor
