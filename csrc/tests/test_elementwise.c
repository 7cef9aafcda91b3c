/* Maps over reals, whatever their layout; a coefficient for each map; and the ways between layouts. */
#include "naive.h"

static void test_activation(pycnn_activation f, int64_t n)
{
    begin_case("activation %d of %lld", (int)f.kind, (long long)n);
    double *x = numbers(n, -12, 12), *dy = numbers(n, -1, 1);
    double *y = zeros(n), *dx = zeros(n), *y_bound = zeros(n), *dx_bound = zeros(n);
    for (int64_t i = 0; i < n; i++) {
        y[i] = activation_value(f, x[i]);
        y_bound[i] = 4 * epsilon() * fabs(y[i]);
        dx[i] = dy[i] * activation_slope(f, x[i]);
        dx_bound[i] = 16 * epsilon() * fabs(dy[i]) * fmax(1, fabs(activation_slope(f, x[i])));
    }
    const void *x_buffer = buffer_of(x, n);
    void *y_buffer = buffer(n), *dy_buffer = buffer_of(dy, n);
    RUN(activation_forward, f, n, x_buffer, y_buffer);
    compare("f(x)", read_buffer(y_buffer, n), y, y_bound, n);
    RUN(activation_backward, f, n, dy_buffer, x_buffer, dy_buffer);
    compare("f'", read_buffer(dy_buffer, n), dx, dx_bound, n);
    end_case();
}

static void test_arithmetic(int64_t n)
{
    begin_case("sums and products of %lld", (long long)n);
    enum { TERMS = 3 };
    const void *buffers[TERMS];
    double *a[TERMS], *sum = zeros(n), *product = zeros(n), *sum_bound = zeros(n), *product_bound = zeros(n);
    for (int j = 0; j < TERMS; j++) {
        a[j] = numbers(n, -1, 1);
        buffers[j] = buffer_of(a[j], n);
        for (int64_t i = 0; i < n; i++) sum[i] += a[j][i], sum_bound[i] += 2 * epsilon() * fabs(a[j][i]);
    }
    for (int64_t i = 0; i < n; i++) {
        product[i] = a[0][i] * a[1][i];
        product_bound[i] = epsilon() * fabs(product[i]);
    }
    void *y = buffer(n);
    RUN(sum, n, TERMS, buffers, y);
    compare("sum", read_buffer(y, n), sum, sum_bound, n);
    RUN(multiply, n, buffers[0], buffers[1], y);
    compare("product", read_buffer(y, n), product, product_bound, n);
    RUN(fill, n, 0.375, y);
    for (int64_t i = 0; i < n; i++) sum[i] = 0.375;
    compare("fill", read_buffer(y, n), sum, zeros(n), n);
    end_case();
}

static void test_copy_blocks(void)
{
    const int64_t blocks = draw_int(1, 40), length = draw_int(1, 700);
    const int64_t from = length + draw_int(0, 9), to = length + draw_int(0, 9);
    begin_case("copy of %lld blocks of %lld", (long long)blocks, (long long)length);
    double *x = numbers(blocks * from, -1, 1), *y = numbers(blocks * to, -1, 1);
    void *y_buffer = buffer_of(y, blocks * to);
    RUN(copy_blocks, blocks, length, from, to, buffer_of(x, blocks * from), y_buffer);
    for (int64_t i = 0; i < blocks * length; i++) y[i / length * to + i % length] = x[i / length * from + i % length];
    compare("copy", read_buffer(y_buffer, blocks * to), y, zeros(blocks * to), blocks * to);
    end_case();
}

