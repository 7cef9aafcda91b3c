/* Group normalisation of maps in every layout, local responses, and rectifiers with a slope for each map. */
#include "naive.h"

typedef struct { pycnn_layout layout; int64_t n, c, groups, s; double offset; pycnn_activation f; int accumulate; } group_case;

/* Where the i-th value of sample n's group g is in (N, C, S), and its map. */
static int64_t value_at(const group_case *p, int64_t n, int64_t g, int64_t i)
{
    return (n * p->c + g * (p->c / p->groups)) * p->s + i;
}

static void test_groups(const group_case *p)
{
    const int64_t size = p->n * p->c * p->s, m = p->c / p->groups * p->s;
    const double e = epsilon(), sums_e = 4 * e * sqrt((double)m) + 4 * e, added_variance = 0.125;
    const double weights_e = 4 * e * sqrt((double)(p->n * p->s)) + 8 * e;
    double *x = numbers(size, -2, 2), *dy = numbers(size, -1, 1), *gamma = numbers(p->c, -1, 1), *beta = numbers(p->c, -1, 1);
    double *y = zeros(size), *y_bound = zeros(size), *dx = zeros(size), *dx_bound = zeros(size);
    double *dgamma = numbers(p->c, -1, 1), *dbeta = numbers(p->c, -1, 1);
    double *dgamma_bound = zeros(p->c), *dbeta_bound = zeros(p->c);
    for (int64_t i = 0; i < size; i++) x[i] += p->offset;
    void *dgamma_buffer = buffer_of(dgamma, p->c), *dbeta_buffer = buffer_of(dbeta, p->c);
    for (int64_t c = 0; c < p->c; c++) {
        if (!p->accumulate) dgamma[c] = dbeta[c] = 0;
        dgamma_bound[c] = 4 * e * fabs(dgamma[c]), dbeta_bound[c] = 4 * e * fabs(dbeta[c]);
    }
    for (int64_t n = 0; n < p->n; n++)
        for (int64_t g = 0; g < p->groups; g++) {
            double mean = 0, variance = 0, largest = 0, sum = 0, sum_xhat = 0, size_of_sum = 0;
            for (int64_t i = 0; i < m; i++) {
                const double a = x[value_at(p, n, g, i)];
                mean += a / (double)m, largest = fmax(largest, fabs(a));
            }
            for (int64_t i = 0; i < m; i++) {
                const double d = x[value_at(p, n, g, i)] - mean;
                variance += d * d / (double)m;
            }
            const double inverse = 1 / sqrt(variance + added_variance);
            const double mean_off = 2 * e * largest + 2 * sums_e, relative = 2 * sums_e + 8 * e;
            for (int64_t i = 0; i < m; i++) {
                const int64_t at = value_at(p, n, g, i), c = at / p->s % p->c;
                const double xhat = (x[at] - mean) * inverse, off = mean_off * inverse + relative * fabs(xhat);
                const double before = gamma[c] * xhat + beta[c];
                y[at] = activation_value(p->f, before);
                y_bound[at] = 2 * (fabs(gamma[c]) * off + 4 * e * (fabs(before) + 2));
                sum += gamma[c] * dy[at], sum_xhat += gamma[c] * dy[at] * xhat;
                size_of_sum += fabs(gamma[c] * dy[at]) * (1 + fabs(xhat) + off / e * 1e-3);
                dbeta[c] += dy[at], dgamma[c] += dy[at] * xhat;
                dbeta_bound[c] += weights_e * fabs(dy[at]);
                dgamma_bound[c] += fabs(dy[at]) * (off + weights_e * fabs(xhat));
            }
            for (int64_t i = 0; i < m; i++) {
                const int64_t at = value_at(p, n, g, i), c = at / p->s % p->c;
                const double xhat = (x[at] - mean) * inverse, off = mean_off * inverse + relative * fabs(xhat);
                dx[at] = inverse * (gamma[c] * dy[at] - sum / (double)m - xhat * sum_xhat / (double)m);
                dx_bound[at] = inverse * (relative * (fabs(gamma[c] * dy[at]) + size_of_sum / (double)m * (1 + fabs(xhat)))
                                          + off * (fabs(sum_xhat) + size_of_sum * fabs(xhat)) / (double)m);
            }
        }

    const pycnn_layout layout = p->layout;
    const void *x_buffer = tensor_of(x, layout, p->n, p->c, p->s, 0), *dy_buffer = tensor_of(dy, layout, p->n, p->c, p->s, 1);
    const void *gamma_buffer = buffer_of(gamma, p->c);
    void *statistics = buffer(kernels->group_norm_statistics_size(layout, p->n, p->c, p->groups, p->s));
    void *partial = buffer(kernels->group_norm_partial_size(layout, p->n, p->c, p->groups, p->s));
    const int64_t stored = tensor_size(layout, p->n, p->c, p->s);
    void *y_buffer = buffer(stored), *dx_buffer = buffer(stored);
    RUN(group_norm_forward, layout, p->n, p->c, p->groups, p->s, added_variance, p->f, x_buffer, gamma_buffer,
        buffer_of(beta, p->c), statistics, y_buffer);
    compare("y", read_tensor(y_buffer, layout, p->n, p->c, p->s, 0), y, y_bound, size);
    RUN(group_norm_backward_weights, layout, p->n, p->c, p->groups, p->s, dy_buffer, x_buffer, statistics, partial);
    RUN(group_norm_reduce_weights, layout, p->n, p->c, p->groups, p->s, p->accumulate, partial, dgamma_buffer, dbeta_buffer);
    compare("dgamma", read_buffer(dgamma_buffer, p->c), dgamma, dgamma_bound, p->c);
    compare("dbeta", read_buffer(dbeta_buffer, p->c), dbeta, dbeta_bound, p->c);
    RUN(group_norm_backward_data, layout, p->n, p->c, p->groups, p->s, dy_buffer, x_buffer, statistics, gamma_buffer,
        dx_buffer);
    compare("dx", read_tensor(dx_buffer, layout, p->n, p->c, p->s, 1), dx, dx_bound, size);
    void *over = tensor_of(dy, layout, p->n, p->c, p->s, 1);
    RUN(group_norm_backward_data, layout, p->n, p->c, p->groups, p->s, over, x_buffer, statistics, gamma_buffer, over);
    compare("dx over dy", read_tensor(over, layout, p->n, p->c, p->s, 1), read_tensor(dx_buffer, layout, p->n, p->c, p->s, 1),
            zeros(size), size);
}

