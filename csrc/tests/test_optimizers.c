/* Optimizers: one update of some ranges of a flat vector, the rest frozen. */
#include "naive.h"

enum { SIZE = 9001, RANGES = 3 };
static const pycnn_range ranges[RANGES] = {{0, 5}, {17, 4400}, {4400, 8999}};

static int is_trained(int64_t i)
{
    for (int r = 0; r < RANGES; r++)
        if (i >= ranges[r].begin && i < ranges[r].end) return 1;
    return 0;
}

typedef enum { SGD, SDLM, ADAM, RMSPROP, OPTIMIZERS } optimizer;

/* One parameter w and the optimizer's memory a, b of it, given its gradient. */
static void update(optimizer o, const double *h, int has_velocity, double g, double *w, double *a, double *b)
{
    g *= h[0];
    switch (o) {
    case SGD:
        g += h[4] * *w;
        if (has_velocity) {
            *a = h[2] * *a + (1 - h[3]) * g;
            g = h[5] != 0 ? g + h[2] * *a : *a;
        }
        *w -= h[1] * g;
        return;
    case SDLM:
        *w -= h[1] / (h[2] + *a) * g;
        return;
    case ADAM:
        if (h[6] != 0) *w -= h[1] * h[5] * *w;
        else g += h[5] * *w;
        *a = h[2] * *a + (1 - h[2]) * g;
        *b = h[3] * *b + (1 - h[3]) * g * g;
        *w -= h[1] * *a / (1 - pow(h[2], h[7])) / (sqrt(*b / (1 - pow(h[3], h[7]))) + h[4]);
        return;
    default:
        g += h[4] * *w;
        *a = h[2] * *a + (1 - h[2]) * g * g;
        g /= sqrt(*a) + h[3];
        if (has_velocity) *b = g = h[5] * *b + g;
        *w -= h[1] * g;
    }
}

static void test_update(optimizer o, int has_velocity, int option, double guard)
{
    const double hyper[OPTIMIZERS][8] = {
        [SGD] = {0.75, 0.125, 0.875, 0.25, 0.0625, option},
        [SDLM] = {0.75, 0.125, 0.5},
        [ADAM] = {0.75, 0.0625, 0.875, 0.96875, 0.03125, 0.125, option, 3},
        [RMSPROP] = {0.75, 0.0625, 0.875, 0.03125, 0.125, 0.5},
    };
    const double *h = hyper[o];
    begin_case("optimizer %d, velocity %d, option %d, guard %g", (int)o, has_velocity, option, guard);
    double *w = numbers(SIZE, -1, 1), *g = numbers(SIZE, -1, 1);
    double *a = numbers(SIZE, 0.125, 1), *b = numbers(SIZE, 0.125, 1);
    void *w_buffer = buffer_of(w, SIZE), *a_buffer = buffer_of(a, SIZE), *b_buffer = buffer_of(b, SIZE);
    const void *g_buffer = buffer_of(g, SIZE);
    double *bound = zeros(SIZE);
    for (int64_t i = 0; i < SIZE; i++) {
        if (!is_trained(i) || !isfinite(guard)) continue;
        update(o, h, has_velocity, g[i], &w[i], &a[i], &b[i]);
        bound[i] = 16 * epsilon();
    }
    switch (o) {
    case SGD: RUN(sgd, ranges, RANGES, h, &guard, w_buffer, g_buffer, has_velocity ? a_buffer : NULL); break;
    case SDLM: RUN(sdlm, ranges, RANGES, h, &guard, w_buffer, g_buffer, a_buffer); break;
    case ADAM: RUN(adam, ranges, RANGES, h, &guard, w_buffer, g_buffer, a_buffer, b_buffer); break;
    default: RUN(rmsprop, ranges, RANGES, h, &guard, w_buffer, g_buffer, a_buffer, has_velocity ? b_buffer : NULL);
    }
    compare("w", read_buffer(w_buffer, SIZE), w, bound, SIZE);
    compare("memory", read_buffer(a_buffer, SIZE), a, bound, SIZE);
    compare("second memory", read_buffer(b_buffer, SIZE), b, bound, SIZE);
    end_case();
}

static void test_clip_norm(double limit)
{
    begin_case("norm of a gradient, limit %g", limit);
    double *g = numbers(SIZE, -1, 1), squares = 0, got[2];
    for (int64_t i = 0; i < SIZE; i++)
        if (is_trained(i)) squares += g[i] * g[i];
    RUN(clip_norm, ranges, RANGES, &limit, buffer_of(g, SIZE), &got[0], &got[1]);
    const double norm = sqrt(squares), want[2] = {norm > limit ? limit / norm : 1, norm};
    const double bound[2] = {1e-12, 1e-12 * norm};
    compare("scale and norm", got, want, bound, 2);
    end_case();
}

void test_optimizers(void)
{
    for (int option = 0; option < 2; option++) {
        for (int velocity = 0; velocity < 2; velocity++) {
            test_update(SGD, velocity, option, 1);
            test_update(RMSPROP, velocity, 0, 1);
        }
        test_update(ADAM, 1, option, 1);
    }
    test_update(SDLM, 0, 0, 1);
    for (int o = SGD; o < OPTIMIZERS; o++) test_update((optimizer)o, 1, 0, NAN);
    test_clip_norm(3);
    test_clip_norm(1e9);
}
