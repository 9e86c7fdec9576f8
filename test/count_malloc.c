// SPDX-FileCopyrightText: 2026 The eloss_perception authors
// SPDX-License-Identifier: Apache-2.0
//
// Loaded before the C library, counts the large blocks that a process takes from it while told to:
// those of compiled code (numba) and of runtimes too, which numpy's own hook does not see.
#include <errno.h>
#include <stddef.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static size_t threshold;  // 0 counts nothing
static long num_blocks, num_bytes;

void count_from(size_t smallest) {
  num_blocks = num_bytes = 0;
  threshold = smallest;
}

long counted_blocks(void) { return num_blocks; }
long counted_bytes(void) { return num_bytes; }

static void count(size_t size) {
  if (threshold && size >= threshold) {
    __atomic_add_fetch(&num_blocks, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&num_bytes, (long)size, __ATOMIC_RELAXED);
  }
}

void *malloc(size_t size) {
  count(size);
  return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
  count(number * size);
  return __libc_calloc(number, size);
}

void *realloc(void *block, size_t size) {
  count(size);
  return __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size) {
  count(size);
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count(size);
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size) {
  count(size);
  void *taken = __libc_memalign(alignment, size);
  if (taken) *block = taken;
  return taken ? 0 : ENOMEM;
}
