/* Squashing, lengths and masks of capsules, and routing by agreement, in lanes of samples. */
#include "naive.h"

/* squash(s) of `size` coordinates, and the derivative along ds. */
static void naive_squash(int64_t size, const double *s, double *v)
{
    double square = 0;
    for (int64_t d = 0; d < size; d++) square += s[d] * s[d];
    for (int64_t d = 0; d < size; d++) v[d] = square ? sqrt(square) / (1 + square) * s[d] : 0;
}

static void naive_squash_gradient(int64_t size, const double *dv, const double *s, double *ds)
{
    double square = 0, along = 0;
    for (int64_t d = 0; d < size; d++) square += s[d] * s[d], along += s[d] * dv[d];
    const double length = sqrt(square), slope = square ? (1 - square) / (length * (1 + square) * (1 + square)) : 0;
    for (int64_t d = 0; d < size; d++) ds[d] = length / (1 + square) * dv[d] + slope * along * s[d];
}

/* Bounds of `factor` roundings of the largest number. */
static double *bounds(const double *a, int64_t n, double factor)
{
    double *bound = zeros(n), most = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(a[i]));
    for (int64_t i = 0; i < n; i++) bound[i] = factor * epsilon() * fmax(1e-3, most);
    return bound;
}

static int64_t blocks_of(int64_t n) { return (n + kernels->lanes - 1) / kernels->lanes; }

static void test_squash(int64_t n, int64_t kinds, int64_t size, int64_t positions)
{
    begin_case("squash of %lld: %lld kinds of %lld in %lld positions", (long long)n, (long long)kinds, (long long)size,
               (long long)positions);
    const int64_t count = n * kinds * positions, groups = blocks_of(n) * kinds;
    double *x = numbers(count * size, -2, 2), *dy = numbers(count * size, -1, 1);
    double *y = zeros(count * size), *dx = zeros(count * size), *s = zeros(size), *ds = zeros(size);
    for (int64_t i = 0; i < size; i++) x[i * positions] = 0;       /* a capsule of length zero */
    for (int64_t c = 0; c < count; c++) {
        double *first = x + c / positions * size * positions + c % positions;
        for (int64_t d = 0; d < size; d++) s[d] = first[d * positions];
        naive_squash(size, s, y + c * size);
        naive_squash_gradient(size, dy + c * size, s, ds);
        for (int64_t d = 0; d < size; d++) dx[first - x + d * positions] = ds[d];
    }
    const void *x_buffer = tensor_of(x, PYCNN_SAMPLES, n, kinds * size, positions, 0);
    const void *dy_buffer = tensor_of(dy, PYCNN_SAMPLES, n, kinds * positions, size, 1);
    void *y_buffer = buffer(tensor_size(PYCNN_SAMPLES, n, kinds * size, positions));
    void *dx_buffer = buffer(tensor_size(PYCNN_SAMPLES, n, kinds * size, positions));
    RUN(squash_forward, groups, size, positions, x_buffer, y_buffer);
    RUN(squash_backward, groups, size, positions, dy_buffer, x_buffer, dx_buffer);
    compare("y", read_tensor(y_buffer, PYCNN_SAMPLES, n, kinds * positions, size, 0), y, bounds(y, count * size, 64),
            count * size);
    compare("dx", read_tensor(dx_buffer, PYCNN_SAMPLES, n, kinds * size, positions, 1), dx,
            bounds(dx, count * size, 64), count * size);
    end_case();
}

