/* Sparse matrices along the axes of planes of vectors, and samples in another order. */
#include "naive.h"

/* A random matrix; `kind` 0 is one of single taps of weight one, 1 one of at most two, 2 one of any number. */
static pycnn_taps draw_taps(int64_t in, int64_t out, int kind)
{
    int64_t *begin = fenced((size_t)(out + 1) * sizeof *begin), *index = fenced((size_t)(out * in + 1) * sizeof *index);
    double *weight = fenced((size_t)(out * in + 1) * sizeof *weight);
    int64_t count = 0;
    for (int64_t o = 0; o < out; o++) {
        const int64_t taps = kind == 0 ? draw_int(0, 5) > 0 : draw_int(kind == 1 ? 1 : 0, kind == 1 ? 2 : 9);
        begin[o] = count;
        for (int64_t t = 0, i = draw_int(0, in - 1); t < taps && i < in; t++, i++, count++)
            index[count] = i, weight[count] = kind == 0 ? 1 : draw(-1, 1);
    }
    begin[out] = count;
    return (pycnn_taps){in, out, begin, index, weight};
}

static void test_matrices(int64_t planes, const int64_t in[3], const int64_t out[3], const int kinds[3])
{
    const double empty = 0.5;
    const int64_t rows = planes * kernels->lanes, inputs = volume(in), outputs = volume(out);
    pycnn_taps a[3];
    for (int i = 0; i < 3; i++) a[i] = draw_taps(in[i], out[i], kinds[i]);
    double *x = numbers(rows * inputs, -1, 1), *y = zeros(rows * outputs), *bound = zeros(rows * outputs);
    int64_t most = 1;
    for (int64_t j = 0; j < rows * outputs; j++) {
        const int64_t o[3] = {j % outputs / (out[1] * out[2]), j / out[2] % out[1], j % out[2]};
        int64_t terms = 0;
        for (int64_t d = a[0].begin[o[0]]; d < a[0].begin[o[0] + 1]; d++)
            for (int64_t h = a[1].begin[o[1]]; h < a[1].begin[o[1] + 1]; h++)
                for (int64_t w = a[2].begin[o[2]]; w < a[2].begin[o[2] + 1]; w++, terms++) {
                    const int64_t i = (a[0].index[d] * in[1] + a[1].index[h]) * in[2] + a[2].index[w];
                    const double term = a[0].weight[d] * a[1].weight[h] * a[2].weight[w] * x[j / outputs * inputs + i];
                    y[j] += term, bound[j] += fabs(term);
                }
        if (!terms) y[j] = empty;
        if (terms > most) most = terms;
    }
    void *y_buffer = buffer(rows * outputs);
    RUN(resample, a, empty, planes, planes_of(x, planes, inputs), y_buffer);
    rounding(bound, rows * outputs, 3 * (double)most);
    compare("y", read_planes(y_buffer, planes, outputs), y, bound, rows * outputs);
}

void test_resample(void)
{
    for (int i = 0; i < 60; i++) {
        int64_t in[3], out[3];
        int kinds[3];
        for (int a = 0; a < 3; a++) {
            in[a] = draw_int(1, a == 2 ? 20 : 6), out[a] = draw_int(1, a == 2 ? 30 : 7);
            kinds[a] = (int)draw_int(0, 2);
        }
        begin_case("resampling of %lldx%lldx%lld to %lldx%lldx%lld, kinds %d %d %d", (long long)in[0], (long long)in[1],
                   (long long)in[2], (long long)out[0], (long long)out[1], (long long)out[2], kinds[0], kinds[1],
                   kinds[2]);
        test_matrices(draw_int(1, 5), in, out, kinds);
        end_case();
    }
    const int64_t in[3] = {1, 200, 200}, out[3] = {1, 400, 400};
    const int kinds[3] = {0, 1, 1};
    begin_case("resampling that is streamed");
    test_matrices(144 / (kernels->lanes * (int64_t)kernels->real_size) + 1, in, out, kinds);
    end_case();
}

static void test_order(pycnn_layout layout, int64_t n, const int64_t size[4], const int axes[4])
{
    const int64_t count = size[0] * size[1] * size[2] * size[3];
    double *x = numbers(n * count, -1, 1), *y = zeros(n * count);
    int64_t to[4], stride[4] = {size[1] * size[2] * size[3], size[2] * size[3], size[3], 1};
    for (int a = 0; a < 4; a++) to[a] = size[axes[a]];
    for (int64_t j = 0; j < n * count; j++) {
        int64_t rest = j % count, from = 0;
        for (int a = 3; a >= 0; a--) from += rest % to[a] * stride[axes[a]], rest /= to[a];
        y[j] = x[j / count * count + from];
    }
    void *y_buffer = buffer(tensor_size(layout, n, count, 1));
    const int64_t blocks = layout == PYCNN_SAMPLES ? (n + kernels->lanes - 1) / kernels->lanes : n;
    RUN(permute, layout, blocks, size, axes, tensor_of(x, layout, n, count, 1, 0), y_buffer);
    compare("y", read_tensor(y_buffer, layout, n, count, 1, 0), y, zeros(n * count), n * count);
}

void test_permute(void)
{
    static const int64_t sizes[][4] = {{3, 1, 5, 4}, {2, 3, 4, 5}, {1, 1, 70, 67}, {1, 3, 17, 33}, {1, 1, 3, 77}, {1, 2, 70, 4}, {1, 1, 1, 1}};
    for (int l = 0; l < 2; l++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (int code = 0; code < 256; code++) {
                const int axes[4] = {code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6};
                if ((1 << axes[0] | 1 << axes[1] | 1 << axes[2] | 1 << axes[3]) != 15) continue;
                const pycnn_layout layout = l ? PYCNN_SAMPLES : PYCNN_PLAIN;
                begin_case("permutation %d%d%d%d of size %zu, layout %d", axes[0], axes[1], axes[2], axes[3], i, l);
                test_order(layout, draw_int(1, 2 * kernels->lanes), sizes[i], axes);
                end_case();
            }
}
