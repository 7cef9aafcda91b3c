/* Maximum, average and p-norm pooling, and unpooling, over planes of vectors. */
#include "naive.h"

typedef struct { int64_t planes, lanes, in, out; pycnn_window window; int64_t after[3]; } pool_case;

static void test_max(const pool_case *p)
{
    const pycnn_window *w = &p->window;
    const int64_t rows = p->planes * p->lanes, taps = volume(w->kernel);
    double *x = zeros(rows * p->in), *dy = numbers(rows * p->out, -1, 1);
    double *y = zeros(rows * p->out), *dx = zeros(rows * p->in), *bound = zeros(rows * (p->in + p->out));
    for (int64_t i = 0; i < rows * p->in; i++) x[i] = draw_int(0, 30) ? (double)draw_int(-4, 4) : NAN;
    int64_t *tap = fenced((size_t)(rows * p->out) * sizeof *tap);
    for (int64_t j = 0; j < rows * p->out; j++) {
        int64_t best = -1;
        for (int64_t t = 0; t < taps; t++) {
            const int64_t i = input_of(w, j % p->out, t);
            if (i < 0) continue;
            const double a = x[j / p->out * p->in + i];
            if (best < 0 || a > y[j] || (isnan(a) && !isnan(y[j]))) y[j] = a, best = i, tap[j] = t;
        }
        dx[j / p->out * p->in + best] += dy[j];
    }
    for (int64_t j = 0; j < rows * p->in; j++) bound[j] = 2 * (double)taps * epsilon();

    const void *x_buffer = planes_of(x, p->planes, p->in);
    void *y_buffer = buffer(rows * p->out), *indices = buffer(rows * p->out), *dx_buffer = buffer(rows * p->in);
    const double *exact = zeros(rows * p->out);
    RUN(max_pool_forward, w, p->planes, x_buffer, y_buffer, NULL);
    compare("maximum", read_planes(y_buffer, p->planes, p->out), y, exact, rows * p->out);
    RUN(max_pool_forward, w, p->planes, x_buffer, y_buffer, indices);
    compare("maximum", read_planes(y_buffer, p->planes, p->out), y, exact, rows * p->out);
    int first = 1;
    for (int64_t j = 0; j < rows * p->out; j++) {
        const int64_t plane = j / p->out / p->lanes, lane = j / p->out % p->lanes;
        first &= read_index(indices, tensor_at(PYCNN_CHANNELS, p->lanes, p->out, plane, lane, j % p->out)) == tap[j];
    }
    check(first, "each index is that of the first maximum");
    RUN(max_pool_backward, w, p->planes, planes_of(dy, p->planes, p->out), indices, dx_buffer);
    compare("dx", read_planes(dx_buffer, p->planes, p->in), dx, bound, rows * p->in);
}

/* What the average of output o is divided by: taps inside the input, or inside its padding too. */
static double divisor_of(const pool_case *p, pycnn_divisor divisor, int64_t o)
{
    const pycnn_window *w = &p->window;
    double count = 1;
    for (int a = 2; a >= 0; a--) {
        const int64_t before = divisor == PYCNN_TAPS ? 0 : w->before[a];
        const int64_t after = divisor == PYCNN_TAPS ? 0 : p->after[a];
        int64_t taps = 0;
        for (int64_t t = 0; t < w->kernel[a]; t++) {
            const int64_t i = o % w->out[a] * w->stride[a] - w->before[a] + t * w->dilation[a];
            taps += i >= -before && i < w->in[a] + after;
        }
        count *= (double)taps;
        o /= w->out[a];
    }
    return divisor == PYCNN_ONE ? 1 : count;
}

static void test_average(const pool_case *p)
{
    const pycnn_window *w = &p->window;
    const int64_t rows = p->planes * p->lanes, taps = volume(w->kernel);
    const pycnn_divisor divisor = (pycnn_divisor)draw_int(PYCNN_TAPS, PYCNN_ONE);
    const int squared = (int)draw_int(0, 1);
    double *x = numbers(rows * p->in, -1, 1), *dy = numbers(rows * p->out, -1, 1);
    double *y = zeros(rows * p->out), *dx = zeros(rows * p->in);
    double *y_bound = zeros(rows * p->out), *dx_bound = zeros(rows * p->in);
    for (int64_t j = 0; j < rows * p->out; j++) {
        const double d = divisor_of(p, divisor, j % p->out), share = squared ? 1 / (d * d) : 1 / d;
        for (int64_t t = 0; t < taps; t++) {
            const int64_t i = input_of(w, j % p->out, t), at = j / p->out * p->in + i;
            if (i < 0) continue;
            y[j] += x[at] / d, y_bound[j] += fabs(x[at]) / d;
            dx[at] += dy[j] * share, dx_bound[at] += fabs(dy[j]) * share;
        }
    }
    rounding(y_bound, rows * p->out, (double)taps);
    rounding(dx_bound, rows * p->in, (double)taps);
    void *y_buffer = buffer(rows * p->out), *dx_buffer = buffer(rows * p->in);
    RUN(avg_pool_forward, w, p->after, divisor, p->planes, planes_of(x, p->planes, p->in), y_buffer);
    compare("average", read_planes(y_buffer, p->planes, p->out), y, y_bound, rows * p->out);
    RUN(avg_pool_backward, w, p->after, divisor, squared, p->planes, planes_of(dy, p->planes, p->out), dx_buffer);
    compare("dx of average", read_planes(dx_buffer, p->planes, p->in), dx, dx_bound, rows * p->in);
}