static void test_length(int64_t n, int64_t capsules, int64_t size)
{
    begin_case("length of %lldx%lldx%lld", (long long)n, (long long)capsules, (long long)size);
    const int64_t count = n * capsules, groups = blocks_of(n) * capsules;
    double *x = numbers(count * size, -2, 2), *dy = numbers(count, -1, 1), *y = zeros(count), *dx = zeros(count * size);
    for (int64_t d = 0; d < size; d++) x[d] = 0;
    for (int64_t c = 0; c < count; c++) {
        for (int64_t d = 0; d < size; d++) y[c] += x[c * size + d] * x[c * size + d];
        y[c] = sqrt(y[c]);
        for (int64_t d = 0; d < size; d++) dx[c * size + d] = y[c] ? dy[c] * x[c * size + d] / y[c] : 0;
    }
    const void *x_buffer = tensor_of(x, PYCNN_SAMPLES, n, capsules, size, 0);
    const void *dy_buffer = tensor_of(dy, PYCNN_SAMPLES, n, capsules, 1, 1);
    void *y_buffer = buffer(tensor_size(PYCNN_SAMPLES, n, capsules, 1));
    void *dx_buffer = buffer(tensor_size(PYCNN_SAMPLES, n, capsules, size));
    RUN(length_forward, groups, size, x_buffer, y_buffer);
    RUN(length_backward, groups, size, dy_buffer, x_buffer, dx_buffer);
    compare("y", read_tensor(y_buffer, PYCNN_SAMPLES, n, capsules, 1, 0), y, bounds(y, count, 16), count);
    compare("dx", read_tensor(dx_buffer, PYCNN_SAMPLES, n, capsules, size, 1), dx, bounds(dx, count * size, 16),
            count * size);
    end_case();
}

static void test_mask(int64_t n, int64_t capsules, int64_t size, int named)
{
    begin_case("mask of %lldx%lldx%lld, named %d", (long long)n, (long long)capsules, (long long)size, named);
    const int64_t total = n * capsules * size;
    double *x = numbers(total, -2, 2), *dy = numbers(total, -1, 1), *target = zeros(n * capsules);
    double *y = zeros(total), *dx = zeros(total), *exact = zeros(total);
    int64_t *kept = fenced((size_t)n * sizeof *kept);
    for (int64_t i = 0; i < n; i++) {
        const int64_t name = named ? draw_int(-1, capsules - 1) : -1;
        double longest = -1;
        kept[i] = 0;
        for (int64_t j = 0; j < capsules; j++) {
            double square = 0;
            for (int64_t k = (i * capsules + j) * size, d = 0; d < size; d++, k++) square += x[k] * x[k];
            if (square > longest) longest = square, kept[i] = j;
        }
        if (name >= 0) target[i * capsules + name] = 1, kept[i] = name;
        for (int64_t k = (i * capsules + kept[i]) * size, d = 0; d < size; d++, k++) y[k] = x[k], dx[k] = dy[k];
    }
    const void *target_buffer = named ? tensor_of(target, PYCNN_SAMPLES, n, capsules, 1, 0) : NULL;
    void *y_buffer = buffer(tensor_size(PYCNN_SAMPLES, n, capsules, size));
    void *dx_buffer = buffer(tensor_size(PYCNN_SAMPLES, n, capsules, size));
    void *kept_buffer = buffer(blocks_of(n) * kernels->lanes);
    const void *x_buffer = tensor_of(x, PYCNN_SAMPLES, n, capsules, size, 0);
    const void *dy_buffer = tensor_of(dy, PYCNN_SAMPLES, n, capsules, size, 1);
    RUN(mask_forward, n, capsules, size, x_buffer, target_buffer, y_buffer, kept_buffer);
    RUN(mask_backward, n, capsules, size, dy_buffer, kept_buffer, dx_buffer);
    for (int64_t i = 0; i < n; i++) check(read_index(kept_buffer, i) == kept[i], "the capsule that is kept");
    compare("y", read_tensor(y_buffer, PYCNN_SAMPLES, n, capsules, size, 0), y, exact, total);
    compare("dx", read_tensor(dx_buffer, PYCNN_SAMPLES, n, capsules, size, 1), dx, exact, total);
    end_case();
}

/* ---- routing: procedure 1 of the paper as it stands, and the chain rule ------------------------------------------ */

/* Of one sample: votes of all i; b and c (R, I, J), s and v (R, J, D); and the gradients that pass between iterations. */
typedef struct { double *votes, *b, *c, *s, *v, *dvotes, *db, *dc, *ds, *passed; } routed;

