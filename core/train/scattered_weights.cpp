#include "core/train/scattered_weights.h"

#include "core/memory/ledger.h"

namespace tersor {
namespace {

// The tensor keeps its sizes, and all that refers to its storage sees the new one.
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

// What is kept besides parameters.
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
  const std::vector<int> of_params = assign_owners(params, processes);
  for (size_t i = 0; i < params.size(); ++i)
    for (const PackedPart& part : params[i].resting()) all[part.name] = of_params[i];
  const std::vector<PackedPart> kept = kept_tensors(model);
  std::vector<int64_t> bytes;
  for (const PackedPart& part : kept) bytes.push_back(static_cast<int64_t>(part.value.nbytes()));
  const std::vector<int> of_kept = assign_owners(bytes, processes);
  for (size_t i = 0; i < kept.size(); ++i) all[kept[i].name] = of_kept[i];
  return all;
}

void ScatteredWeights::attach(Llama& model) {
  const std::map<std::string, int> before = std::exchange(owners_, owners_of(model, comm_.size()));
  model_ = &model;
  model.set_keeper(this);
  parts_.assign(static_cast<size_t>(model.num_parts()), {});
  for (int64_t i = 0; i < model.num_parts(); ++i) {
    const std::vector<PackedPart> tensors = model.tensors_of_part(i);
    for (const PackedPart& part : tensors) {
      if (!rests_at_owner(part.value)) continue;
      if (!whole_ && before.at(part.name) != owners_.at(part.name)) {  // sizes are others than those of the shapes were
        allocate(part.value);
        comm_.broadcast(part.value, before.at(part.name)).wait();
      }
      if (!part.idle) parts_[static_cast<size_t>(i)].tensors.push_back(part);
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
  for (int64_t i = 0; i < model_->num_parts(); ++i)
    for (Pending& tensor : bring(model_->tensors_of_part(i))) tensor.wait();
  whole_ = true;
}

void ScatteredWeights::rest() {
  for (Part& part : parts_) {
    part.users = 0;
    if (part.asked_for) send_away(part);
  }
}

void ScatteredWeights::ask_for(int64_t index) {
  if (index < 0 || index >= static_cast<int64_t>(parts_.size())) return;
  Part& part = parts_[static_cast<size_t>(index)];
  if (part.asked_for) return;
  part.asked_for = true;
  part.coming = bring(part.tensors);
}

// The first part begins a pass over all: what one before has left is out of date.
void ScatteredWeights::fetch(int64_t index, Pass pass) {
  if (whole_) return;
  if (index == 0) rest();
  ask_for(index);
  Part& part = parts_.at(static_cast<size_t>(index));
  ++part.users;
  for (Pending& tensor : std::exchange(part.coming, {})) tensor.wait();
  if (pass == Pass::kForward)
    ask_for(index + 1);
  else if (index > 1)  // the embedding is not read backwards
    ask_for(index - 1);
}

void ScatteredWeights::release(int64_t index) {
  Part& part = parts_.at(static_cast<size_t>(index));
  if (whole_ || part.users == 0) return;
  if (--part.users == 0) send_away(part);
}

void ScatteredWeights::send_away(Part& part) {
  for (Pending& tensor : std::exchange(part.coming, {})) tensor.wait();
  part.asked_for = false;
  shed(part.tensors);
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
