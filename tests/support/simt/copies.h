// Asynchronous copies of one thread into shared memory, in groups.
#pragma once

#include <cstddef>
#include <cstring>
#include <deque>
#include <vector>

namespace simt {

class Copies {
 public:
  struct Copy {
    void* to;
    const void* from;
    size_t bytes;
    size_t zeros;  // at the end, instead of what is not read
  };

  void add(const Copy& copy) { groups_.back().push_back(copy); }
  void commit() { groups_.emplace_back(); }
  // Completes all but the latest `groups_left` groups. Calls note(copy) before each copy.
  template <class Note>
  void finish(size_t groups_left, Note note) {
    for (; groups_.size() > groups_left + 1; groups_.pop_front())
      for (const Copy& copy : groups_.front()) {
        note(copy);
        std::memcpy(copy.to, copy.from, copy.bytes - copy.zeros);
        std::memset(static_cast<char*>(copy.to) + copy.bytes - copy.zeros, 0, copy.zeros);
      }
  }

 private:
  std::deque<std::vector<Copy>> groups_{1};  // the last is still open
};

}  // namespace simt
