/* x <- a x + b in registers and nothing else: every core's two multiply-adds a cycle, if it has as many. */

#include <stdint.h>

#if defined __AVX512F__
#define BYTES 64
#define CHAINS 24       /* of 32 registers; enough for any latency of a multiply-add times two of them a cycle */
#elif defined __AVX__
#define BYTES 32
#define CHAINS 12
#else
#define BYTES 16
#define CHAINS 12
#endif

typedef float vec __attribute__((vector_size(BYTES)));

/* The multiply-adds of one round, each of two operations. */
int64_t fma_operations(void) { return 2 * CHAINS * (BYTES / sizeof(float)); }

float fma_rounds(int64_t rounds, float a, float b)
{
    vec x[CHAINS], va = (vec){0} + a, vb = (vec){0} + b;
#pragma GCC unroll 24
    for (int i = 0; i < CHAINS; i++)
        x[i] = (vec){0} + (float)i;
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 24
        for (int i = 0; i < CHAINS; i++)
            x[i] = x[i] * va + vb;
    }
#pragma GCC unroll 24
    for (int i = 1; i < CHAINS; i++)
        x[0] += x[i];
    return x[0][0];
}
