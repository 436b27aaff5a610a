// Sixteen floats, or sixteen int32, on every instruction set; included inside a namespace of its
// own by each of the files that are compiled for one.

#if defined(PUNA_AVX512)

struct F {
  __m512 v;
};
struct I {
  __m512i v;
};
inline F load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, F x) { _mm512_storeu_ps(p, x.v); }
inline F set(float x) { return {_mm512_set1_ps(x)}; }
inline F operator+(F a, F b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F operator-(F a, F b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F operator*(F a, F b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F operator/(F a, F b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F fma(F a, F b, F c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
// Where the first is no number, neither is the result: the instruction gives its second.
inline F max(F a, F b) { return {_mm512_max_ps(b.v, a.v)}; }
inline F min(F a, F b) { return {_mm512_min_ps(b.v, a.v)}; }
inline F nearest(F a) { return {_mm512_roundscale_ps(a.v, 8)}; }
inline float sum(F a) { return _mm512_reduce_add_ps(a.v); }
inline float most(F a) { return _mm512_reduce_max_ps(a.v); }
// Sixteen vectors as the columns of what they were the rows of.
inline void transpose(F* x) {
  __m512 two[16], four[16];
  for (int i = 0; i < 16; i += 2) {
    two[i] = _mm512_unpacklo_ps(x[i].v, x[i + 1].v);
    two[i + 1] = _mm512_unpackhi_ps(x[i].v, x[i + 1].v);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; j++) {
      __m512d a = _mm512_castps_pd(two[i + j]), b = _mm512_castps_pd(two[i + j + 2]);
      four[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      four[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
  for (int i = 0; i < 4; i++) {
    __m512 a = _mm512_shuffle_f32x4(four[i], four[i + 4], 0x88);
    __m512 b = _mm512_shuffle_f32x4(four[i], four[i + 4], 0xdd);
    __m512 c = _mm512_shuffle_f32x4(four[i + 8], four[i + 12], 0x88);
    __m512 d = _mm512_shuffle_f32x4(four[i + 8], four[i + 12], 0xdd);
    x[i].v = _mm512_shuffle_f32x4(a, c, 0x88);
    x[i + 8].v = _mm512_shuffle_f32x4(a, c, 0xdd);
    x[i + 4].v = _mm512_shuffle_f32x4(b, d, 0x88);
    x[i + 12].v = _mm512_shuffle_f32x4(b, d, 0xdd);
  }
}
inline F power(F n) {  // 2ⁿ of whole numbers
  return {_mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23))};
}
inline F load_bf16(const uint16_t* p) {
  __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
inline F load_f16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p))};
}
inline F load_i8(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)))};
}
inline void store_f16(uint16_t* p, F x) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(x.v, 8));
}
inline void store_codes(int8_t* p, F x) {  // whole numbers from -127 to 127
  _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x.v)));
}
inline I set_i(int32_t x) { return {_mm512_set1_epi32(x)}; }
inline F to_float(I x) { return {_mm512_cvtepi32_ps(x.v)}; }
// acc + 4 products in each lane: bytes of w from 0 to 255, those of x from -128 to 127.
inline I dot(I acc, const uint8_t* w, int32_t x) {
  return {_mm512_dpbusd_epi32(acc.v, _mm512_loadu_si512(w), _mm512_set1_epi32(x))};
}
struct Codes {
  __m512i v;
};
inline Codes load_codes(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
inline Codes low(Codes c) { return {_mm512_and_si512(c.v, _mm512_set1_epi8(15))}; }
inline Codes high(Codes c) {
  return {_mm512_and_si512(_mm512_srli_epi16(c.v, 4), _mm512_set1_epi8(15))};
}
inline I dot(I acc, Codes w, int32_t x) {
  return {_mm512_dpbusd_epi32(acc.v, w.v, _mm512_set1_epi32(x))};
}
inline I dot_small(I acc, Codes w, int32_t x) { return dot(acc, w, x); }
// Each code's entry in a table of sixteen bytes.
inline Codes entries(const uint8_t* table, Codes c) {
  __m512i all = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)table));
  return {_mm512_shuffle_epi8(all, c.v)};
}

#elif defined(PUNA_AVX2)