static routed route_of(const pycnn_routing *p)
{
    const int64_t pairs = p->inputs * p->outputs, depth = p->out_size, out = p->outputs * depth;
    return (routed){zeros(pairs * depth), zeros((p->iterations + 1) * pairs), zeros(p->iterations * pairs),
                    zeros(p->iterations * out), zeros(p->iterations * out), zeros(pairs * depth), zeros(pairs), zeros(pairs),
                    zeros(out), zeros(out)};
}

static void clear(double *a, int64_t n) { memset(a, 0, (size_t)n * sizeof *a); }

static void route(const pycnn_routing *p, const double *u, const double *w, routed r)
{
    const int64_t pairs = p->inputs * p->outputs, depth = p->out_size, out = p->outputs * depth;
    clear(r.votes, pairs * depth), clear(r.b, pairs), clear(r.s, p->iterations * out);
    for (int64_t row = 0; row < pairs * depth; row++)
        for (int64_t e = 0; e < p->in_size; e++)
            r.votes[row] += w[row * p->in_size + e] * u[row / out * p->in_size + e];
    for (int64_t t = 0; t < p->iterations; t++) {
        const double *b = r.b + t * pairs;
        double *c = r.c + t * pairs, *next = r.b + (t + 1) * pairs;
        for (int64_t i = 0; i < p->inputs; i++) {
            double total = 0;
            for (int64_t j = 0; j < p->outputs; j++) total += exp(b[i * p->outputs + j]);
            for (int64_t j = 0; j < p->outputs; j++) c[i * p->outputs + j] = exp(b[i * p->outputs + j]) / total;
        }
        for (int64_t row = 0; row < pairs * depth; row++) r.s[t * out + row % out] += c[row / depth] * r.votes[row];
        for (int64_t j = 0; j < out; j += depth) naive_squash(depth, r.s + t * out + j, r.v + t * out + j);
        for (int64_t k = 0; k < pairs; k++) next[k] = b[k];
        for (int64_t row = 0; row < pairs * depth; row++) next[row / depth] += r.votes[row] * r.v[t * out + row % out];
    }
}

/* Adds one sample's share of dw; du is of that sample. */
static void route_back(const pycnn_routing *p, const double *dv, const double *u, const double *w, routed r,
                       double *du, double *dw)
{
    const int64_t pairs = p->inputs * p->outputs, depth = p->out_size, out = p->outputs * depth;
    clear(r.dvotes, pairs * depth), clear(r.db, pairs);
    for (int64_t t = p->iterations - 1; t >= 0; t--) {
        const double *c = r.c + t * pairs, *v = r.v + t * out;
        for (int64_t k = 0; k < out; k++) r.passed[k] = t == p->iterations - 1 ? dv[k] : 0;
        for (int64_t row = 0; t < p->iterations - 1 && row < pairs * depth; row++) {
            r.passed[row % out] += r.db[row / depth] * r.votes[row];
            r.dvotes[row] += r.db[row / depth] * v[row % out];
        }
        for (int64_t j = 0; j < p->outputs; j++)
            naive_squash_gradient(depth, r.passed + j * depth, r.s + t * out + j * depth, r.ds + j * depth);
        clear(r.dc, pairs);
        for (int64_t row = 0; row < pairs * depth; row++) {
            r.dvotes[row] += c[row / depth] * r.ds[row % out];
            r.dc[row / depth] += r.votes[row] * r.ds[row % out];
        }
        for (int64_t i = 0; i < p->inputs; i++) {
            double mean = 0;
            for (int64_t k = i * p->outputs; k < (i + 1) * p->outputs; k++) mean += c[k] * r.dc[k];
            for (int64_t k = i * p->outputs; k < (i + 1) * p->outputs; k++) r.db[k] += c[k] * (r.dc[k] - mean);
        }
    }
    for (int64_t row = 0; row < pairs * depth; row++)
        for (int64_t e = 0; e < p->in_size; e++) {
            du[row / out * p->in_size + e] += w[row * p->in_size + e] * r.dvotes[row];
            dw[row * p->in_size + e] += r.dvotes[row] * u[row / out * p->in_size + e];
        }
}

