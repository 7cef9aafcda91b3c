/* Maps with connections of their own, and softmax pooling over them. */
#include "naive.h"

/* Random connections, none twice, in any order; some do not learn. */
static pycnn_connections drawn_connections(int padded, uint8_t **learns)
{
    int64_t in[3], kernel[3], stride[3], dilation[3], before[3], after[3];
    const int flat = draw_int(0, 2) != 0;
    for (int a = 0; a < 3; a++) {
        const int one = flat && a == 0;
        kernel[a] = one ? 1 : draw_int(1, 4), stride[a] = one ? 1 : draw_int(1, 2);
        dilation[a] = padded && !one ? draw_int(1, 2) : 1;
        const int64_t span = (kernel[a] - 1) * dilation[a];
        in[a] = one ? 1 : span + draw_int(1, a == 2 ? 20 : 6);
        before[a] = padded ? draw_int(0, span) : 0, after[a] = padded ? draw_int(0, span) : 0;
    }
    pycnn_connections c = {.n = draw_int(1, 20), .c = draw_int(1, 5), .k = draw_int(1, 6)};
    c.window = make_window(in, kernel, stride, dilation, before, after, 0);
    pycnn_connection *list = fenced((size_t)(c.c * c.k) * sizeof *list);
    for (int64_t i = 0; i < c.c * c.k; i++)
        if (draw_int(0, 2)) list[c.count++] = (pycnn_connection){i % c.k, i / c.k};
    c.connection = list;
    *learns = fenced((size_t)(c.count + c.k));
    for (int64_t i = 0; i < c.count + c.k; i++) (*learns)[i] = draw_int(0, 3) != 0;
    if (draw_int(0, 1)) c.learns = *learns;
    return c;
}

/* The value of a gradient: what was there, plus the new where it accumulates, if it learns. */
static void learn(const pycnn_connections *c, int64_t first, int64_t each, int64_t n, int accumulate, const double *sum,
                  double *bound, double *was)
{
    for (int64_t i = 0; i < n; i++) {
        bound[i] += 2 * epsilon();
        if (!c->learns || c->learns[first + i / each]) was[i] = sum[i] + (accumulate ? was[i] : 0);
    }
}

static void test_maps(void)
{
    uint8_t *learns;
    begin_case("connected maps");
    const pycnn_connections c = drawn_connections(1, &learns);
    begin_case("connected maps, %lld connections from %lld maps to %lld, %lld samples", (long long)c.count,
               (long long)c.c, (long long)c.k, (long long)c.n);
    const int64_t in = volume(c.window.in), out = volume(c.window.out), taps = volume(c.window.kernel);
    const int64_t nx = c.n * c.c * in, ny = c.n * c.k * out, nw = c.count * taps;
    const double terms = (double)(taps * (c.c > c.k ? c.c : c.k)) + 1;
    double *x = numbers(nx, -1, 1), *w = numbers(nw, -1, 1), *dy = numbers(ny, -1, 1), *bias = numbers(c.k, -1, 1);
    double *x_size = magnitudes(x, nx), *w_size = magnitudes(w, nw), *dy_size = magnitudes(dy, ny);
    const void *x_buffer = tensor_of(x, PYCNN_SAMPLES, c.n, c.c, in, 0), *w_buffer = buffer_of(w, nw);
    const void *dy_buffer = tensor_of(dy, PYCNN_SAMPLES, c.n, c.k, out, 1);

    const pycnn_activation f = draw_activation();
    const int biased = (int)draw_int(0, 1);
    double *y = zeros(ny), *bound = zeros(ny);
    correlate(&c, FORWARD, x, w, y);
    correlate(&c, FORWARD, x_size, w_size, bound);
    rounding(bound, ny, terms);
    for (int64_t i = 0; i < ny; i++) {
        y[i] = activation_value(f, y[i] + (biased ? bias[i / out % c.k] : 0));
        bound[i] = 1.2 * bound[i] + 8 * epsilon() * fmax(1, fabs(y[i]));
    }
    void *y_buffer = buffer(tensor_size(PYCNN_SAMPLES, c.n, c.k, out));
    RUN(connected_forward, &c, f, x_buffer, w_buffer, biased ? buffer_of(bias, c.k) : NULL, y_buffer);
    compare("y", read_tensor(y_buffer, PYCNN_SAMPLES, c.n, c.k, out, 0), y, bound, ny);

    const pycnn_activation g = draw_activation();
    double *dx = zeros(nx), *dx_bound = zeros(nx), *values = numbers(nx, -0.9, 0.9);
    correlate(&c, BACKWARD_DATA, dx, w, dy);
    correlate(&c, BACKWARD_DATA, dx_bound, w_size, dy_size);
    rounding(dx_bound, nx, terms);
    for (int64_t i = 0; i < nx; i++) {
        const double slope = activation_slope(g, values[i]);
        dx_bound[i] = fmax(1, fabs(slope)) * dx_bound[i] + 8 * epsilon() * fabs(dx[i]);
        dx[i] *= slope;
    }
    void *dx_buffer = buffer(tensor_size(PYCNN_SAMPLES, c.n, c.c, in));
    RUN(connected_backward_data, &c, g, dy_buffer, w_buffer, tensor_of(values, PYCNN_SAMPLES, c.n, c.c, in, 0),
        dx_buffer);
    compare("dx", read_tensor(dx_buffer, PYCNN_SAMPLES, c.n, c.c, in, 1), dx, dx_bound, nx);

    const int accumulate = (int)draw_int(0, 1);
    double *dw = zeros(nw), *dw_bound = zeros(nw), *db = zeros(c.k), *db_bound = zeros(c.k);
    correlate(&c, BACKWARD_WEIGHTS, x, dw, dy);
    correlate(&c, BACKWARD_WEIGHTS, x_size, dw_bound, dy_size);
    for (int64_t i = 0; i < ny; i++) db[i / out % c.k] += dy[i], db_bound[i / out % c.k] += dy_size[i];
    rounding(dw_bound, nw, (double)(c.n * out));
    rounding(db_bound, c.k, (double)(c.n * out));
    double *dw_was = numbers(nw, -1, 1), *db_was = numbers(c.k, -1, 1);
    void *dw_buffer = buffer_of(dw_was, nw), *db_buffer = buffer_of(db_was, c.k);
    RUN(connected_backward_weights, &c, accumulate, dy_buffer, x_buffer, dw_buffer, db_buffer);
    learn(&c, 0, taps, nw, accumulate, dw, dw_bound, dw_was);
    learn(&c, c.count, 1, c.k, accumulate, db, db_bound, db_was);
    compare("dw", read_buffer(dw_buffer, nw), dw_was, dw_bound, nw);
    compare("db", read_buffer(db_buffer, c.k), db_was, db_bound, c.k);
    end_case();
}

