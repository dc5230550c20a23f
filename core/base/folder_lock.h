// Locks a folder for one process at a time. The lock is advisory and is released when the process ends, however it ends.
#pragma once

#include <filesystem>

namespace tersor {

class FolderLock {
 public:
  // Throws UserError if another process holds the lock; `what` says what that process is doing: "training".
  FolderLock(const std::filesystem::path& folder, const char* what, const char* remedy);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int file_;
};

}  // namespace tersor
