/* Plain C over the compiler's 128-bit vectors (SSE2 on x86-64, NEON on aarch64, else whatever it makes of them). */
#ifndef PYCNN_ISA_NAME
#define PYCNN_ISA_NAME "generic"
#define TILE_VECTORS 12         /* accumulators of a register tile; the rest hold its operands */
#endif

#include <math.h>
#include <stdint.h>
#include <string.h>

#define VECTOR_BYTES 16

#ifdef PYCNN_DOUBLE
#define V 2
typedef double real;
typedef int64_t lane_int;
#define RINT rint
#define SQRT sqrt
#else
#define V 4
typedef float real;
typedef int32_t lane_int;
#define RINT rintf
#define SQRT sqrtf
#endif

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef lane_int ivec __attribute__((vector_size(VECTOR_BYTES)));
typedef ivec vmask;             /* all bits of a lane, or none */
#define INLINE static inline __attribute__((always_inline))

INLINE vec vload(const real *p) { vec a; memcpy(&a, p, sizeof a); return a; }
INLINE void vstore(real *p, vec a) { memcpy(p, &a, sizeof a); }
/* Past the caches, where there are such stores; visible to other threads after the fence. */
INLINE void vstream(real *p, vec a) { vstore(p, a); }
INLINE void stream_fence(void) {}
INLINE vec vload_first(const real *p, int64_t n)
{
    vec a = {0};
    for (int64_t l = 0; l < n; l++) a[l] = p[l];
    return a;
}
INLINE void vstore_first(real *p, vec a, int64_t n)
{
    for (int64_t l = 0; l < n; l++) p[l] = a[l];
}
/* The same; where loads are worth saving, loaded only once. */
INLINE vec vkeep(vec a) { return a; }
INLINE vec vset1(real a) { return a - (vec){0}; }
#ifndef PYCNN_OWN_FMA
INLINE vec vfma(vec a, vec b, vec c) { return a * b + c; }
#endif
INLINE vec vselect(vmask m, vec yes, vec no) { return (vec)((m & (ivec)yes) | (~m & (ivec)no)); }
INLINE ivec ivselect(vmask m, ivec yes, ivec no) { return (m & yes) | (~m & no); }
/* `a`, in a register where the compiler can be told so: what is used several times is not loaded again. */
INLINE vec vheld(vec a)
{
#if defined(__aarch64__)
    __asm__("" : "+w"(a));
#endif
    return a;
}
/* The second operand where either is NaN. */
INLINE vec vmax(vec a, vec b) { return vselect((vmask)(a > b), a, b); }
INLINE vec vmin(vec a, vec b) { return vselect((vmask)(a < b), a, b); }
INLINE vec vsqrt(vec a) { for (int l = 0; l < V; l++) a[l] = SQRT(a[l]); return a; }
INLINE vec vround(vec a) { for (int l = 0; l < V; l++) a[l] = RINT(a[l]); return a; }

INLINE vmask vgt(vec a, vec b) { return (vmask)(a > b); }
INLINE vmask veq(vec a, vec b) { return (vmask)(a == b); }
INLINE vmask vunordered(vec a, vec b) { return (vmask)(a != a) | (vmask)(b != b); }
INLINE vmask iveq(ivec a, ivec b) { return (vmask)(a == b); }
/* a < b, as unsigned integers. */
INLINE vmask ivbelow(ivec a, ivec b) { return (vmask)((a < b) ^ (a < (ivec){0}) ^ (b < (ivec){0})); }
INLINE int mask_any(vmask m)
{
    int64_t half[2];
    memcpy(half, &m, sizeof half);
    return (half[0] | half[1]) != 0;
}
INLINE vmask mask_or(vmask a, vmask b) { return a | b; }
INLINE vmask mask_andnot(vmask a, vmask b) { return a & ~b; }
/* a > best, or a alone is NaN. */
INLINE vmask vbeats(vec a, vec best) { return ~(vmask)(a <= best) & (vmask)(best == best); }
INLINE ivec ivload(const lane_int *p) { ivec a; memcpy(&a, p, sizeof a); return a; }
INLINE void ivstore(lane_int *p, ivec a) { memcpy(p, &a, sizeof a); }
/* As 64-bit integers. */
INLINE void ivstore_wide(int64_t *p, ivec a) { for (int l = 0; l < V; l++) p[l] = a[l]; }
INLINE ivec vtoint(vec a) { return __builtin_convertvector(vround(a), ivec); }
INLINE vec vfromint(ivec a) { return __builtin_convertvector(a, vec); }
/* Lane l is that of `a` with the number lanes[l], or zero where that is negative. */
INLINE vec vpick(vec a, ivec lanes)
{
    vec picked = {0};
    for (int l = 0; l < V; l++) picked[l] = lanes[l] < 0 ? 0 : a[lanes[l] % V];
    return picked;
}
/* Lane l is p[at[l]], or zero where at[l] is negative. */
INLINE vec vgather(const real *p, ivec at)
{
    vec a = {0};
    for (int l = 0; l < V; l++) a[l] = at[l] < 0 ? 0 : p[at[l]];
    return a;
}