static void test_response(int64_t outer, int64_t channels, int64_t inner, pycnn_response r)
{
    begin_case("local response %lldx%lldx%lld, size %lld, beta %g", (long long)outer, (long long)channels, (long long)inner,
               (long long)r.size, r.beta);
    const int64_t size = outer * channels * inner;
    const double e = epsilon();
    double *x = numbers(size, -2, 2), *dy = numbers(size, -1, 1), *d = zeros(size);
    double *y = zeros(size), *y_bound = zeros(size), *dx = zeros(size), *dx_bound = zeros(size);
    const double share = r.alpha / (double)r.size, off = (double)(r.size + 16) * e;
    for (int64_t i = 0; i < size; i++) {
        const int64_t c = i / inner % channels;
        d[i] = r.k;
        for (int64_t j = c - (r.size - 1) / 2; j <= c + r.size / 2; j++)
            if (j >= 0 && j < channels) d[i] += share * x[i + (j - c) * inner] * x[i + (j - c) * inner];
        y[i] = x[i] * pow(d[i], -r.beta);
        y_bound[i] = off * (1 + fabs(log(d[i]))) * fabs(y[i]);
    }
    for (int64_t i = 0; i < size; i++) {
        const int64_t c = i / inner % channels;
        dx[i] = dy[i] * pow(d[i], -r.beta);
        dx_bound[i] = fabs(dx[i]);
        for (int64_t j = c - r.size / 2; j <= c + (r.size - 1) / 2; j++)
            if (j >= 0 && j < channels) {
                const int64_t at = i + (j - c) * inner;
                const double term = 2 * share * r.beta * x[i] * dy[at] * x[at] * pow(d[at], -r.beta - 1);
                dx[i] -= term, dx_bound[i] += fabs(term);
            }
        dx_bound[i] *= off * (1 + log(r.k + r.alpha * 4));
    }
    const void *x_buffer = buffer_of(x, size);
    void *y_buffer = buffer(size), *dx_buffer = buffer(size);
    RUN(local_response_forward, &r, outer, channels, inner, x_buffer, y_buffer);
    compare("y", read_buffer(y_buffer, size), y, y_bound, size);
    RUN(local_response_backward, &r, outer, channels, inner, buffer_of(dy, size), x_buffer, dx_buffer);
    compare("dx", read_buffer(dx_buffer, size), dx, dx_bound, size);
    end_case();
}

