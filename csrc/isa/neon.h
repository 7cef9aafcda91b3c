/* NEON (Advanced SIMD of aarch64): 128-bit vectors, 32 registers; the generic vectors with a fused multiply-add. */
#define PYCNN_ISA_NAME "neon"
#define TILE_VECTORS 24         /* accumulators of a register tile; the rest hold its operands */
#define PYCNN_OWN_FMA
#include "generic.h"
#include <arm_neon.h>

#ifdef PYCNN_DOUBLE
INLINE vec vfma(vec a, vec b, vec c) { return (vec)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
#else
INLINE vec vfma(vec a, vec b, vec c) { return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
#endif