struct F {
  __m256 a, b;
};
struct I {
  __m256i a, b;
};
inline F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, F x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
inline F set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline F operator+(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
inline F operator-(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
inline F operator*(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
inline F operator/(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
inline F fma(F x, F y, F z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
inline F max(F x, F y) { return {_mm256_max_ps(y.a, x.a), _mm256_max_ps(y.b, x.b)}; }
inline F min(F x, F y) { return {_mm256_min_ps(y.a, x.a), _mm256_min_ps(y.b, x.b)}; }
inline F nearest(F x) { return {_mm256_round_ps(x.a, 8), _mm256_round_ps(x.b, 8)}; }
inline float sum(F x) {
  __m256 s = _mm256_add_ps(x.a, x.b);
  __m128 t = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  t = _mm_add_ps(t, _mm_movehl_ps(t, t));
  return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}
inline float most(F x) {
  __m256 s = _mm256_max_ps(x.a, x.b);
  __m128 t = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  t = _mm_max_ps(t, _mm_movehl_ps(t, t));
  return _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
}
inline void transpose_half(__m256* x) {
  __m256 two[8], four[8];
  for (int i = 0; i < 8; i += 2) {
    two[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
    two[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 2; j++) {
      four[i + 2 * j] = _mm256_shuffle_ps(two[i + j], two[i + j + 2], 0x44);
      four[i + 2 * j + 1] = _mm256_shuffle_ps(two[i + j], two[i + j + 2], 0xee);
    }
  for (int i = 0; i < 4; i++) {
    x[i] = _mm256_permute2f128_ps(four[i], four[i + 4], 0x20);
    x[i + 4] = _mm256_permute2f128_ps(four[i], four[i + 4], 0x31);
  }
}
inline void transpose(F* x) {
  __m256 part[4][8];  // the quarters: rows of the upper half left and right, then of the lower
  for (int i = 0; i < 8; i++) {
    part[0][i] = x[i].a, part[1][i] = x[i].b;
    part[2][i] = x[i + 8].a, part[3][i] = x[i + 8].b;
  }
  for (auto& one : part) transpose_half(one);
  for (int i = 0; i < 8; i++) x[i] = {part[0][i], part[2][i]}, x[i + 8] = {part[1][i], part[3][i]};
}
inline __m256 power_half(__m256 n) {
  __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}
inline F power(F n) { return {power_half(n.a), power_half(n.b)}; }
inline __m256 widen(__m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
inline F load_bf16(const uint16_t* p) {
  return {widen(_mm_loadu_si128((const __m128i*)p)), widen(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
inline F load_f16(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)),
          _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
inline F load_i8(const int8_t* p) {
  __m128i bytes = _mm_loadu_si128((const __m128i*)p);
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}
inline void store_f16(uint16_t* p, F x) {
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(x.a, 8));
  _mm_storeu_si128((__m128i*)(p + 8), _mm256_cvtps_ph(x.b, 8));
}
inline void store_codes(int8_t* p, F x) {
  __m256i both = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));
  both = _mm256_permute4x64_epi64(both, 0xd8);
  __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  _mm_storeu_si128((__m128i*)p, bytes);
}
inline I set_i(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline F to_float(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
struct Codes {
  __m256i a, b;
};
inline Codes load_codes(const uint8_t* p) {
  return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)(p + 32))};
}
inline __m256i low_half(__m256i x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
inline Codes low(Codes c) { return {low_half(c.a), low_half(c.b)}; }
inline Codes high(Codes c) {
  return {low_half(_mm256_srli_epi16(c.a, 4)), low_half(_mm256_srli_epi16(c.b, 4))};
}
inline Codes entries(const uint8_t* table, Codes c) {
  __m256i all = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)table));
  return {_mm256_shuffle_epi8(all, c.a), _mm256_shuffle_epi8(all, c.b)};
}
// Bytes up to 255 overflow the 16 bits of `maddubs`: even and odd ones are taken apart.
inline __m256i dot_half(__m256i acc, __m256i w, __m256i even, __m256i odd) {
  __m256i e = _mm256_madd_epi16(_mm256_and_si256(w, _mm256_set1_epi16(255)), even);
  __m256i o = _mm256_madd_epi16(_mm256_srli_epi16(w, 8), odd);
  return _mm256_add_epi32(acc, _mm256_add_epi32(e, o));
}
inline I dot(I acc, Codes w, int32_t x) {
  __m256i all = _mm256_set1_epi32(x);
  __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(all, 8), 8), odd = _mm256_srai_epi16(all, 8);
  return {dot_half(acc.a, w.a, even, odd), dot_half(acc.b, w.b, even, odd)};
}
inline __m256i dot_small_half(__m256i acc, __m256i w, __m256i x) {
  return _mm256_add_epi32(acc,
                          _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
}
inline I dot_small(I acc, Codes w, int32_t x) {  // bytes of w below 16
  __m256i all = _mm256_set1_epi32(x);
  return {dot_small_half(acc.a, w.a, all), dot_small_half(acc.b, w.b, all)};
}

#else  // any processor

struct F {
  float v[16];
};
struct I {
  int32_t v[16];
};
#define EACH for (int i = 0; i < 16; i++)
inline F load(const float* p) {
  F r;
  EACH r.v[i] = p[i];
  return r;
}
inline void store(float* p, F x) { EACH p[i] = x.v[i]; }
inline F set(float x) {
  F r;
  EACH r.v[i] = x;
  return r;
}
#define BINARY(name, expression)       \
  inline F name(F a, F b) {            \
    F r;                               \
    EACH r.v[i] = expression;          \
    return r;                          \
  }
BINARY(operator+, a.v[i] + b.v[i])
BINARY(operator-, a.v[i] - b.v[i])
BINARY(operator*, a.v[i] * b.v[i])
BINARY(operator/, a.v[i] / b.v[i])
BINARY(max, b.v[i] > a.v[i] ? b.v[i] : a.v[i])
BINARY(min, b.v[i] < a.v[i] ? b.v[i] : a.v[i])
#undef BINARY
inline F fma(F a, F b, F c) {
  F r;
  EACH r.v[i] = a.v[i] * b.v[i] + c.v[i];
  return r;
}
inline F nearest(F a) {
  F r;
  EACH r.v[i] = std::nearbyint(a.v[i]);
  return r;
}
inline float sum(F a) {
  for (int w = 8; w; w /= 2)
    for (int i = 0; i < w; i++) a.v[i] += a.v[i + w];
  return a.v[0];
}
inline float most(F a) {
  float r = a.v[0];
  EACH if (a.v[i] > r) r = a.v[i];
  return r;
}
inline void transpose(F* x) {
  for (int i = 0; i < LANES; i++)
    for (int j = 0; j < i; j++) {
      float kept = x[i].v[j];
      x[i].v[j] = x[j].v[i];
      x[j].v[i] = kept;
    }
}
inline float bits(uint32_t x) {
  float r;
  std::memcpy(&r, &x, 4);
  return r;
}
inline F power(F n) {
  F r;
  EACH r.v[i] = bits(uint32_t(int32_t(n.v[i]) + 127) << 23);
  return r;
}
inline F load_bf16(const uint16_t* p) {
  F r;
  EACH r.v[i] = bits(uint32_t(p[i]) << 16);
  return r;
}
inline F load_f16(const uint16_t* p) {
  F r;
  EACH r.v[i] = from_half(p[i]);
  return r;
}
inline F load_i8(const int8_t* p) {
  F r;
  EACH r.v[i] = float(p[i]);
  return r;
}
inline void store_f16(uint16_t* p, F x) { EACH p[i] = to_half(x.v[i]); }
inline void store_codes(int8_t* p, F x) { EACH p[i] = int8_t(x.v[i]); }
inline I set_i(int32_t x) {
  I r;
  EACH r.v[i] = x;
  return r;
}
inline F to_float(I x) {
  F r;
  EACH r.v[i] = float(x.v[i]);
  return r;
}
struct Codes {
  uint8_t v[64];
};
inline Codes load_codes(const uint8_t* p) {
  Codes c;
  std::memcpy(c.v, p, 64);
  return c;
}
inline Codes low(Codes c) {
  for (auto& x : c.v) x &= 15;
  return c;
}
inline Codes high(Codes c) {
  for (auto& x : c.v) x >>= 4;
  return c;
}
inline Codes entries(const uint8_t* table, Codes c) {
  for (auto& x : c.v) x = table[x];
  return c;
}
inline I dot(I acc, const Codes& w, int32_t x) {
  int8_t four[4];
  std::memcpy(four, &x, 4);
  EACH for (int j = 0; j < 4; j++) acc.v[i] += int32_t(w.v[4 * i + j]) * four[j];
  return acc;
}
inline I dot_small(I acc, const Codes& w, int32_t x) { return dot(acc, w, x); }
#undef EACH

#endif
