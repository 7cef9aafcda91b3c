/* AVX2 and FMA: 256-bit vectors, 16 registers. */
#define PYCNN_ISA_NAME "avx2"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#include <immintrin.h>
#include <stdint.h>

#define TILE_VECTORS 12         /* accumulators of a register tile; the rest hold its operands */
#define VECTOR_BYTES 32

#ifdef PYCNN_DOUBLE
#define V 4
typedef double real;
typedef int64_t lane_int;
#define MM(name) _mm256_##name##_pd
#define MMI(name) _mm256_##name##_epi64
#else
#define V 8
typedef float real;
typedef int32_t lane_int;
#define MM(name) _mm256_##name##_ps
#define MMI(name) _mm256_##name##_epi32
#endif

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef lane_int ivec __attribute__((vector_size(VECTOR_BYTES)));
typedef ivec vmask;             /* all bits of a lane, or none */
#define INLINE static inline __attribute__((always_inline))

INLINE __m256i first_lanes(int64_t n)
{
    static const lane_int ones_then_zeros[2 * V] = {
#ifdef PYCNN_DOUBLE
        -1, -1, -1, -1
#else
        -1, -1, -1, -1, -1, -1, -1, -1
#endif
    };
    return _mm256_loadu_si256((const __m256i *)(ones_then_zeros + V - n));
}
INLINE vec vload(const real *p) { return MM(loadu)(p); }
INLINE void vstore(real *p, vec a) { MM(storeu)(p, a); }
/* Past the caches, to an aligned address; visible to other threads after the fence. */
INLINE void vstream(real *p, vec a) { MM(stream)(p, a); }
INLINE void stream_fence(void) { _mm_sfence(); }
INLINE vec vload_first(const real *p, int64_t n) { return MM(maskload)(p, first_lanes(n)); }
INLINE void vstore_first(real *p, vec a, int64_t n) { MM(maskstore)(p, first_lanes(n), a); }
/* The same, and loaded only once: not again with every use. */
INLINE vec vkeep(vec a) { __asm__("" : "+x"(a)); return a; }
INLINE vec vset1(real a) { return MM(set1)(a); }
INLINE vec vfma(vec a, vec b, vec c) { return MM(fmadd)(a, b, c); }
/* `a`, in a register: what is used several times is not loaded again. */
INLINE vec vheld(vec a) { __asm__("" : "+x"(a)); return a; }
/* The second operand where either is NaN. */
INLINE vec vmax(vec a, vec b) { return MM(max)(a, b); }
INLINE vec vmin(vec a, vec b) { return MM(min)(a, b); }
INLINE vec vsqrt(vec a) { return MM(sqrt)(a); }
INLINE vec vround(vec a) { return MM(round)(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

INLINE vmask vgt(vec a, vec b) { return (vmask)MM(cmp)(a, b, _CMP_GT_OQ); }
INLINE vmask veq(vec a, vec b) { return (vmask)(a == b); }
INLINE vmask vunordered(vec a, vec b) { return (vmask)MM(cmp)(a, b, _CMP_UNORD_Q); }
INLINE vmask iveq(ivec a, ivec b) { return (vmask)(a == b); }
/* a < b, as unsigned integers. */
INLINE vmask ivbelow(ivec a, ivec b) { return (vmask)((a < b) ^ (a < (ivec){0}) ^ (b < (ivec){0})); }
INLINE int mask_any(vmask m) { return !_mm256_testz_si256((__m256i)m, (__m256i)m); }
INLINE vmask mask_or(vmask a, vmask b) { return a | b; }
INLINE vmask mask_andnot(vmask a, vmask b) { return a & ~b; }
/* a > best, or a alone is NaN. */
INLINE vmask vbeats(vec a, vec best)
{
    return mask_andnot((vmask)MM(cmp)(a, best, _CMP_NLE_UQ), vunordered(best, best));
}
INLINE vec vselect(vmask m, vec yes, vec no) { return MM(blendv)(no, yes, (vec)m); }
INLINE ivec ivselect(vmask m, ivec yes, ivec no) { return (m & yes) | (~m & no); }
INLINE ivec ivload(const lane_int *p) { return (ivec)_mm256_loadu_si256((const __m256i *)p); }
INLINE void ivstore(lane_int *p, ivec a) { _mm256_storeu_si256((__m256i *)p, (__m256i)a); }
/* As 64-bit integers. */
#ifdef PYCNN_DOUBLE
INLINE void ivstore_wide(int64_t *p, ivec a) { ivstore(p, a); }
#else
INLINE void ivstore_wide(int64_t *p, ivec a)
{
    _mm256_storeu_si256((__m256i *)p, _mm256_cvtepi32_epi64(_mm256_castsi256_si128((__m256i)a)));
    _mm256_storeu_si256((__m256i *)(p + 4), _mm256_cvtepi32_epi64(_mm256_extracti128_si256((__m256i)a, 1)));
}
#endif
INLINE ivec vtoint(vec a) { return __builtin_convertvector(vround(a), ivec); }
INLINE vec vfromint(ivec a) { return __builtin_convertvector(a, vec); }
/* Lane l is that of `a` with the number lanes[l], or zero where that is negative. */
INLINE vec vpick(vec a, ivec lanes)
{
#ifdef PYCNN_DOUBLE
    const __m256i halves = _mm256_set1_epi64x(INT64_C(1) << 32), twice = (__m256i)((lanes << 33) | (lanes << 1 & 0xff));
    const vec picked = (vec)_mm256_permutevar8x32_ps((__m256)a, _mm256_add_epi32(twice, halves));
#else
    const vec picked = _mm256_permutevar8x32_ps(a, (__m256i)lanes);
#endif
    return (vec)((ivec)picked & ~(ivec)(lanes < 0));
}
/* Lane l is p[at[l]], or zero where at[l] is negative. */
INLINE vec vgather(const real *p, ivec at)
{
    const vec none = {0};
#ifdef PYCNN_DOUBLE
    return _mm256_mask_i64gather_pd(none, p, (__m256i)at, (vec)~at, sizeof(real));
#else
    return _mm256_mask_i32gather_ps(none, p, (__m256i)at, (vec)~at, sizeof(real));
#endif
}
