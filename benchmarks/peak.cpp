// SPDX-License-Identifier: Apache-2.0
// The most that the CPU can multiply and add: a loop of independent FMAs, and nothing else.
//
//     peak 1 2    prints, for each vector width that it was compiled for and each number of threads: lanes threads GFLOP/s

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kChains = 12;  // enough to hide the latency of an FMA, few enough for 16 registers
constexpr int kRepeats = 20000;
constexpr double kSeconds = 0.03;
constexpr int kTries = 5;  // the best counts: whatever disturbs only slows

// Runs kRepeats FMAs on each chain. The values stay near 1; what is returned depends on all of them.
template <typename Vector>
float run_chains(float factor) {
  Vector chain[kChains];
  const Vector a = Vector{} + factor, b = Vector{} + (1.0f - factor);
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) chain[i] = Vector{} + static_cast<float>(i);
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) chain[i] = chain[i] * a + b;
  }
  Vector sum{};
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum += chain[i];
  return sum[0];
}

template <typename Vector>
double gflops(int threads) {
  constexpr int kLanes = sizeof(Vector) / sizeof(float);
  std::atomic<int> ready{0};
  std::vector<double> rates(static_cast<std::size_t>(threads));
  std::vector<std::thread> pool;
  for (double& rate : rates) {
    pool.emplace_back([&] {
      volatile float factor = 0.5f, sink = 0.0f;  // the compiler may not run a chain once and for all
      for (++ready; ready < threads;) {
      }
      double flops = 0.0, spent = 0.0;
      for (const auto begin = Clock::now(); spent < kSeconds;) {
        sink = run_chains<Vector>(factor);
        flops += 2.0 * kRepeats * kChains * kLanes;
        spent = std::chrono::duration<double>(Clock::now() - begin).count();
      }
      static_cast<void>(sink);
      rate = flops / spent * 1e-9;
    });
  }
  double sum = 0.0;
  for (std::thread& thread : pool) thread.join();
  for (double rate : rates) sum += rate;
  return sum;
}

template <int kBytes>
struct Floats {
  typedef float Vector __attribute__((vector_size(kBytes)));
};

template <typename Vector>
void print_best(int threads) {
  double best = 0.0;
  for (int i = 0; i < kTries; ++i) best = std::max(best, gflops<Vector>(threads));
  std::printf("%d %d %.2f\n", static_cast<int>(sizeof(Vector) / sizeof(float)), threads, best);
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const int threads = std::atoi(argv[i]);
    print_best<Floats<32>::Vector>(threads);
#ifdef __AVX512F__
    print_best<Floats<64>::Vector>(threads);
#endif
  }
}
