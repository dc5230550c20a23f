#include "core/train/scattered_weights.h"

#include "core/memory/ledger.h"

namespace tersor {
namespace {

// The tensor keeps its sizes, and everything that refers to its storage sees the new memory.
void set_memory(const at::Tensor& x, size_t bytes) {
  const at::Storage& storage = x.storage();
  storage.set_data_ptr_noswap(c10::GetAllocator(x.device().type())->allocate(bytes));
  storage.unsafeGetStorageImpl()->set_nbytes(bytes);
}

void allocate(const at::Tensor& x) {
  if (is_here(x)) return;
  const MemoryScope scope(Segment::kWeights);
  set_memory(x, x.nbytes());
}

void empty(const at::Tensor& x) {
  TERSOR_CHECK(x.is_contiguous() && x.storage_offset() == 0, "a weight that is part of another tensor");
  if (is_here(x)) set_memory(x, 0);
}

// The tensors that are kept besides parameters.
std::vector<PackedPart> kept_tensors(const Llama& model) {
  std::vector<PackedPart> all;
  for (const auto& linear : model.linears())
    for (PackedPart& part : linear->weight().kept()) all.push_back(std::move(part));
  return all;
}

}  // namespace

ScatteredWeights::ScatteredWeights(const Llama& shapes, Communicator& comm) : comm_(comm), owners_(owners_of(shapes, comm.size())) {}

std::map<std::string, int> ScatteredWeights::owners_of(const Llama& model, int processes) {
  std::map<std::string, int> all;
  const std::vector<Param> params = model.params();
  for (const Piece& piece : divide(params, processes, [](size_t) { return false; }))
    if (const Param& param = params[piece.param]; !is_table(param))
      for (const PackedPart& part : param.resting()) all[part.name] = piece.owner;
  const std::vector<PackedPart> kept = kept_tensors(model);
  std::vector<int64_t> bytes;
  for (const PackedPart& part : kept) bytes.push_back(static_cast<int64_t>(part.value.nbytes()));
  std::vector<int64_t> load(static_cast<size_t>(processes), 0);
  const std::vector<int> of_kept = assign_owners(bytes, load);
  for (size_t i = 0; i < kept.size(); ++i) all[kept[i].name] = of_kept[i];
  return all;
}

void ScatteredWeights::attach(Llama& model) {
  const std::map<std::string, int> before = std::exchange(owners_, owners_of(model, comm_.size()));
  model_ = &model;
  model.set_keeper(this);
  blocks_.assign(static_cast<size_t>(model.config().num_hidden_layers), {});
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const std::vector<PackedPart> tensors = model.tensors_of_block(static_cast<int64_t>(i));
    for (const PackedPart& part : tensors) {
      if (!rests_at_owner(part.value)) continue;
      if (!whole_ && before.at(part.name) != owners_.at(part.name)) {  // sizes, and so owners, differ from before
        allocate(part.value);
        comm_.broadcast(part.value, before.at(part.name)).wait();
      }
      if (!part.idle) blocks_[i].tensors.push_back(part);
    }
    shed(tensors);
  }
  whole_ = false;
}

std::vector<Pending> ScatteredWeights::bring(const std::vector<PackedPart>& tensors) {
  std::vector<Pending> coming;
  for (const PackedPart& part : tensors) {
    if (!rests_at_owner(part.value)) continue;
    allocate(part.value);
    coming.push_back(comm_.broadcast(part.value, owners_.at(part.name)));
  }
  return coming;
}

void ScatteredWeights::gather() {
  rest();
  for (size_t i = 0; i < blocks_.size(); ++i)
    for (Pending& tensor : bring(model_->tensors_of_block(static_cast<int64_t>(i)))) tensor.wait();
  whole_ = true;
}

void ScatteredWeights::rest() {
  for (Fetched& block : blocks_)
    if (block.asked_for) send_away(block);
}

void ScatteredWeights::ask_for(int64_t index) {
  if (index < 0 || index >= static_cast<int64_t>(blocks_.size())) return;
  Fetched& block = blocks_[static_cast<size_t>(index)];
  if (block.asked_for) return;
  block.asked_for = true;
  block.coming = bring(block.tensors);
}

// The first block begins a pass over all: what an earlier pass left is out of date.
void ScatteredWeights::fetch(int64_t index, Pass pass) {
  if (whole_) return;
  if (index == 0 && pass == Pass::kForward) rest();
  ask_for(index);
  for (Pending& tensor : std::exchange(blocks_.at(static_cast<size_t>(index)).coming, {})) tensor.wait();
  ask_for(pass == Pass::kForward ? index + 1 : index - 1);
}

void ScatteredWeights::release(int64_t index) {
  Fetched& block = blocks_.at(static_cast<size_t>(index));
  if (!whole_ && block.asked_for) send_away(block);
}

void ScatteredWeights::send_away(Fetched& block) {
  for (Pending& tensor : std::exchange(block.coming, {})) tensor.wait();
  block.asked_for = false;
  shed(block.tensors);
}

void ScatteredWeights::hold(const std::vector<PackedPart>& tensors) {
  for (const PackedPart& part : tensors) allocate(part.value);
}

void ScatteredWeights::shed(const std::vector<PackedPart>& tensors) {
  for (const PackedPart& part : tensors)
    if (rests_at_owner(part.value) && !own(part.name)) empty(part.value);
}

std::unique_ptr<ScatteredWeights> scatter(Llama& model, const Processes& processes) {
  if (processes.comm->alone() || processes.shard != Shard::kWeights) return nullptr;
  auto scattered = std::make_unique<ScatteredWeights>(model, *processes.comm);
  scattered->attach(model);
  return scattered;
}

}  // namespace tersor