static void test_scale_maps(void)
{
    const pycnn_layout layout = draw_int(0, 1) ? PYCNN_SAMPLES : PYCNN_CHANNELS;
    const int64_t n = draw_int(1, 20), c = draw_int(1, 20), s = draw_int(1, 40), size = n * c * s;
    const int biased = (int)draw_int(0, 1), accumulate = (int)draw_int(0, 1);
    const pycnn_activation f = draw_activation();
    begin_case("scaled maps %lldx%lldx%lld, layout %d", (long long)n, (long long)c, (long long)s, (int)layout);
    double *x = numbers(size, -1, 1), *dy = numbers(size, -1, 1), *a = numbers(c, -1, 1), *b = numbers(c, -1, 1);
    double *y = zeros(size), *y_bound = zeros(size), *dx = zeros(size), *dx_bound = zeros(size);
    double *da = numbers(c, -1, 1), *db = numbers(c, -1, 1), *da_bound = zeros(c), *db_bound = zeros(c);
    void *da_buffer = buffer_of(da, c), *db_buffer = buffer_of(db, c);
    for (int64_t j = 0; j < c && !accumulate; j++) da[j] = db[j] = 0;
    for (int64_t j = 0; j < c; j++) da_bound[j] = db_bound[j] = 1;
    for (int64_t i = 0; i < size; i++) {
        const int64_t j = i / s % c;
        y[i] = activation_value(f, a[j] * x[i] + (biased ? b[j] : 0));
        y_bound[i] = 10 * epsilon() * fmax(1, fabs(y[i]));
        dx[i] = a[j] * dy[i];
        dx_bound[i] = epsilon() * fabs(dx[i]);
        da[j] += dy[i] * x[i], da_bound[j] += fabs(dy[i] * x[i]);
        db[j] += dy[i], db_bound[j] += fabs(dy[i]);
    }
    rounding(da_bound, c, (double)(n * s));
    rounding(db_bound, c, (double)(n * s));
    const void *x_buffer = tensor_of(x, layout, n, c, s, 0), *dy_buffer = tensor_of(dy, layout, n, c, s, 1);
    const void *a_buffer = buffer_of(a, c);
    void *y_buffer = buffer(tensor_size(layout, n, c, s)), *dx_buffer = buffer(tensor_size(layout, n, c, s));
    RUN(scale_maps_forward, layout, n, c, s, f, x_buffer, a_buffer, biased ? buffer_of(b, c) : NULL, y_buffer);
    compare("y", read_tensor(y_buffer, layout, n, c, s, 0), y, y_bound, size);
    RUN(scale_maps_backward_data, layout, n, c, s, dy_buffer, a_buffer, dx_buffer);
    compare("dx", read_tensor(dx_buffer, layout, n, c, s, 1), dx, dx_bound, size);
    RUN(scale_maps_backward_weights, layout, n, c, s, accumulate, dy_buffer, x_buffer, da_buffer, db_buffer);
    compare("da", read_buffer(da_buffer, c), da, da_bound, c);
    compare("db", read_buffer(db_buffer, c), db, db_bound, c);
    end_case();
}

static void test_reorders(pycnn_layout layout)
{
    const int64_t n = draw_int(1, 40), c = draw_int(1, 40), s = draw_int(1, 60), size = n * c * s, pool = n + 5;
    begin_case("reorder %lldx%lldx%lld, layout %d", (long long)n, (long long)c, (long long)s, (int)layout);
    double *all = numbers(pool * c * s, -1, 1), *picked = zeros(size), *exact = zeros(size);
    int64_t *rows = fenced((size_t)n * sizeof *rows);
    for (int64_t i = 0; i < n; i++) {
        rows[i] = draw_int(0, pool - 1);
        memcpy(picked + i * c * s, all + rows[i] * c * s, (size_t)(c * s) * sizeof *all);
    }
    const void *array = buffer_of(all, pool * c * s);
    const int64_t *rows_pointer = rows;
    void *lanes = buffer(tensor_size(layout, n, c, s)), *back = buffer(size);
    RUN(import_tensor, layout, n, c, s, &array, NULL, lanes);
    compare("import", read_tensor(lanes, layout, n, c, s, 0), all, exact, size);
    RUN(export_tensor, layout, n, c, s, lanes, &back);
    compare("export", read_buffer(back, size), all, exact, size);
    RUN(import_tensor, layout, n, c, s, &array, &rows_pointer, lanes);
    compare("import of rows", read_tensor(lanes, layout, n, c, s, 0), picked, exact, size);
    for (int gradient = 0; gradient < 2; gradient++) {
        void *there = buffer(tensor_size(layout, n, c, s)), *here = buffer(size);
        RUN(reorder, PYCNN_PLAIN, layout, gradient, n, c, s, array, there);
        compare("reorder", read_tensor(there, layout, n, c, s, gradient), all, exact, size);
        RUN(reorder, layout, PYCNN_PLAIN, gradient, n, c, s, there, here);
        compare("reorder back", read_buffer(here, size), all, exact, size);
    }
    end_case();
}

void test_elementwise(void)
{
    for (int kind = PYCNN_IDENTITY; kind <= PYCNN_SELU; kind++) {
        test_activation((pycnn_activation){(pycnn_activation_kind)kind, 0.3125}, 1);
        test_activation((pycnn_activation){(pycnn_activation_kind)kind, 0.3125}, 4999);
    }
    for (int i = 0; i < 10; i++) {
        test_arithmetic(draw_int(1, 9000));
        test_copy_blocks();
        test_scale_maps();
        test_reorders(PYCNN_PLAIN);
        test_reorders(PYCNN_SAMPLES);
        test_reorders(PYCNN_CHANNELS);
    }
}
