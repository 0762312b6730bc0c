// SPDX-License-Identifier: Apache-2.0
#include "threads/scratch.h"

#include <pthread.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>
#include <vector>

namespace gatewise {
namespace {

struct Block {
  void* data;
  size_t bytes;
};

struct Store {
  static constexpr size_t kMaxBlocks = 64, kMaxBytes = size_t{256} << 20;

  std::mutex mutex;
  std::vector<Block> blocks;
  size_t bytes = 0;

  Store() { blocks.reserve(kMaxBlocks); }

  // The smallest block that is large enough and not wastefully so, or none.
  Block take(size_t wanted) {
    const std::lock_guard<std::mutex> lock(mutex);
    auto best = blocks.end();
    for (auto it = blocks.begin(); it != blocks.end(); ++it) {
      if (it->bytes >= wanted && it->bytes <= 2 * wanted && (best == blocks.end() || it->bytes < best->bytes)) best = it;
    }
    if (best == blocks.end()) return {nullptr, 0};
    const Block block = *best;
    *best = blocks.back();
    blocks.pop_back();
    bytes -= block.bytes;
    return block;
  }

  // Keeps a block; the oldest make room for it.
  void give_back(Block block) {
    const std::lock_guard<std::mutex> lock(mutex);
    while (!blocks.empty() && (blocks.size() == kMaxBlocks || bytes + block.bytes > kMaxBytes)) {
      bytes -= blocks.front().bytes;
      free(blocks.front().data);
      blocks.erase(blocks.begin());
    }
    if (block.bytes > kMaxBytes) return free(block.data);
    blocks.push_back(block);
    bytes += block.bytes;
  }
};

// Never destroyed, and replaced in a forked child, whose parent may have held the lock.
std::atomic<Store*> the_store{nullptr};

Store& store() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] { the_store.store(nullptr); });
  (void)registered;
  Store* existing = the_store.load(std::memory_order_acquire);
  if (existing) return *existing;
  Store* fresh = new Store;
  if (the_store.compare_exchange_strong(existing, fresh)) return *fresh;
  delete fresh;
  return *existing;
}

}  // namespace

Scratch::Scratch(int64_t floats) {
  constexpr size_t kAlignment = 64;
  const size_t wanted = (std::max<size_t>(static_cast<size_t>(floats) * sizeof(float), 1) + kAlignment - 1) / kAlignment * kAlignment;
  Block block = store().take(wanted);
  if (!block.data) block = {aligned_alloc(kAlignment, wanted), wanted};
  if (!block.data) throw std::bad_alloc();
  data_ = static_cast<float*>(block.data);
  bytes_ = block.bytes;
}

Scratch::~Scratch() { store().give_back({data_, bytes_}); }

}  // namespace gatewise
