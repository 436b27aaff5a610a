// The same where there are products of bfloat16 too.

#if defined(__x86_64__) || defined(_M_X64)
#include <cmath>
#include <cstring>
#include <limits>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,avx2,fma,f16c")
#endif
#include <immintrin.h>

#include "step.h"

#define PUNA_AVX512
#define PUNA_BF16

namespace puna {
namespace avx512_bf16 {

// Rows and columns of a tile: as many as there are registers for.
constexpr int TALL = 4, WIDE = 4, TALL_BYTES = 8, TALL_GROUPS = 6, WIDE_CODES = 2;

#include "numbers.h"

#include "simd.h"

#include "kernels.h"

}  // namespace avx512_bf16

Run run_avx512_bf16() { return avx512_bf16::run; }

}  // namespace puna

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
#include "step.h"

namespace puna {
Run run_avx512_bf16() { return nullptr; }
}  // namespace puna
#endif
