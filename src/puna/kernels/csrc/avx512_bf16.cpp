// The same where there are products of bfloat16 too.

#if defined(__x86_64__) || defined(_M_X64)

#define PUNA_LEVEL avx512_bf16
#define PUNA_TARGET "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,avx2,fma,f16c"
#define PUNA_TILES TALL = 4, WIDE = 4, TALL_BYTES = 8, TALL_GROUPS = 6, WIDE_CODES = 2
#define PUNA_AVX512
#define PUNA_BF16
#include "level.h"

#else

#include "step.h"

namespace puna {
Run run_avx512_bf16() { return nullptr; }
}  // namespace puna

#endif
