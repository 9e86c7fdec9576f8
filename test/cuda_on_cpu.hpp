// SPDX-FileCopyrightText: 2026 The eloss_perception authors
// SPDX-License-Identifier: Apache-2.0
//
// As much of CUDA C as our kernels use, for g++: each thread of a launch is a call, made one after
// the other in a given order or by several threads of the CPU at once. There is no shared memory
// and no barrier, because the kernels have none.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <thread>
#include <tuple>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline

struct Dimensions {
    unsigned int x = 1, y = 1, z = 1;
};
static thread_local Dimensions threadIdx, blockIdx, blockDim, gridDim;

struct alignas(16) float4 {
    float x, y, z, w;
};
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

using std::isfinite;
using std::log;
using std::max;
using std::min;
using std::sqrt;

static inline int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }

template <typename T>
T atomicAdd(T* address, T value) {
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
template <typename T>
T atomicOr(T* address, T value) {
    return __atomic_fetch_or(address, value, __ATOMIC_RELAXED);
}
template <typename T>
T atomicMin(T* address, T value) {
    T held = __atomic_load_n(address, __ATOMIC_RELAXED);
    while (value < held && !__atomic_compare_exchange_n(address, &held, value, false,
                                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return held;
}

using Launch = std::function<void()>;

// Copies the parameters, as a launch does; the result is for run_launch, once.
template <typename... A, std::size_t... I>
Launch* bind_launch(void (*kernel)(A...), void** parameters, std::index_sequence<I...>) {
    auto values = std::make_tuple(*static_cast<std::remove_cv_t<A>*>(parameters[I])...);
    return new Launch([=] { std::apply(kernel, values); });
}
template <typename... A>
Launch* bind_launch(void (*kernel)(A...), void** parameters) {
    return bind_launch(kernel, parameters, std::index_sequence_for<A...>{});
}

extern "C" void run_launch(Launch* launch, unsigned int num_blocks, unsigned int block_size,
                           long long order_seed, int num_workers) {
    std::vector<unsigned int> order(std::size_t(num_blocks) * block_size);
    std::iota(order.begin(), order.end(), 0u);
    if (order_seed >= 0) std::shuffle(order.begin(), order.end(), std::mt19937(order_seed));
    auto work = [&](std::size_t first) {
        gridDim.x = num_blocks;
        blockDim.x = block_size;
        for (std::size_t i = first; i < order.size(); i += num_workers) {
            blockIdx.x = order[i] / block_size;
            threadIdx.x = order[i] % block_size;
            (*launch)();
        }
    };
    std::vector<std::thread> workers;
    for (int w = 1; w < num_workers; ++w) workers.emplace_back(work, w);
    work(0);
    for (auto& worker : workers) worker.join();
    delete launch;
}
