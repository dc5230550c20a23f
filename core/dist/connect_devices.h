// Connects the devices of several processes with each other: provided by a kind of device, used by a Communicator.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <functional>

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace tersor {

using ConnectDevices = std::function<c10::intrusive_ptr<c10d::Backend>(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                                                       std::chrono::milliseconds timeout)>;

}  // namespace tersor