static void test_prelu(pycnn_layout layout, int64_t n, int64_t c, int64_t s, int accumulate)
{
    begin_case("prelu: layout %d, n %lld, c %lld, s %lld", (int)layout, (long long)n, (long long)c, (long long)s);
    const int64_t size = n * c * s;
    double *x = numbers(size, -1, 1), *dy = numbers(size, -1, 1), *slope = numbers(c, -1, 1), *dslope = numbers(c, -1, 1);
    double *y = zeros(size), *dx = zeros(size), *bound = zeros(size), *dslope_bound = zeros(c);
    void *dslope_buffer = buffer_of(dslope, c);
    for (int64_t i = 0; i < c; i++) {
        if (!accumulate) dslope[i] = 0;
        dslope_bound[i] = fabs(dslope[i]) + 1;
    }
    for (int64_t i = 0; i < size; i++) {
        const double a = x[i] > 0 ? 1 : slope[i / s % c];
        y[i] = a * x[i], dx[i] = a * dy[i], bound[i] = epsilon();
        if (x[i] <= 0) dslope[i / s % c] += dy[i] * x[i], dslope_bound[i / s % c] += fabs(dy[i] * x[i]);
    }
    rounding(dslope_bound, c, (double)(n * s));
    const void *x_buffer = tensor_of(x, layout, n, c, s, 0), *dy_buffer = tensor_of(dy, layout, n, c, s, 1);
    const void *slope_buffer = buffer_of(slope, c);
    void *y_buffer = buffer(tensor_size(layout, n, c, s)), *dx_buffer = buffer(tensor_size(layout, n, c, s));
    void *partial = buffer(kernels->prelu_partial_size(layout, n, c, s));
    RUN(prelu_forward, layout, n, c, s, x_buffer, slope_buffer, y_buffer);
    compare("y", read_tensor(y_buffer, layout, n, c, s, 0), y, bound, size);
    RUN(prelu_backward, layout, n, c, s, dy_buffer, x_buffer, slope_buffer, dx_buffer, NULL);
    compare("dx", read_tensor(dx_buffer, layout, n, c, s, 1), dx, bound, size);
    RUN(prelu_backward, layout, n, c, s, dy_buffer, x_buffer, slope_buffer, NULL, partial);
    RUN(prelu_reduce_weights, layout, n, c, s, accumulate, partial, dslope_buffer);
    compare("dslope", read_buffer(dslope_buffer, c), dslope, dslope_bound, c);
    end_case();
}

