// One copy of the weights for all processes together.    Rajbhandari et al. 2020 (ZeRO stage 3), arXiv:1910.02054, section 5.3
//
//   ScatteredWeights scattered(shapes_of(config), comm);
//   auto model = build_model(config, device, &scattered);     // never whole on any process
//   scattered.attach(*model);
//
// Every large tensor of a block rests at its owner alone: a parameter at the process that updates it, frozen tensors at the process that
// has least. A block's tensors come to all processes before it runs, while the block before it runs, and are freed after it. Small
// tensors, embedding and head rest everywhere.
//
// All processes must run the same passes in the same order.
#pragma once

#include <map>

#include "core/model/llama.h"
#include "optim/ownership.h"

namespace tersor {

class ScatteredWeights final : public WeightKeeper {
 public:
  // Decides who owns what, of a model that need not have numbers.
  ScatteredWeights(const Llama& shapes, Communicator& comm);

  // Keeps the weights of a model from here on, which are scattered already or, after `gather`, whole. Its sizes may be others than before.
  void attach(Llama& model);
  // Brings all weights to all processes, until they are attached again.
  void gather();
  // Sends away what nothing runs with.
  void rest();

  void fetch(int64_t block, Pass pass) override;
  void release(int64_t block) override;
  void hold(const std::vector<PackedPart>& tensors) override;
  void shed(const std::vector<PackedPart>& tensors) override;

 private:
  struct Fetched {
    std::vector<PackedPart> tensors;  // that rest at an owner and are read by products
    bool asked_for = false;
    std::vector<Pending> coming{};
  };
  [[nodiscard]] static std::map<std::string, int> owners_of(const Llama& model, int processes);
  [[nodiscard]] bool own(const std::string& name) const { return owners_.at(name) == comm_.rank(); }
  [[nodiscard]] std::vector<Pending> bring(const std::vector<PackedPart>& tensors);
  void ask_for(int64_t block);
  void send_away(Fetched& block);

  Communicator& comm_;
  std::map<std::string, int> owners_;  // by the names of tensors
  std::vector<Fetched> blocks_;
  Llama* model_ = nullptr;
  bool whole_ = false;
};

// Takes a whole model apart where that is how its processes share it.
[[nodiscard]] std::unique_ptr<ScatteredWeights> scatter(Llama& model, const Processes& processes);

}  // namespace tersor
