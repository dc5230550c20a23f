#include "core/base/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/base/error.h"

namespace tersor {

FolderLock::FolderLock(const std::filesystem::path& folder, const char* what, const char* remedy)
    : file_(::open((folder / ".lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644)) {
  if (file_ >= 0 && ::flock(file_, LOCK_EX | LOCK_NB) == 0) return;
  const int error = errno;
  if (file_ >= 0) ::close(file_);
  if (error != EWOULDBLOCK)
    throw user_error("'{}' cannot be locked to keep other processes out: {}", (folder / ".lock").string(), std::strerror(error));
  throw user_error("another process is {} in '{}'; wait for it, or {}", what, folder.string(), remedy);
}

FolderLock::~FolderLock() { ::close(file_); }

}  // namespace tersor
