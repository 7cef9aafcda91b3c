/* Convolutions whose weights are not the same everywhere. */
#include "naive.h"

static pycnn_local drawn_local(void)
{
    int64_t in[3], kernel[3], stride[3], dilation[3], before[3], after[3];
    const int rank = (int)draw_int(1, 3), wide = draw_int(0, 5) == 0;
    for (int a = 0; a < 3; a++) {
        const int one = a < 3 - rank;
        kernel[a] = one ? 1 : draw_int(1, 4), stride[a] = one ? 1 : draw_int(1, 3);
        dilation[a] = one ? 1 : draw_int(1, 2);
        const int64_t span = (kernel[a] - 1) * dilation[a];
        in[a] = one ? 1 : span + draw_int(1, a == 3 - rank && wide ? 40 : 5);
        before[a] = one ? 0 : draw_int(0, span + 1), after[a] = one ? 0 : draw_int(0, span + 1);
    }
    pycnn_local p = {.n = draw_int(1, 40), .c = draw_int(1, 5), .k = draw_int(1, 5)};
    if (draw_int(0, 3) == 0) p.c = draw_int(6, 20);
    if (draw_int(0, 3) == 0) p.k = draw_int(6, 20);
    p.window = make_window(in, kernel, stride, dilation, before, after, 0);
    const int each = draw_int(0, 1);
    for (int a = 0; a < 3; a++) p.sections[a] = each ? p.window.out[a] : draw_int(1, p.window.out[a]);
    return p;
}

/* The number of the part in which position `at` of n lies. */
static int64_t part_of(int64_t at, int64_t n, int64_t parts)
{
    int64_t part = 0;
    while (n * (part + 1) / parts <= at) part++;
    return part;
}

static int64_t section_of(const pycnn_local *p, int64_t o)
{
    const int64_t *out = p->window.out;
    const int64_t d = part_of(o / out[2] / out[1], out[0], p->sections[0]);
    const int64_t h = part_of(o / out[2] % out[1], out[1], p->sections[1]);
    return (d * p->sections[1] + h) * p->sections[2] + part_of(o % out[2], out[2], p->sections[2]);
}

/* Adds to one array what the other two make of it, term by term. */
static void local_terms(const pycnn_local *p, direction d, double *x, double *w, double *y)
{
    const int64_t in = volume(p->window.in), out = volume(p->window.out), taps = volume(p->window.kernel);
    const int64_t sections = volume(p->sections);
    for (int64_t o = 0; o < out; o++) {
        const int64_t section = section_of(p, o);
        for (int64_t t = 0; t < taps; t++) {
            const int64_t i = input_of(&p->window, o, t);
            for (int64_t j = 0; i >= 0 && j < p->n * p->k * p->c; j++) {
                const int64_t n = j / p->c / p->k, k = j / p->c % p->k, c = j % p->c;
                double *ye = y + (n * p->k + k) * out + o, *xe = x + (n * p->c + c) * in + i;
                double *we = w + ((k * sections + section) * p->c + c) * taps + t;
                if (d == FORWARD) *ye += *we * *xe;
                else if (d == BACKWARD_DATA) *xe += *we * *ye;
                else *we += *ye * *xe;
            }
        }
    }
}

