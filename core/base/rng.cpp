#include "core/base/rng.h"

namespace tersor {
namespace {

// FNV-1a, 64 bits.
uint64_t hash(std::string_view text) {
  uint64_t h = 0xcbf29ce484222325ULL;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return h;
}

}  // namespace

RandomStream random_stream(uint64_t seed, std::string_view purpose, std::string_view name,
                           uint64_t step) {
  uint64_t key = RandomStream::mix(seed + 0x9e3779b97f4a7c15ULL);
  for (const uint64_t part : {hash(purpose), hash(name), step})
    key = RandomStream::mix(key ^ RandomStream::mix(part + 0x9e3779b97f4a7c15ULL));
  return RandomStream(key);
}

}  // namespace tersor
