// The C ABI that the data tools load by ctypes (megatron_snow/corpus/shingles.py): plain arrays, no torch, no Python.
#pragma once
#include <cstdint>

#define MSNOW_API extern "C" __attribute__((visibility("default")))

// The loops over lanes are compiled for what the machine has; the results are integers, equal on all.
#if defined(__x86_64__) && defined(__ELF__) && defined(__GNUC__) && !defined(__clang__)
#define MSNOW_CLONES __attribute__((target_clones("avx512f", "avx2", "sse4.1", "default")))
#else
#define MSNOW_CLONES
#endif

// A helper that is to be compiled for each of a caller's clones: one that is called is compiled for the least machine.
#define MSNOW_INLINE inline __attribute__((always_inline))