/* p = softmax(a x) over the window of an output; returns F = sum of p x. */
static double soft_maximum(const pycnn_window *w, const double *x, int64_t o, double a, double *p)
{
    const int64_t taps = volume(w->kernel);
    double most = -INFINITY, total = 0, value = 0;
    for (int64_t t = 0; t < taps; t++) most = fmax(most, a * x[input_of(w, o, t)]);
    for (int64_t t = 0; t < taps; t++) total += p[t] = exp(a * x[input_of(w, o, t)] - most);
    for (int64_t t = 0; t < taps; t++) value += (p[t] /= total) * x[input_of(w, o, t)];
    return value;
}

static void test_softmax_pool(void)
{
    uint8_t *learns;
    begin_case("softmax pooling");
    const pycnn_connections c = drawn_connections(0, &learns);
    const int squared = (int)draw_int(0, 1), accumulate = (int)draw_int(0, 1);
    begin_case("softmax pooling, %lld connections from %lld maps to %lld, %lld samples, squared %d", (long long)c.count,
               (long long)c.c, (long long)c.k, (long long)c.n, squared);
    const pycnn_window *w = &c.window;
    const int64_t in = volume(w->in), out = volume(w->out), taps = volume(w->kernel);
    const int64_t nx = c.n * c.c * in, ny = c.n * c.k * out;
    double *x = numbers(nx, -1, 1), *a = numbers(c.count, -4, 4), *dy = numbers(ny, -1, 1), *p = zeros(taps);
    double *y = zeros(ny), *y_bound = zeros(ny), *dx = zeros(nx), *dx_bound = zeros(nx);
    double *da = zeros(c.count), *da_bound = zeros(c.count);
    for (int64_t n = 0; n < c.n; n++)
        for (int64_t e = 0; e < c.count; e++)
            for (int64_t o = 0; o < out; o++) {
                const int64_t plane = (n * c.c + c.connection[e].source) * in;
                const int64_t at = (n * c.k + c.connection[e].map) * out + o;
                const double value = soft_maximum(w, x + plane, o, a[e], p);
                double spread = 0;
                y[at] += value, y_bound[at] += 1;
                for (int64_t t = 0; t < taps; t++) {
                    const int64_t i = plane + input_of(w, o, t);
                    const double d = x[i] - value, slope = p[t] * (1 + a[e] * d);
                    dx[i] += dy[at] * (squared ? slope * slope : slope);
                    dx_bound[i] += fabs(dy[at]) * (1 + fabs(a[e])) * (squared ? 2 + 2 * fabs(slope) : 1);
                    spread += p[t] * d * d;
                }
                da[e] += dy[at] * (squared ? spread * spread : spread);
                da_bound[e] += fabs(dy[at]);
            }
    /* An error in a x is one in p, relatively; |a x| is at most 4. */
    const double terms = (double)taps;
    rounding(y_bound, ny, 4 * terms);
    rounding(dx_bound, nx, 4 * terms);
    rounding(da_bound, c.count, 4 * terms + (double)(c.n * out));
    const void *x_buffer = tensor_of(x, PYCNN_SAMPLES, c.n, c.c, in, 0), *a_buffer = buffer_of(a, c.count);
    const void *dy_buffer = tensor_of(dy, PYCNN_SAMPLES, c.n, c.k, out, 1);
    void *y_buffer = buffer(tensor_size(PYCNN_SAMPLES, c.n, c.k, out));
    void *dx_buffer = buffer(tensor_size(PYCNN_SAMPLES, c.n, c.c, in));
    double *da_was = numbers(c.count, -1, 1);
    void *da_buffer = buffer_of(da_was, c.count);
    RUN(softmax_pool_forward, &c, x_buffer, a_buffer, y_buffer);
    RUN(softmax_pool_backward_data, &c, squared, dy_buffer, x_buffer, a_buffer, dx_buffer);
    RUN(softmax_pool_backward_weights, &c, accumulate, squared, dy_buffer, x_buffer, a_buffer, da_buffer);
    compare("y", read_tensor(y_buffer, PYCNN_SAMPLES, c.n, c.k, out, 0), y, y_bound, ny);
    compare("dx", read_tensor(dx_buffer, PYCNN_SAMPLES, c.n, c.c, in, 1), dx, dx_bound, nx);
    learn(&c, 0, 1, c.count, accumulate, da, da_bound, da_was);
    compare("da", read_buffer(da_buffer, c.count), da_was, da_bound, c.count);
    end_case();
}

void test_connected(void)
{
    for (int i = 0; i < 30; i++) {
        test_maps();
        test_softmax_pool();
    }
}
