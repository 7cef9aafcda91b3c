/* Dense layers and Euclidean radial basis functions, on plain matrices. */
#include "naive.h"

/* A dense layer is a convolution of one position. */
static void test_layer(int64_t n, int64_t c, int64_t k)
{
    begin_case("dense layer %lldx%lld to %lld", (long long)n, (long long)c, (long long)k);
    const int64_t ones[3] = {1, 1, 1}, none[3] = {0, 0, 0};
    pycnn_connection *list = fenced((size_t)(c * k) * sizeof *list);
    for (int64_t e = 0; e < c * k; e++) list[e] = (pycnn_connection){e / c, e % c};
    const pycnn_connections all = {make_window(ones, ones, ones, ones, none, none, 0), n, c, k, c * k, list, NULL};
    double *x = numbers(n * c, -1, 1), *w = numbers(k * c, -1, 1), *bias = numbers(k, -1, 1);
    double *dy = numbers(n * k, -1, 1);
    double *x_size = magnitudes(x, n * c), *w_size = magnitudes(w, k * c), *dy_size = magnitudes(dy, n * k);
    const void *x_buffer = buffer_of(x, n * c), *w_buffer = buffer_of(w, k * c), *dy_buffer = buffer_of(dy, n * k);

    pycnn_activation f = draw_activation();
    const int biased = (int)draw_int(0, 1);
    double *y = zeros(n * k), *bound = zeros(n * k);
    correlate(&all, FORWARD, x, w, y);
    correlate(&all, FORWARD, x_size, w_size, bound);
    rounding(bound, n * k, (double)c);
    for (int64_t i = 0; i < n * k; i++) {
        y[i] = activation_value(f, y[i] + (biased ? bias[i % k] : 0));
        bound[i] = 1.2 * bound[i] + 8 * epsilon() * fmax(1, fabs(y[i]));
    }
    void *y_buffer = buffer(n * k);
    RUN(dense_forward, n, c, k, f, x_buffer, w_buffer, biased ? buffer_of(bias, k) : NULL, y_buffer);
    compare("y", read_buffer(y_buffer, n * k), y, bound, n * k);

    f = draw_activation();
    double *dx = zeros(n * c), *dx_bound = zeros(n * c), *values = numbers(n * c, -0.9, 0.9);
    correlate(&all, BACKWARD_DATA, dx, w, dy);
    correlate(&all, BACKWARD_DATA, dx_bound, w_size, dy_size);
    rounding(dx_bound, n * c, (double)k);
    for (int64_t i = 0; i < n * c; i++) {
        const double slope = activation_slope(f, values[i]);
        dx_bound[i] = fmax(1, fabs(slope)) * dx_bound[i] + 8 * epsilon() * fabs(dx[i]);
        dx[i] *= slope;
    }
    void *dx_buffer = buffer(n * c);
    RUN(dense_backward_data, n, c, k, f, dy_buffer, w_buffer, buffer_of(values, n * c), dx_buffer);
    compare("dx", read_buffer(dx_buffer, n * c), dx, dx_bound, n * c);

    const int accumulate = (int)draw_int(0, 1), some = !draw_int(0, 2);
    uint8_t *learns = fenced((size_t)k);
    for (int64_t i = 0; i < k; i++) learns[i] = !some || draw_int(0, 2);
    double *dw = zeros(k * c), *dw_bound = zeros(k * c), *db = zeros(k), *db_bound = zeros(k);
    correlate(&all, BACKWARD_WEIGHTS, x, dw, dy);
    correlate(&all, BACKWARD_WEIGHTS, x_size, dw_bound, dy_size);
    for (int64_t i = 0; i < n * k; i++) db[i % k] += dy[i], db_bound[i % k] += dy_size[i];
    rounding(dw_bound, k * c, (double)n);
    rounding(db_bound, k, (double)n);
    double *dw_want = numbers(k * c, -1, 1), *db_want = numbers(k, -1, 1);
    void *dw_buffer = buffer_of(dw_want, k * c), *db_buffer = buffer_of(db_want, k);
    RUN(dense_backward_weights, n, c, k, accumulate, some ? learns : NULL, dy_buffer, x_buffer, dw_buffer, db_buffer);
    for (int64_t i = 0; i < k * c; i++) {
        dw_bound[i] += 2 * epsilon();
        if (learns[i / c]) dw_want[i] = dw[i] + (accumulate ? dw_want[i] : 0);
    }
    for (int64_t i = 0; i < k; i++) {
        db_bound[i] += 2 * epsilon();
        if (learns[i]) db_want[i] = db[i] + (accumulate ? db_want[i] : 0);
    }
    compare("dw", read_buffer(dw_buffer, k * c), dw_want, dw_bound, k * c);
    compare("db", read_buffer(db_buffer, k), db_want, db_bound, k);
    end_case();
}

