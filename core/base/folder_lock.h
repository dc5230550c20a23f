// A folder that one process at a time works in. The lock is advisory, and given back when the process ends however it ends.
#pragma once

#include <filesystem>

namespace tersor {

class FolderLock {
 public:
  // UserError when another process holds it; `what` says what that one is doing: "training".
  FolderLock(const std::filesystem::path& folder, const char* what, const char* remedy);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int file_;
};

}  // namespace tersor
