// Threads that walk the list of operations together, and the C interface.
#include "step.h"

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace puna {

namespace {

inline void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

constexpr int SPINS = 4000;        // at a barrier, before the processor is given away
constexpr int IDLE_SPINS = 20000;  // between steps, before a thread sleeps

class Pool {
 public:
  Pool(int threads, Run run) : threads_(threads), run_(run), scratch_(size_t(threads) * SCRATCH + LANES) {
    for (int i = 1; i < threads; i++) workers_.emplace_back([this, i] { work(i); });
  }

  ~Pool() {
    ops_ = nullptr;
    start();
    for (auto& worker : workers_) worker.join();
  }

  void run(const Op* ops, int32_t count, const Step* step) {
    std::lock_guard<std::mutex> one(calls_);
    ops_ = ops;
    count_ = count;
    step_ = step;
    if (threads_ > 1) start();
    walk(0);
  }

 private:
  // Vectors that begin at a line of the cache are read and written at once, others in two parts.
  float* scratch(int thread) {
    constexpr uintptr_t line = LANES * sizeof(float);
    uintptr_t begin = (reinterpret_cast<uintptr_t>(scratch_.data()) + line - 1) / line * line;
    return reinterpret_cast<float*>(begin) + size_t(thread) * SCRATCH;
  }

  void start() {
    generation_.fetch_add(1);
    if (asleep_.load() > 0) {
      std::lock_guard<std::mutex> hold(sleep_);
      wake_.notify_all();
    }
  }

  void work(int thread) {
    for (uint32_t seen = 0;;) {
      for (int spin = 0; spin < IDLE_SPINS && generation_.load() == seen; spin++) pause();
      if (generation_.load() == seen) {
        std::unique_lock<std::mutex> hold(sleep_);
        asleep_.fetch_add(1);
        wake_.wait(hold, [&] { return generation_.load() != seen; });
        asleep_.fetch_sub(1);
      }
      seen++;
      if (!ops_) return;
      walk(thread);
    }
  }

  // What the call is about is read once: when the last barrier opens, the caller may go on and make
  // the next call before the others have looked.
  void walk(int thread) {
    const Op* ops = ops_;
    const Step& step = *step_;
    const int32_t count = count_;
    Share share{thread, threads_};
    for (int32_t i = 0; i < count; i++) {
      bool together = threads_ > 1 && (ops[i].sync || i + 1 == count);
      run_(ops[i], step, share, scratch(thread));
      if (together) wait();
    }
  }

  void wait() {
    uint32_t phase = phase_.load();
    if (arrived_.fetch_add(1) + 1 == threads_) {
      arrived_.store(0);
      phase_.fetch_add(1);
      return;
    }
    for (int spin = 0; phase_.load(std::memory_order_acquire) == phase;)
      if (++spin < SPINS)
        pause();
      else
        std::this_thread::yield();
  }

  const int threads_;
  const Run run_;
  std::vector<float> scratch_;
  std::vector<std::thread> workers_;
  std::mutex calls_, sleep_;
  std::condition_variable wake_;
  const Op* ops_ = nullptr;
  int32_t count_ = 0;
  const Step* step_ = nullptr;
  alignas(64) std::atomic<uint32_t> generation_{0};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};
  std::atomic<int> asleep_{0};
};

bool has(int level) {
#if defined(__x86_64__) || defined(_M_X64)
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512vnni");
  if (level == 1) return avx2;
  if (level == 2) return avx512;
  if (level == 3) return avx512 && __builtin_cpu_supports("avx512bf16");
#endif
  return level == 0;
}

Run run_of(int level) {
  Run (*const runs[])() = {run_portable, run_avx2, run_avx512, run_avx512_bf16};
  return level >= 0 && level < 4 && has(level) ? runs[level]() : nullptr;
}

}  // namespace

}  // namespace puna

