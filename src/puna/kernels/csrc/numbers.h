// Half-precision numbers by hand, where no instruction does it. Like simd.h and kernels.h included
// inside a namespace: a function shared by files that are compiled for several instruction sets
// could be taken, at linking, from one whose instructions this processor lacks.

inline uint32_t bits_of(float x) {
  uint32_t b;
  std::memcpy(&b, &x, 4);
  return b;
}

inline float float_of(uint32_t b) {
  float x;
  std::memcpy(&x, &b, 4);
  return x;
}

inline float from_bf16(uint16_t h) { return float_of(uint32_t(h) << 16); }

// To the nearest, ties to even; what is no number stays none.
inline uint16_t to_bf16(float x) {
  uint32_t b = bits_of(x);
  if ((b & 0x7fffffffu) > 0x7f800000u) return uint16_t((b >> 16) | 64);
  return uint16_t((b + 0x7fffu + ((b >> 16) & 1)) >> 16);
}

inline float from_half(uint16_t h) {
  uint32_t sign = uint32_t(h & 0x8000u) << 16, exponent = (h >> 10) & 31, part = h & 1023u;
  if (exponent == 31) return float_of(sign | 0x7f800000u | (part << 13));
  if (exponent) return float_of(sign | ((exponent + 112) << 23) | (part << 13));
  float tiny = float(part) * 5.9604644775390625e-8f;  // 2^-24
  return sign ? -tiny : tiny;
}

inline uint16_t to_half(float x) {
  uint32_t b = bits_of(x), sign = (b >> 16) & 0x8000u, size = b & 0x7fffffffu;
  if (size > 0x7f800000u) return uint16_t(sign | 0x7e00u);
  if (size >= 0x47800000u) return uint16_t(sign | 0x7c00u);  // 65536 and more
  if (size < 0x38800000u) {  // below 2^-14: adding 0.5 leaves the rounded part in the last bits
    uint32_t rounded = bits_of(float_of(size) + 0.5f) - 0x3f000000u;
    return uint16_t(sign | rounded);
  }
  uint32_t odd = (size >> 13) & 1;
  return uint16_t(sign | ((size - 0x38000000u + 0xfffu + odd) >> 13));
}