static void test_case(void)
{
    const pycnn_local p = drawn_local();
    const int64_t in = volume(p.window.in), out = volume(p.window.out), taps = volume(p.window.kernel);
    const int64_t sections = volume(p.sections), nx = p.n * p.c * in, ny = p.n * p.k * out, nb = p.k * sections;
    const int64_t nw = nb * p.c * taps;
    begin_case("local connections, %lld samples, %lld -> %lld maps, %lld taps, %lld positions in %lld sections",
               (long long)p.n, (long long)p.c, (long long)p.k, (long long)taps, (long long)out, (long long)sections);
    double *x = numbers(nx, -1, 1), *w = numbers(nw, -1, 1), *dy = numbers(ny, -1, 1), *bias = numbers(nb, -1, 1);
    double *x_size = magnitudes(x, nx), *w_size = magnitudes(w, nw), *dy_size = magnitudes(dy, ny);
    const void *x_buffer = tensor_of(x, PYCNN_SAMPLES, p.n, p.c, in, 0), *w_buffer = buffer_of(w, nw);
    const void *dy_buffer = tensor_of(dy, PYCNN_SAMPLES, p.n, p.k, out, 1);

    const pycnn_activation f = draw_activation();
    const int biased = (int)draw_int(0, 1);
    double *y = zeros(ny), *bound = zeros(ny);
    local_terms(&p, FORWARD, x, w, y);
    local_terms(&p, FORWARD, x_size, w_size, bound);
    rounding(bound, ny, (double)(taps * p.c + 1));
    for (int64_t i = 0; i < ny; i++) {
        const int64_t k = i / out % p.k;
        y[i] = activation_value(f, y[i] + (biased ? bias[k * sections + section_of(&p, i % out)] : 0));
        bound[i] = 1.2 * bound[i] + 8 * epsilon() * fmax(1, fabs(y[i]));
    }
    void *y_buffer = buffer(tensor_size(PYCNN_SAMPLES, p.n, p.k, out));
    RUN(local_forward, &p, f, x_buffer, w_buffer, biased ? buffer_of(bias, nb) : NULL, y_buffer);
    compare("y", read_tensor(y_buffer, PYCNN_SAMPLES, p.n, p.k, out, 0), y, bound, ny);

    const pycnn_activation g = draw_activation();
    double *dx = zeros(nx), *dx_bound = zeros(nx), *values = numbers(nx, -0.9, 0.9);
    local_terms(&p, BACKWARD_DATA, dx, w, dy);
    local_terms(&p, BACKWARD_DATA, dx_bound, w_size, dy_size);
    rounding(dx_bound, nx, (double)(taps * p.k));
    for (int64_t i = 0; i < nx; i++) {
        const double slope = activation_slope(g, values[i]);
        dx_bound[i] = fmax(1, fabs(slope)) * dx_bound[i] + 8 * epsilon() * fabs(dx[i]);
        dx[i] *= slope;
    }
    void *dx_buffer = buffer(tensor_size(PYCNN_SAMPLES, p.n, p.c, in));
    RUN(local_backward_data, &p, g, dy_buffer, w_buffer, tensor_of(values, PYCNN_SAMPLES, p.n, p.c, in, 0), dx_buffer);
    compare("dx", read_tensor(dx_buffer, PYCNN_SAMPLES, p.n, p.c, in, 1), dx, dx_bound, nx);

    const int accumulate = (int)draw_int(0, 1);
    uint8_t *learns = fenced((size_t)p.k);
    for (int64_t k = 0; k < p.k; k++) learns[k] = draw_int(0, 3) != 0;
    const uint8_t *flags = draw_int(0, 1) ? learns : NULL;
    double *dw = zeros(nw), *dw_bound = zeros(nw), *db = zeros(nb), *db_bound = zeros(nb);
    local_terms(&p, BACKWARD_WEIGHTS, x, dw, dy);
    local_terms(&p, BACKWARD_WEIGHTS, x_size, dw_bound, dy_size);
    for (int64_t i = 0; i < ny; i++) {
        const int64_t at = i / out % p.k * sections + section_of(&p, i % out);
        db[at] += dy[i], db_bound[at] += dy_size[i];
    }
    rounding(dw_bound, nw, (double)(p.n * out));
    rounding(db_bound, nb, (double)(p.n * out));
    double *dw_was = numbers(nw, -1, 1), *db_was = numbers(nb, -1, 1);
    void *dw_buffer = buffer_of(dw_was, nw), *db_buffer = buffer_of(db_was, nb);
    RUN(local_backward_weights, &p, accumulate, flags, dy_buffer, x_buffer, dw_buffer, db_buffer);
    for (int64_t i = 0; i < nw; i++) {
        dw_bound[i] += 2 * epsilon();
        if (!flags || flags[i / (nw / p.k)]) dw_was[i] = dw[i] + (accumulate ? dw_was[i] : 0);
    }
    for (int64_t i = 0; i < nb; i++) {
        db_bound[i] += 2 * epsilon();
        if (!flags || flags[i / sections]) db_was[i] = db[i] + (accumulate ? db_was[i] : 0);
    }
    compare("dw", read_buffer(dw_buffer, nw), dw_was, dw_bound, nw);
    compare("db", read_buffer(db_buffer, nb), db_was, db_bound, nb);
    end_case();
}

void test_local(void)
{
    for (int i = 0; i < 40; i++) test_case();
}