extern "C" {

// Sizes of the records, so that a caller who sees them otherwise notices.
int32_t puna_op_size() { return int32_t(sizeof(puna::Op)); }
int32_t puna_step_size() { return int32_t(sizeof(puna::Step)); }

// Whether this processor has a level: 0 any, 1 AVX2, 2 AVX-512 with VNNI, 3 that with bfloat16.
int32_t puna_has(int32_t level) { return puna::run_of(level) != nullptr; }

void* puna_pool_new(int32_t threads, int32_t level) {
  puna::Run run = puna::run_of(level);
  if (!run || threads < 1) return nullptr;
  try {
    return new puna::Pool(threads, run);
  } catch (...) {
    return nullptr;
  }
}

void puna_pool_free(void* pool) { delete static_cast<puna::Pool*>(pool); }

void puna_run(void* pool, const puna::Op* ops, int32_t count, const puna::Step* step) {
  if (count > 0) static_cast<puna::Pool*>(pool)->run(ops, count, step);
}

// Codes [n, k] of 8 bits, with 128 added, into blocks of 16 rows; see kernels.h. Only blocks from
// `first` to `last`, so that several threads can share the work.
void puna_pack(const int8_t* codes, int64_t n, int64_t k, int64_t first, int64_t last, uint8_t* out) {
  int64_t fours = (k + 3) / 4;
  for (int64_t block = first; block < last; block++) {
    uint8_t* place = out + block * fours * 64;
    for (int64_t four = 0; four < fours; four++)
      for (int64_t row = block * 16; row < block * 16 + 16; row++, place += 4) {
        uint32_t word = 0;
        const int8_t* from = codes + row * k + four * 4;
        if (row < n && four * 4 + 4 <= k)
          std::memcpy(&word, from, 4);
        else if (row < n)
          std::memcpy(&word, from, size_t(k - four * 4));
        word ^= 0x80808080u;  // to add 128 to a byte is to turn its highest bit
        std::memcpy(place, &word, 4);
      }
  }
}

// The same for codes of 4 bits of which each byte [n, k / 2] holds two neighbors, the first in its
// low half; k is a multiple of 8.
void puna_pack_pairs(const uint8_t* pairs, int64_t n, int64_t k, int64_t first, int64_t last,
                     uint8_t* out) {
  auto spread = [](uint32_t two) {  // a byte for each of four codes
    return (two & 15) | (two & 0xf0) << 4 | (two & 0xf00) << 8 | (two & 0xf000) << 12;
  };
  for (int64_t block = first; block < last; block++) {
    uint8_t* place = out + block * (k / 8) * 64;
    for (int64_t step = 0; step < k / 8; step++)
      for (int64_t row = block * 16; row < block * 16 + 16; row++, place += 4) {
        uint32_t word = 0;
        if (row < n) std::memcpy(&word, pairs + row * k / 2 + step * 4, 4);
        word = spread(word) | spread(word >> 16) << 4;
        std::memcpy(place, &word, 4);
      }
  }
}

// Codes of blocks less `zero`, one or two in a byte as `per` says.
void puna_unpack(const uint8_t* in, int64_t n, int64_t k, int32_t zero, int32_t per, int8_t* codes) {
  int64_t wide = 4 * per, steps = (k + wide - 1) / wide;
  for (int64_t block = 0; block < (n + 15) / 16; block++)
    for (int64_t step = 0; step < steps; step++)
      for (int64_t row = block * 16; row < block * 16 + 16; row++, in += 4) {
        if (row >= n) continue;
        int8_t found[8];
        for (int i = 0; i < 4; i++) {
          found[i] = int8_t((per == 2 ? in[i] & 15 : in[i]) - zero);
          found[4 + i] = int8_t((in[i] >> 4) - zero);
        }
        int64_t left = k - step * wide;
        std::memcpy(codes + row * k + step * wide, found, size_t(left < wide ? left : wide));
      }
}
}
