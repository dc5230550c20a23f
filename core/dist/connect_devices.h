// How the devices of several processes are connected with each other: what a kind of device offers and a Communicator takes.
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