static void test_routing(const pycnn_routing *p, int accumulate)
{
    begin_case("routing of %lld: %lldx%lld to %lldx%lld, %lld iterations, accumulate %d", (long long)p->n,
               (long long)p->inputs, (long long)p->in_size, (long long)p->outputs, (long long)p->out_size,
               (long long)p->iterations, accumulate);
    const int64_t in = p->inputs * p->in_size, out = p->outputs * p->out_size, weights = in * out;
    const double reach = 2 / sqrt((double)p->in_size);
    double *u = numbers(p->n * in, -1, 1), *w = numbers(weights, -reach, reach), *dv = numbers(p->n * out, -1, 1);
    double *v = zeros(p->n * out), *du = zeros(p->n * in), *before = numbers(weights, -1, 1), *dw = zeros(weights);
    for (int64_t k = 0; accumulate && k < weights; k++) dw[k] = before[k];
    const routed r = route_of(p);
    for (int64_t i = 0; i < p->n; i++) {
        route(p, u + i * in, w, r);
        memcpy(v + i * out, r.v + (p->iterations - 1) * out, (size_t)out * sizeof *v);
        route_back(p, dv + i * out, u + i * in, w, r, du + i * in, dw);
    }
    const int64_t state = blocks_of(p->n) * kernels->lanes * p->iterations * out;
    const void *u_buffer = tensor_of(u, PYCNN_SAMPLES, p->n, p->inputs, p->in_size, 0);
    const void *w_buffer = buffer_of(w, weights);
    const void *dv_buffer = tensor_of(dv, PYCNN_SAMPLES, p->n, p->outputs, p->out_size, 1);
    void *sums = buffer(state), *traces = buffer(2 * state), *dw_buffer = buffer_of(before, weights);
    void *v_buffer = buffer(tensor_size(PYCNN_SAMPLES, p->n, p->outputs, p->out_size));
    void *du_buffer = buffer(tensor_size(PYCNN_SAMPLES, p->n, p->inputs, p->in_size));
    RUN(route_forward, p, u_buffer, w_buffer, sums, traces, v_buffer);
    compare("v", read_tensor(v_buffer, PYCNN_SAMPLES, p->n, p->outputs, p->out_size, 0), v, bounds(v, p->n * out, 512),
            p->n * out);
    RUN(route_backward, p, dv_buffer, u_buffer, w_buffer, sums, traces);
    RUN(route_gradients, p, 0, u_buffer, w_buffer, traces, du_buffer, NULL);
    compare("du", read_tensor(du_buffer, PYCNN_SAMPLES, p->n, p->inputs, p->in_size, 1), du,
            bounds(du, p->n * in, 2048), p->n * in);
    RUN(route_gradients, p, accumulate, u_buffer, w_buffer, traces, NULL, dw_buffer);
    compare("dw", read_buffer(dw_buffer, weights), dw, bounds(dw, weights, 2048), weights);
    end_case();
}

void test_capsules(void)
{
    for (int i = 0; i < 8; i++) {
        test_squash(draw_int(1, 40), draw_int(1, 5), draw_int(1, 9), i % 2 ? 1 : draw_int(2, 12));
        test_length(draw_int(1, 40), draw_int(1, 12), draw_int(1, 17));
        test_mask(draw_int(1, 40), draw_int(1, 12), draw_int(1, 17), i % 2);
    }
    const pycnn_routing cases[] = {
        {1, 1, 1, 1, 1, 1}, {1, 5, 8, 3, 16, 3}, {19, 7, 8, 10, 16, 3}, {150, 3, 8, 4, 16, 2}, {33, 6, 5, 3, 31, 4},
        {16, 12, 3, 17, 7, 3}, {7, 2, 20, 2, 2, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) test_routing(&cases[i], (int)(i % 2));
}
