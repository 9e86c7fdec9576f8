// SPDX-FileCopyrightText: 2026 The eloss_perception authors
// SPDX-License-Identifier: Apache-2.0
//
// A libcuda.so.1 for a machine without a GPU: just the calls that runtime/gpu makes, for one device
// whose memory is the host's. With it the real cuda.bindings and the real NVRTC can be tested. What
// is run when a kernel is launched comes from the library that KERNELS_ON_CPU names.

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

using Result = int;
using Handle = void*;
using Pointer = unsigned long long;

static int context, stream, module;
static thread_local Handle current = nullptr;

// CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_INVALID_HANDLE
static Result need_context() { return current ? 0 : 201; }
static Result need(Handle handle, Handle wanted) { return handle == wanted ? need_context() : 400; }

static void* kernels() {
    static void* library = dlopen(std::getenv("KERNELS_ON_CPU"), RTLD_NOW);
    return library;
}

extern "C" {

Result cuInit(unsigned int) { return 0; }
Result cuDriverGetVersion(int* version) { return *version = 12060, 0; }
Result cuDeviceGetCount(int* count) { return *count = 1, 0; }
Result cuDeviceGet(int* device, int index) { return *device = index, 0; }
Result cuDeviceGetName(char* name, int length, int) {
    return std::snprintf(name, length, "CPU in disguise"), 0;
}
Result cuDeviceGetAttribute(int* value, int attribute, int) {
    return *value = attribute == 75 ? 8 : attribute == 76 ? 7 : -1, 0;
}
Result cuGetErrorString(Result, const char** text) { return *text = "in words", 0; }
Result cuDevicePrimaryCtxRetain(Handle* handle, int) { return *handle = &context, 0; }
Result cuDevicePrimaryCtxRelease_v2(int) { return 0; }
Result cuCtxSetCurrent(Handle handle) { return current = handle, handle == &context ? 0 : 1; }
Result cuCtxPushCurrent_v2(Handle handle) { return cuCtxSetCurrent(handle); }
Result cuCtxPopCurrent_v2(Handle* handle) { return *handle = current, 0; }
Result cuStreamCreate(Handle* handle, unsigned int flags) {
    return *handle = &stream, flags == 1 ? need_context() : 1;
}
Result cuStreamSynchronize(Handle handle) {
    // While the file BUSY_ON_CPU is there the GPU is at work; BUSY_ON_CPU.seen tells that it is waited for.
    const std::string busy = std::getenv("BUSY_ON_CPU");
    for (int i = 0; access(busy.c_str(), F_OK) == 0; ++i) {
        if (i == 0) close(creat((busy + ".seen").c_str(), 0600));
        if (i == 6000) std::abort();
        usleep(10000);
    }
    return need(handle, &stream);
}
Result cuStreamDestroy_v2(Handle handle) { return need(handle, &stream); }
Result cuMemAlloc_v2(Pointer* pointer, std::size_t size) {
    if (size > (1ull << 32)) return 2;
    *pointer = reinterpret_cast<Pointer>(std::aligned_alloc(256, (size + 255) / 256 * 256));
    std::memset(reinterpret_cast<void*>(*pointer), 0xAB, size);
    return need_context();
}
Result cuMemFree_v2(Pointer pointer) { return std::free((void*)pointer), need_context(); }
Result cuMemHostAlloc(void** pointer, std::size_t size, unsigned int flags) {
    return *pointer = std::malloc(size), flags == 0 ? need_context() : 1;
}
Result cuMemFreeHost(void* pointer) { return std::free(pointer), need_context(); }
Result cuMemcpyHtoDAsync_v2(Pointer to, const void* from, std::size_t size, Handle handle) {
    return std::memcpy((void*)to, from, size), need(handle, &stream);
}
Result cuMemcpyDtoHAsync_v2(void* to, Pointer from, std::size_t size, Handle handle) {
    return std::memcpy(to, (void*)from, size), need(handle, &stream);
}
Result cuMemsetD8Async(Pointer to, unsigned char value, std::size_t size, Handle handle) {
    return std::memset((void*)to, value, size), need(handle, &stream);
}
Result cuModuleLoadData(Handle* handle, const void* image) {
    if (std::memcmp(image, "\x7f" "ELF", 4)) return 200;  // what NVRTC makes for a real architecture
    return *handle = &module, kernels() ? need_context() : 200;
}
Result cuModuleUnload(Handle handle) { return need(handle, &module); }
Result cuModuleGetFunction(Handle* function, Handle handle, const char* name) {
    return *function = strdup(name), need(handle, &module);
}
Result cuLaunchKernel(Handle function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                      unsigned int block_x, unsigned int block_y, unsigned int block_z,
                      unsigned int shared, Handle handle, void** parameters, void** extra) {
    if (grid_y * grid_z * block_y * block_z != 1 || shared || extra || handle != &stream) return 1;
    auto make = (void* (*)(const char*, void**))dlsym(kernels(), "make_launch");
    auto run = (void (*)(void*, unsigned, unsigned, long long, int))dlsym(kernels(), "run_launch");
    void* launch = make((const char*)function, parameters);
    if (!launch) return 500;
    run(launch, grid_x, block_x, -1, 1);
    return need_context();
}

// NVRTC asks a driver for functions of its own; the size says that there are none.
Result cuGetExportTable(const void** table, const void*) {
    static const std::size_t size = sizeof(std::size_t);
    return *table = &size, 0;
}

// The bindings ask for every function of the driver by name; those that are not here stay unknown.
Result cuGetProcAddress_v2(const char* name, void** function, int, std::uint64_t, int* status) {
    void* self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    char versioned[128];
    std::snprintf(versioned, sizeof versioned, "%s_v2", name);
    *function = dlsym(self, versioned);
    if (!*function) *function = dlsym(self, name);
    if (status) *status = *function ? 0 : 1;
    return 0;
}
Result cuGetProcAddress(const char* name, void** function, int version, std::uint64_t flags) {
    return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}
}