/* f and f' of x as <math.h> has them. */
static double pointwise_value(pycnn_pointwise f, double x)
{
    switch (f.kind) {
    case PYCNN_GELU: return x * erfc(-x / sqrt(2)) / 2;
    case PYCNN_GELU_TANH: return x / (1 + exp(-2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case PYCNN_SILU: return x / (1 + exp(-x));
    case PYCNN_HARD_SIGMOID: return fmin(1, fmax(0, f.a * x + f.b));
    case PYCNN_HARD_SWISH: return x * fmin(1, fmax(0, x / 6 + 0.5));
    case PYCNN_MISH: return x * tanh(log1p(exp(x)));
    case PYCNN_SOFTSIGN: return x / (1 + fabs(x));
    default: return fmin(f.b, fmax(f.a, x));
    }
}

static double pointwise_slope(pycnn_pointwise f, double x)
{
    const double s = 1 / (1 + exp(-x)), root = 0.79788456080286535588;
    switch (f.kind) {
    case PYCNN_GELU: return erfc(-x / sqrt(2)) / 2 + x * exp(-x * x / 2) * root / 2;
    case PYCNN_GELU_TANH: {
        const double t = tanh(root * (x + 0.044715 * x * x * x));
        return (1 + t) / 2 + x / 2 * (1 - t * t) * root * (1 + 0.134145 * x * x);
    }
    case PYCNN_SILU: return s + x * s / (1 + exp(x));
    case PYCNN_HARD_SIGMOID: return f.a * x + f.b > 0 && f.a * x + f.b < 1 ? f.a : 0;
    case PYCNN_HARD_SWISH: return x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5;
    case PYCNN_MISH: {
        const double t = tanh(log1p(exp(x)));
        return t + x * s / (cosh(log1p(exp(x))) * cosh(log1p(exp(x))));
    }
    case PYCNN_SOFTSIGN: return 1 / ((1 + fabs(x)) * (1 + fabs(x)));
    default: return x > f.a && x < f.b;
    }
}

static void test_pointwise(pycnn_pointwise f, int64_t n)
{
    begin_case("function %d of %lld", (int)f.kind, (long long)n);
    double *x = numbers(n, -12, 12), *dy = numbers(n, -1, 1);
    double *y = zeros(n), *dx = zeros(n), *y_bound = zeros(n), *dx_bound = zeros(n);
    for (int64_t i = 0; i < n; i++) {
        const int clipped = f.kind == PYCNN_HARD_SIGMOID || f.kind == PYCNN_HARD_SWISH;
        const int falls = f.kind == PYCNN_GELU || f.kind == PYCNN_GELU_TANH;    /* as e^-x^2/2, whose argument is rounded */
        y[i] = pointwise_value(f, x[i]);
        y_bound[i] = (8 + falls * 4 * x[i] * x[i]) * epsilon() * fabs(y[i]) + (clipped ? 4 * epsilon() : 2e-37);
        dx[i] = dy[i] * pointwise_slope(f, x[i]);
        dx_bound[i] = 16 * epsilon() * fabs(dy[i]);
    }
    const void *x_buffer = buffer_of(x, n);
    void *y_buffer = buffer(n), *dy_buffer = buffer_of(dy, n);
    RUN(pointwise_forward, f, n, x_buffer, y_buffer);
    compare("f(x)", read_buffer(y_buffer, n), y, y_bound, n);
    RUN(pointwise_backward, f, n, dy_buffer, x_buffer, dy_buffer);
    compare("f'", read_buffer(dy_buffer, n), dx, dx_bound, n);
    end_case();
}

void test_sample_norm(void)
{
    static const pycnn_layout layouts[] = {PYCNN_PLAIN, PYCNN_SAMPLES, PYCNN_CHANNELS};
    static const int64_t sizes[][4] = {     /* n, c, groups, s */
        {1, 1, 1, 2}, {2, 3, 3, 5000}, {37, 6, 2, 1}, {5, 40, 4, 3}, {19, 16, 16, 12}, {3, 96, 3, 7}, {2, 35, 5, 4},
        {1, 5000, 1, 1}, {70, 130, 1, 1}, {18, 48, 16, 2}, {40, 4, 2, 300},
    };
    for (int l = 0; l < 3; l++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (int option = 0; option < 2; option++) {
                group_case p = {layouts[l], sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3], option ? 10 : 0,
                                {option ? PYCNN_TANH : PYCNN_IDENTITY, 0}, option};
                if (p.layout == PYCNN_PLAIN) p.c *= p.s, p.s = 1;
                begin_case("group norm: layout %d, n %lld, c %lld, groups %lld, s %lld, offset %g", (int)p.layout,
                           (long long)p.n, (long long)p.c, (long long)p.groups, (long long)p.s, p.offset);
                test_groups(&p);
                end_case();
                if (p.layout == PYCNN_PLAIN || i > 4) test_prelu(p.layout, p.n, p.c, p.s, option);
            }
    for (int i = 0; i < 12; i++) {
        const pycnn_response r = {draw_int(1, 7), 0.5, i % 3 ? 0.75 : 0.6, 1.5};
        test_response(draw_int(1, 3), draw_int(1, 20), i % 4 ? draw_int(1, 50) : 1, r);
    }
    for (int kind = PYCNN_GELU; kind <= PYCNN_CLIP; kind++) {
        const pycnn_pointwise f = {(pycnn_pointwise_kind)kind, kind == PYCNN_CLIP ? -1.25 : 0.1875, 0.5};
        test_pointwise(f, 1);
        test_pointwise(f, 4999);
    }
}
