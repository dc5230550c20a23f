#include "core/dist/communicator.h"

namespace tersor {
namespace {

class Alone final : public Communicator {
 public:
  Alone() : Communicator(0, 1) {}
  Pending all_reduce(const at::Tensor&) override { return {}; }
  Pending reduce(const at::Tensor&, int) override { return {}; }
  Pending broadcast(const at::Tensor&, int) override { return {}; }
  std::vector<std::string> gather(const std::string& text) override { return {text}; }
};

class OnPaper final : public Communicator {
 public:
  OnPaper(int rank, int size) : Communicator(rank, size) {}
  Pending all_reduce(const at::Tensor& tensor) override { return count_all_reduce(tensor), Pending(); }
  Pending reduce(const at::Tensor& tensor, int) override { return count_reduce(tensor), Pending(); }
  Pending broadcast(const at::Tensor& tensor, int) override { return count_broadcast(tensor), Pending(); }
  std::vector<std::string> gather(const std::string& text) override { return std::vector<std::string>(static_cast<size_t>(size()), text); }
};

}  // namespace

Communicator& alone() {
  static Alone only;
  return only;
}

std::unique_ptr<Communicator> on_paper(int rank, int size) { return std::make_unique<OnPaper>(rank, size); }

}  // namespace tersor
