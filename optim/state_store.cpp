#include "optim/state_store.h"

namespace tersor {
namespace {

const StateFormat& exact_format() {
  static const std::unique_ptr<StateFormat> format = state_formats().find("fp32")->build();
  return *format;
}

}  // namespace

void StateStore::declare(const std::string& param, const ParamShape& shape, const std::vector<SlotSpec>& specs,
                         const SlotFormats& formats, const at::TensorOptions& options) {
  std::vector<Record> records;
  for (const SlotSpec& spec : specs) {
    if (std::any_of(records.begin(), records.end(), [&](const Record& r) { return r.spec.name == spec.name; }))
      throw user_error("the rule of '{}' has two slots called '{}'", param, spec.name);
    const bool exact = spec.kind == SlotKind::kExact || spec.kind == SlotKind::kHost;
    const bool projector = spec.kind == SlotKind::kProjector;
    const StateFormat& used = exact ? exact_format() : projector ? *formats.projector : *formats.state;
    const at::TensorOptions where = spec.kind == SlotKind::kHost ? options.device(at::kCPU) : options;
    Record record{spec, &used, exact ? "fp32" : projector ? formats.projector_name : formats.state_name, {},
                  formats.offload && !exact && !projector && !options.device().is_cpu(), {}};
    if (record.away && !transfers_) transfers_ = std::make_shared<Transfers>(options.device());
    const bool on_host = record.away && !options.device().is_meta();
    record.resting = allocated(record.format_name, used, spec, (on_host ? where.device(at::kCPU) : where).requires_grad(false));
    if (record.away) record.resting = transfers_->in_host_memory(record.resting);
    records.push_back(std::move(record));
  }
  TERSOR_CHECK(params_.emplace(param, State{shape, std::move(records)}).second, "the slots of '{}' are declared twice", param);
}

const StateStore::State& StateStore::state(const std::string& param) const {
  const auto found = params_.find(param);
  TERSOR_CHECK(found != params_.end(), "no state for '{}'", param);
  return found->second;
}

const std::vector<at::Tensor>& StateStore::parts(const Record& record) const {
  if (!record.there.empty()) return record.there;
  if (record.away) transfers_->finish();
  return record.resting;
}

void StateStore::bring(const std::string& param) {
  if (!transfers_) return;
  State& own = params_.at(param);
  bool begun = false;
  for (Record& record : own.records) {
    if (!record.away || !record.there.empty()) continue;
    record.there = transfers_->bring(record.resting);
    begun = true;
  }
  if (begun) own.brought = transfers_->mark(std::move(own.brought));
}

void StateStore::use(const std::string& param) {
  const std::vector<Record>& own = records(param);
  if (std::none_of(own.begin(), own.end(), [](const Record& record) { return record.away; })) return;
  bring(param);
  transfers_->wait_for(state(param).brought);
}

void StateStore::put_back(const std::string& param) {
  if (!transfers_) return;
  for (Record& record : params_.at(param).records)
    if (!record.there.empty()) transfers_->put_back(std::exchange(record.there, {}), record.resting);
}

Slots StateStore::open(const std::string& param) const {
  Slots slots;
  for (const Record& record : records(param))
    slots.add(record.spec.name, decoded(record.format_name, *record.format, record.spec, parts(record), record.spec.shape));
  return slots;
}

Slots StateStore::open(const std::string& param, SlotKind kind) const {
  Slots slots;
  for (const Record& record : records(param))
    if (record.spec.kind == kind)
      slots.add(record.spec.name, decoded(record.format_name, *record.format, record.spec, parts(record), record.spec.shape));
  return slots;
}

void StateStore::close(const std::string& param, const Slots& slots, const RandomStream& random) {
  uint64_t index = 0;
  for (const Record& record : records(param)) {
    const at::Tensor& value = slots[record.spec.name];
    const RandomStream own = random.child(index++);
    if (value.sizes() != at::IntArrayRef(record.spec.shape))
      throw std::runtime_error(fmt::format("slot '{}' was declared with shape [{}] but now has [{}]; slots must be written in place", record.spec.name, fmt::join(record.spec.shape, ", "), fmt::join(value.sizes(), ", ")));
    if (value.is_alias_of(parts(record)[0])) continue;  // the rule wrote into the stored tensor
    if (record.spec.kind == SlotKind::kProjector && !slots.written(record.spec.name)) continue;
    record.format->encode(value, record.spec.kind, own, parts(record));
  }
}

namespace {

bool has_rows(const SlotSpec& spec, const ParamShape& param) {
  return param.sizes.size() == 2 && spec.shape.size() == 2 && spec.shape[0] == param.sizes[0];
}

std::vector<at::Tensor> narrowed(const std::vector<at::Tensor>& resting, const Rows& rows) {
  std::vector<at::Tensor> parts;
  for (const at::Tensor& part : resting) parts.push_back(part.slice(0, rows.begin, rows.end));
  return parts;
}

}  // namespace

bool StateStore::opens_by_rows(const std::string& param) const {
  const State& own = state(param);
  return own.shape.sizes.size() == 2 && std::all_of(own.records.begin(), own.records.end(), [&](const Record& record) {
    return !has_rows(record.spec, own.shape) || record.format->by_rows();
  });
}

Slots StateStore::open(const std::string& param, const Rows& rows) const {
  const State& own = state(param);
  Slots slots;
  for (const Record& record : own.records) {
    if (has_rows(record.spec, own.shape)) {
      const std::vector<int64_t> shape{rows.end - rows.begin, record.spec.shape[1]};
      slots.add(record.spec.name, decoded(record.format_name, *record.format, record.spec, narrowed(parts(record), rows), shape));
      continue;
    }
    const at::Tensor value = decoded(record.format_name, *record.format, record.spec, parts(record), record.spec.shape);
    slots.add(record.spec.name, rows.last ? value : value.clone());
  }
  return slots;
}

void StateStore::close(const std::string& param, const Slots& slots, const RandomStream& random, const Rows& rows) {
  const State& own = state(param);
  uint64_t index = 0;
  for (const Record& record : own.records) {
    const at::Tensor& value = slots[record.spec.name];
    const RandomStream stream = random.child(index++);
    const bool whole = !has_rows(record.spec, own.shape);
    if ((whole && !rows.last) || value.is_alias_of(parts(record)[0])) continue;
    record.format->encode(value, record.spec.kind, stream, whole ? parts(record) : narrowed(parts(record), rows));
  }
}

std::vector<RestingSlot> StateStore::resting(const std::string& param) const {
  std::vector<RestingSlot> all;
  for (const Record& record : records(param)) all.push_back({record.spec.name, record.format_name, record.spec.kind, parts(record), record.away});
  return all;
}

std::vector<at::Tensor> StateStore::resting(const std::string& param, const Rows& rows) const {
  const State& own = state(param);
  std::vector<at::Tensor> all;
  for (const Record& record : own.records) {
    const std::vector<at::Tensor> these = rows.end > 0 && has_rows(record.spec, own.shape) ? narrowed(parts(record), rows) : parts(record);
    all.insert(all.end(), these.begin(), these.end());
  }
  return all;
}

namespace {

bool is_moment(const SlotSpec& spec) { return spec.kind == SlotKind::kSigned || spec.kind == SlotKind::kNonNegative; }

// A mask of `slices` that broadcasts over a slot, or undefined if the slot lacks the slices of a parameter of that shape.
at::Tensor slices_of(const at::Tensor& value, const ParamShape& shape, const std::vector<int64_t>& slices) {
  if (!shape.slice_axis) return {};
  const int64_t axis = *shape.slice_axis;
  const bool sliced = value.dim() == static_cast<int64_t>(shape.sizes.size()) && value.size(axis) == shape.sizes[static_cast<size_t>(axis)];
  if (!sliced) return {};
  at::Tensor chosen = at::zeros({value.size(axis)}, at::kBool);
  for (const int64_t slice : slices) chosen[slice] = true;
  std::vector<int64_t> across(static_cast<size_t>(value.dim()), 1);
  across[static_cast<size_t>(axis)] = value.size(axis);
  return chosen.view(across).to(value.device());
}

// Where a first moment survives: bool, of its shape.
at::Tensor survivors(const at::Tensor& moment, const Reset& what, const RandomStream& random) {
  const int64_t numbers = moment.numel();
  const auto count = static_cast<int64_t>(what.share * static_cast<double>(numbers));
  at::Tensor stays = at::zeros({numbers}, at::kBool);
  if (what.keep == Reset::Keep::kLargest) {
    stays.index_fill_(0, std::get<1>(moment.abs().flatten().topk(count)).cpu(), true);
  } else {
    bool* flags = stays.data_ptr<bool>();
    for (int64_t i = 0; i < numbers; ++i) flags[i] = random.uniform(static_cast<uint64_t>(i)) < what.share;
  }
  return stays.view(moment.sizes()).to(moment.device());
}

}  // namespace

ResetCount StateStore::reset(const std::string& param, const Reset& what, const RandomStream& random) {
  const State& own = state(param);
  const Slots slots = open(param);
  ResetCount count;
  const bool partly = what.keep != Reset::Keep::kNothing;
  std::map<std::vector<int64_t>, at::Tensor> stays;  // by shape: moments of one shape lose the same entries
  for (const Record& record : own.records)
    if (partly && record.spec.kind == SlotKind::kSigned && !stays.contains(record.spec.shape))
      stays[record.spec.shape] = survivors(slots[record.spec.name], what, random.child(stays.size() + 1));
  for (const Record& record : own.records) {
    const at::Tensor& value = slots[record.spec.name];
    if (partly && !is_moment(record.spec)) continue;
    count.numbers += value.numel();
    const int64_t before = value.count_nonzero().item<int64_t>();
    if (!what.slices.empty()) {
      const at::Tensor chosen = slices_of(value, own.shape, what.slices);
      if (chosen.defined()) value.masked_fill_(chosen, 0);
    } else if (partly) {
      if (const auto place = stays.find(record.spec.shape); place != stays.end()) value.masked_fill_(place->second.logical_not(), 0);
    } else {
      value.zero_();
    }
    count.zeroed += before - value.count_nonzero().item<int64_t>();
  }
  close(param, slots, random);
  return count;
}

void StateStore::inherit(const std::string& param, const StateStore& old, const Inheritance& from) {
  const State& own = state(param);
  const State& source = old.state(from.from);
  for (const Record& record : own.records) {
    const auto match = std::find_if(source.records.begin(), source.records.end(),
                                    [&](const Record& r) { return r.spec.name == record.spec.name; });
    if (match == source.records.end()) continue;
    const bool whole = match->spec.shape == source.shape.sizes && record.spec.shape == own.shape.sizes;
    if (match->spec.shape == record.spec.shape && (!whole || !from.index.defined())) {
      if (match->format_name == record.format_name && match->resting.size() == record.resting.size()) {
        for (size_t i = 0; i < record.resting.size(); ++i) parts(record)[i].copy_(old.parts(*match)[i]);
      } else {
        record.format->encode(match->format->decode(old.parts(*match), match->spec.kind, match->spec.shape), record.spec.kind, RandomStream(0), parts(record));
      }
    } else if (whole && from.index.defined()) {
      const at::Tensor flat = match->format->decode(old.parts(*match), match->spec.kind, match->spec.shape).flatten();
      const at::Tensor index = from.index.to(flat.device());
      const at::Tensor taken = at::where(index >= 0, flat.index_select(0, index.clamp_min(0)), at::zeros({}, flat.options()));
      record.format->encode(taken.view(record.spec.shape), record.spec.kind, RandomStream(0), parts(record));
    }
  }
}

void StateStore::keep(const std::string& param, const std::function<bool(SlotKind)>& kinds) {
  std::erase_if(params_.at(param).records, [&](const Record& record) { return !kinds(record.spec.kind); });
}

void StateStore::keep(const std::string& param, const Rows& rows) {
  State& own = params_.at(param);
  for (Record& record : own.records) {
    if (!has_rows(record.spec, own.shape)) continue;
    record.spec.shape[0] = rows.end - rows.begin;
    for (at::Tensor& part : record.resting) part = part.slice(0, rows.begin, rows.end).clone();
  }
  own.shape.sizes[0] = rows.end - rows.begin;
}

void StateStore::move_together() {
  if (!transfers_) return;
  const auto before = std::exchange(transfers_, std::make_shared<Transfers>(transfers_->device()));
  before->finish();
  for (auto& [param, own] : params_)
    for (Record& record : own.records)
      if (record.away) record.resting = transfers_->in_host_memory(record.resting);
}

int64_t StateStore::bytes() const {
  int64_t total = 0;
  visit([&](const std::string&, const at::Tensor& value) { total += static_cast<int64_t>(value.nbytes()); });
  return total;
}

void StateStore::visit(const std::function<void(const std::string&, const at::Tensor&)>& each) const {
  for (const auto& [param, own] : params_) {
    for (const Record& record : own.records) {
      const std::string name = param + "/" + record.spec.name;
      const std::vector<at::Tensor>& all = parts(record);
      for (size_t i = 0; i < all.size(); ++i) each(all.size() > 1 ? fmt::format("{}/{}", name, i) : name, all[i]);
    }
  }
}

}  // namespace tersor
