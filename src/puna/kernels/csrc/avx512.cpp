// The step with AVX-512 and its products of bytes (VNNI): x86 servers since about 2019.

#if defined(__x86_64__) || defined(_M_X64)

#define PUNA_LEVEL avx512
#define PUNA_TARGET "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c"
#define PUNA_TILES TALL = 4, WIDE = 4, TALL_BYTES = 8, TALL_GROUPS = 6, WIDE_CODES = 2
#define PUNA_AVX512
#include "level.h"

#else

#include "step.h"

namespace puna {
Run run_avx512() { return nullptr; }
}  // namespace puna

#endif