static void test_norm(const pool_case *c)
{
    static const double powers[] = {1, 1.5, 2, 4};
    const pycnn_window *w = &c->window;
    const int64_t rows = c->planes * c->lanes, taps = volume(w->kernel);
    const double p = powers[draw_int(0, 3)];
    const int squared = (int)draw_int(0, 1);
    double *x = numbers(rows * c->in, -2, 2), *dy = numbers(rows * c->out, -1, 1);
    double *y = zeros(rows * c->out), *dx = zeros(rows * c->in);
    double *y_bound = zeros(rows * c->out), *dx_bound = zeros(rows * c->in);
    for (int64_t j = 0; j < rows * c->out; j++) {
        for (int64_t t = 0; t < taps; t++) {
            const int64_t i = input_of(w, j % c->out, t);
            if (i >= 0) y[j] += pow(fabs(x[j / c->out * c->in + i]), p);
        }
        y[j] = pow(y[j], 1 / p);
        y_bound[j] = 32 * (double)taps * epsilon() * y[j];
        for (int64_t t = 0; t < taps; t++) {
            const int64_t i = input_of(w, j % c->out, t), at = j / c->out * c->in + i;
            if (i < 0 || y[j] == 0) continue;
            const double slope = x[at] == 0 ? 0 : copysign(pow(fabs(x[at]) / y[j], p - 1), x[at]);
            dx[at] += dy[j] * (squared ? slope * slope : slope);
            dx_bound[at] += 64 * (double)taps * epsilon();
        }
    }
    const void *x_buffer = planes_of(x, c->planes, c->in);
    void *y_buffer = buffer(rows * c->out), *dx_buffer = buffer(rows * c->in);
    RUN(lp_pool_forward, w, p, c->planes, x_buffer, y_buffer);
    compare("p-norm", read_planes(y_buffer, c->planes, c->out), y, y_bound, rows * c->out);
    RUN(lp_pool_backward, w, p, squared, c->planes, planes_of(dy, c->planes, c->out), x_buffer, y_buffer, dx_buffer);
    compare("dx of p-norm", read_planes(dx_buffer, c->planes, c->in), dx, dx_bound, rows * c->in);
}

static void test_unpool(const pool_case *p)
{
    const pycnn_window *w = &p->window;
    const int64_t rows = p->planes * p->lanes, taps = volume(w->kernel);
    double *x = numbers(rows * p->in, -1, 1), *dy = numbers(rows * p->in, -1, 1), *dx = zeros(rows * p->out);
    for (int64_t j = 0; j < rows * p->out; j++) {
        double best = -INFINITY;
        for (int64_t t = 0; t < taps; t++) {
            const int64_t i = input_of(w, j % p->out, t), at = j / p->out * p->in + i;
            if (i >= 0 && x[at] > best) best = x[at], dx[j] = dy[at];
        }
    }
    void *y_buffer = buffer(rows * p->out), *indices = buffer(rows * p->out), *dx_buffer = buffer(rows * p->out);
    RUN(max_pool_forward, w, p->planes, planes_of(x, p->planes, p->in), y_buffer, indices);
    RUN(max_unpool_backward, w, p->planes, planes_of(dy, p->planes, p->in), indices, dx_buffer);
    compare("dx of unpooling", read_planes(dx_buffer, p->planes, p->out), dx, zeros(rows * p->out), rows * p->out);
}

/* A window on one axis none of whose places holds nothing but padding. */
static void draw_axis(int flat, int64_t *in, int64_t *kernel, int64_t *stride, int64_t *before, int64_t *after)
{
    *kernel = flat ? 1 : draw_int(1, 4);
    *in = flat ? 1 : *kernel + draw_int(0, 14);
    *stride = flat ? 1 : draw_int(1, 4);
    *before = draw_int(0, *kernel / 2);
    *after = draw_int(0, *kernel / 2);
}

static void test_windows(int standard)
{
    int64_t in[3] = {1, 8, 9}, kernel[3] = {1, 2, 2}, stride[3] = {1, 2, 2}, dilation[3] = {1, 1, 1};
    int64_t before[3] = {0, 0, 0};
    pool_case p = {.planes = draw_int(1, 6), .lanes = kernels->lanes};
    const int flat = draw_int(0, 3) != 0;
    for (int a = 0; a < 3 && standard != 2; a++) {
        if (standard == 3 && a) kernel[a] = 3, before[a] = p.after[a] = 1, in[a] = 11;
        else if (!standard) draw_axis(flat && a == 0, &in[a], &kernel[a], &stride[a], &before[a], &p.after[a]);
        if (!standard && !draw_int(0, 3) && in[a] > 2 * kernel[a] - 2) dilation[a] = 2;
    }
    p.window = make_window(in, kernel, stride, dilation, before, p.after, (int)draw_int(0, 1));
    p.in = volume(p.window.in), p.out = volume(p.window.out);
    begin_case("pooling of %lldx%lldx%lld, window %lldx%lldx%lld, stride %lldx%lldx%lld", (long long)in[0],
               (long long)in[1], (long long)in[2], (long long)kernel[0], (long long)kernel[1], (long long)kernel[2],
               (long long)stride[0], (long long)stride[1], (long long)stride[2]);
    test_max(&p);
    test_average(&p);
    test_norm(&p);
    test_unpool(&p);
    end_case();
}

void test_pool(void)
{
    test_windows(2);
    test_windows(3);
    for (int i = 0; i < 60; i++) test_windows(0);
}
