/* AVX-512 (F, BW, DQ, VL): 512-bit vectors, 32 registers. */
#define PYCNN_ISA_NAME "avx512"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif

#include <immintrin.h>
#include <stdint.h>

#define TILE_VECTORS 28         /* accumulators of a register tile; the rest hold its operands */
#define VECTOR_BYTES 64

#ifdef PYCNN_DOUBLE
#define V 8
typedef double real;
typedef int64_t lane_int;
typedef __mmask8 vmask;
#define MM(name) _mm512_##name##_pd
#define MMI(name) _mm512_##name##_epi64
#define MMCMP(name) _mm512_##name##_pd_mask
#define MMICMP(name) _mm512_##name##_epi64_mask
#else
#define V 16
typedef float real;
typedef int32_t lane_int;
typedef __mmask16 vmask;
#define MM(name) _mm512_##name##_ps
#define MMI(name) _mm512_##name##_epi32
#define MMCMP(name) _mm512_##name##_ps_mask
#define MMICMP(name) _mm512_##name##_epi32_mask
#endif

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef lane_int ivec __attribute__((vector_size(VECTOR_BYTES)));
#define PYCNN_OWN_NARROW         /* ivload_narrow_first */
#define INLINE static inline __attribute__((always_inline))

INLINE vmask first_lanes(int64_t n) { return (vmask)((1u << n) - 1); }
INLINE vec vload(const real *p) { return MM(loadu)(p); }
INLINE void vstore(real *p, vec a) { MM(storeu)(p, a); }
/* Past the caches, to an aligned address; visible to other threads after the fence. */
INLINE void vstream(real *p, vec a) { MM(stream)(p, a); }
INLINE void stream_fence(void) { _mm_sfence(); }
INLINE vec vload_first(const real *p, int64_t n) { return MM(maskz_loadu)(first_lanes(n), p); }
INLINE void vstore_first(real *p, vec a, int64_t n) { MM(mask_storeu)(p, first_lanes(n), a); }
/* The same, and loaded only once: not again with every use. */
INLINE vec vkeep(vec a) { __asm__("" : "+v"(a)); return a; }
INLINE vec vset1(real a) { return MM(set1)(a); }
INLINE vec vfma(vec a, vec b, vec c) { return MM(fmadd)(a, b, c); }
/* `a`, in a register: what is used several times is not loaded again. */
INLINE vec vheld(vec a) { __asm__("" : "+v"(a)); return a; }
/* The second operand where either is NaN. */
INLINE vec vmax(vec a, vec b) { return MM(max)(a, b); }
INLINE vec vmin(vec a, vec b) { return MM(min)(a, b); }
INLINE vec vsqrt(vec a) { return MM(sqrt)(a); }
INLINE vec vround(vec a) { return MM(roundscale)(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

INLINE vmask vgt(vec a, vec b) { return MMCMP(cmp)(a, b, _CMP_GT_OQ); }
INLINE vmask veq(vec a, vec b) { return MMCMP(cmp)(a, b, _CMP_EQ_OQ); }
INLINE vmask vunordered(vec a, vec b) { return MMCMP(cmp)(a, b, _CMP_UNORD_Q); }
INLINE vmask iveq(ivec a, ivec b) { return MMICMP(cmpeq)((__m512i)a, (__m512i)b); }
/* a < b, as unsigned integers. */
#ifdef PYCNN_DOUBLE
INLINE vmask ivbelow(ivec a, ivec b) { return _mm512_cmplt_epu64_mask((__m512i)a, (__m512i)b); }
#else
INLINE vmask ivbelow(ivec a, ivec b) { return _mm512_cmplt_epu32_mask((__m512i)a, (__m512i)b); }
#endif
INLINE int mask_any(vmask m) { return m != 0; }
INLINE vmask mask_or(vmask a, vmask b) { return (vmask)(a | b); }
INLINE vmask mask_andnot(vmask a, vmask b) { return (vmask)(a & ~b); }
/* a > best, or a alone is NaN. */
INLINE vmask vbeats(vec a, vec best)
{
    return mask_andnot(MMCMP(cmp)(a, best, _CMP_NLE_UQ), vunordered(best, best));
}
INLINE vec vselect(vmask m, vec yes, vec no) { return MM(mask_blend)(m, no, yes); }
INLINE ivec ivselect(vmask m, ivec yes, ivec no) { return (ivec)MMI(mask_blend)(m, (__m512i)no, (__m512i)yes); }
INLINE ivec ivload(const lane_int *p) { return (ivec)_mm512_loadu_si512(p); }
INLINE void ivstore(lane_int *p, ivec a) { _mm512_storeu_si512(p, (__m512i)a); }
/* Lane l is that of `a` with the number lanes[l], or zero where that is negative. */
INLINE vec vpick(vec a, ivec lanes)
{
    const vmask there = MMICMP(cmpge)((__m512i)lanes, _mm512_setzero_si512());
#ifdef PYCNN_DOUBLE
    return _mm512_maskz_permutexvar_pd(there, (__m512i)lanes, a);
#else
    return _mm512_maskz_permutexvar_ps(there, (__m512i)lanes, a);
#endif
}
/* Lane l is p[at[l]], or zero where at[l] is negative. */
INLINE vec vgather(const real *p, ivec at)
{
    const vmask there = MMICMP(cmpge)((__m512i)at, _mm512_setzero_si512());
#ifdef PYCNN_DOUBLE
    return _mm512_mask_i64gather_pd(_mm512_setzero_pd(), there, (__m512i)at, p, sizeof(real));
#else
    return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), there, (__m512i)at, p, sizeof(real));
#endif
}
/* As 64-bit integers. */
#ifdef PYCNN_DOUBLE
INLINE void ivstore_wide(int64_t *p, ivec a) { ivstore(p, a); }
INLINE ivec ivload_narrow_first(const int64_t *p, int64_t n, int64_t from)
{
    return (ivec)_mm512_sub_epi64(_mm512_maskz_loadu_epi64(first_lanes(n), p), _mm512_set1_epi64(from));
}
INLINE ivec vtoint(vec a) { return (ivec)_mm512_cvtpd_epi64(a); }
INLINE vec vfromint(ivec a) { return _mm512_cvtepi64_pd((__m512i)a); }
#else
INLINE void ivstore_wide(int64_t *p, ivec a)
{
    _mm512_storeu_si512(p, _mm512_cvtepi32_epi64(_mm512_castsi512_si256((__m512i)a)));
    _mm512_storeu_si512(p + 8, _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64((__m512i)a, 1)));
}
INLINE ivec ivload_narrow_first(const int64_t *p, int64_t n, int64_t from)
{
    const vmask lanes = first_lanes(n);
    const __m512i a = _mm512_sub_epi64(_mm512_maskz_loadu_epi64((__mmask8)lanes, p), _mm512_set1_epi64(from));
    const __m512i b = _mm512_sub_epi64(_mm512_maskz_loadu_epi64((__mmask8)(lanes >> 8), p + 8), _mm512_set1_epi64(from));
    return (ivec)_mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtsepi64_epi32(a)), _mm512_cvtsepi64_epi32(b), 1);
}
INLINE ivec vtoint(vec a) { return (ivec)_mm512_cvtps_epi32(a); }
INLINE vec vfromint(ivec a) { return _mm512_cvtepi32_ps((__m512i)a); }
#endif