static void test_rbf(int64_t n, int64_t c, int64_t k)
{
    const int squared = (int)draw_int(0, 1), sloped = (int)draw_int(0, 1), accumulate = (int)draw_int(0, 1);
    begin_case("radial basis functions %lldx%lld to %lld, squared %d", (long long)n, (long long)c, (long long)k,
               squared);
    double *x = numbers(n * c, -1, 1), *w = numbers(k * c, -1, 1);
    double *dy = numbers(n * k, -1, 1), *slope = numbers(n * k, -1, 1);
    double *y = zeros(n * k), *y_bound = zeros(n * k), *dx = zeros(n * c), *dx_bound = zeros(n * c);
    double *dw = zeros(k * c), *dw_bound = zeros(k * c), *dw_was = numbers(k * c, -1, 1);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < k; j++)
            for (int64_t l = 0; l < c; l++) {
                const double d = x[i * c + l] - w[j * c + l], h = dy[i * k + j];
                const double term = squared ? 4 * h * d * d : 2 * h * d, second = sloped ? 2 * slope[i * k + j] : 0;
                y[i * k + j] += d * d, y_bound[i * k + j] += 2 * d * d;
                dx[i * c + l] += term + second, dx_bound[i * c + l] += 2 * fabs(term) + fabs(second);
                dw[j * c + l] += squared ? term : -term, dw_bound[j * c + l] += 2 * fabs(term);
            }
    rounding(y_bound, n * k, (double)c);
    rounding(dx_bound, n * c, (double)(2 * k));
    rounding(dw_bound, k * c, (double)n);
    const void *x_buffer = buffer_of(x, n * c), *w_buffer = buffer_of(w, k * c), *dy_buffer = buffer_of(dy, n * k);
    void *y_buffer = buffer(n * k), *dx_buffer = buffer(n * c), *dw_buffer = buffer_of(dw_was, k * c);
    for (int64_t i = 0; i < k * c; i++) {
        dw[i] += accumulate ? dw_was[i] : 0;
        dw_bound[i] += 2 * epsilon();
    }
    RUN(rbf_forward, n, c, k, x_buffer, w_buffer, y_buffer);
    RUN(rbf_backward_data, n, c, k, squared, dy_buffer, sloped ? buffer_of(slope, n * k) : NULL, x_buffer, w_buffer,
        dx_buffer);
    RUN(rbf_backward_weights, n, c, k, accumulate, squared, dy_buffer, x_buffer, w_buffer, dw_buffer);
    compare("y", read_buffer(y_buffer, n * k), y, y_bound, n * k);
    compare("dx", read_buffer(dx_buffer, n * c), dx, dx_bound, n * c);
    compare("dw", read_buffer(dw_buffer, k * c), dw, dw_bound, k * c);
    end_case();
}

void test_dense(void)
{
    static const int64_t fixed[][3] = {{1, 1, 1},    {64, 120, 84}, {1, 400, 120}, {8, 512, 100}, {65, 48, 64},
                                       {2, 1000, 3}, {100, 3, 2},   {7, 16, 33},   {16, 129, 31}, {1, 37, 200}};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) test_layer(fixed[i][0], fixed[i][1], fixed[i][2]);
    for (int i = 0; i < 40; i++) {
        test_layer(draw_int(1, 70), draw_int(1, 90), draw_int(1, 70));
        test_rbf(draw_int(1, 12), draw_int(1, 90), draw_int(1, 12));
    }
}
