/* Tests of the kernels through their table: every kernel of every variant that this CPU runs, against naive loops.
 *
 *     cc -std=gnu11 csrc/runtime.c csrc/variants/?*.c csrc/tests/?*.c -lm && ./a.out
 *
 * The shapes are a fixed list and pseudo-random ones, the same in every run. Ends with "N passed, N failed", and fails
 * if any did. */
#include "check.h"

void test_elementwise(void);
void test_conv(void);
void test_dense(void);
void test_pool(void);
void test_batch_norm(void);
void test_bias(void);
void test_embedding(void);
void test_grid_sample(void);
void test_sample_norm(void);
void test_connected(void);
void test_random(void);
void test_resample(void);
void test_permute(void);
void test_local(void);
void test_capsules(void);
void test_losses(void);
void test_optimizers(void);

int main(void)
{
    static const char *const isas[] = {"avx512", "avx2", "neon", "generic"};
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        for (size_t size = 4; size <= 8; size += 4) {
            if (!(kernels = pycnn_kernels_for(isas[i], size))) continue;
            const int64_t before = passed;
            test_elementwise();
            test_conv();
            test_dense();
            test_pool();
            test_batch_norm();
            test_bias();
            test_embedding();
            test_grid_sample();
            test_sample_norm();
            test_connected();
            test_random();
            test_resample();
            test_permute();
            test_local();
            test_capsules();
            test_losses();
            test_optimizers();
            printf("%s %s: %lld passed\n", isas[i], size == 4 ? "float" : "double", (long long)(passed - before));
        }
    printf("%lld passed, %lld failed\n", (long long)passed, (long long)failed);
    return failed != 0;
}
