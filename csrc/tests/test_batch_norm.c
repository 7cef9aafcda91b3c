/* Batch normalisation of maps in every layout. */
#include "naive.h"

typedef struct { pycnn_layout layout; int64_t n, c, s; double offset; int rectified, adds; } norm_case;

typedef struct { double mean, inverse, unbiased, largest; } map_statistics;

static map_statistics statistics_of(const norm_case *p, const double *x, int64_t c, double variance_added)
{
    const double m = (double)(p->n * p->s);
    map_statistics found = {0};
    for (int64_t i = 0; i < p->n * p->s; i++) {
        const double a = x[(i / p->s * p->c + c) * p->s + i % p->s];
        found.mean += a / m;
        found.largest = fmax(found.largest, fabs(a));
    }
    for (int64_t i = 0; i < p->n * p->s; i++) {
        const double d = x[(i / p->s * p->c + c) * p->s + i % p->s] - found.mean;
        found.unbiased += d * d;
    }
    found.inverse = 1 / sqrt(found.unbiased / m + variance_added);
    found.unbiased /= fmax(1, m - 1);
    return found;
}

static void test_case(const norm_case *p)
{
    const int64_t size = p->n * p->c * p->s, width = tensor_size(PYCNN_CHANNELS, 1, p->c, 1);
    const double m = (double)(p->n * p->s), e = epsilon(), sums_e = 4 * e * sqrt(m), added_variance = 0.125;
    const pycnn_activation f = {p->rectified ? PYCNN_RELU : PYCNN_IDENTITY, 0};
    double *x = numbers(size, -2, 2), *dy = numbers(size, -1, 1), *others = numbers(size, -1, 1);
    double *gamma = numbers(p->c, -1, 1), *beta = numbers(p->c, -1, 1);
    double *y = zeros(size), *y_bound = zeros(size), *dx = zeros(size), *dx_bound = zeros(size);
    double *means = zeros(p->c), *mean_bound = zeros(p->c), *inverses = zeros(p->c), *inverse_bound = zeros(p->c);
    double *unbiased = zeros(p->c), *unbiased_bound = zeros(p->c);
    double *dgamma = zeros(p->c), *dbeta = zeros(p->c), *dgamma_bound = zeros(p->c), *dbeta_bound = zeros(p->c);
    for (int64_t i = 0; i < size; i++) x[i] += p->offset;
    for (int64_t c = 0; c < p->c; c++) {
        const map_statistics t = statistics_of(p, x, c, added_variance);
        means[c] = t.mean, inverses[c] = t.inverse, unbiased[c] = t.unbiased;
        mean_bound[c] = sums_e * (2 + e * t.largest) + 2 * e * t.largest;
        const double relative = sums_e + 8 * e + mean_bound[c] * mean_bound[c];
        inverse_bound[c] = relative * t.inverse, unbiased_bound[c] = relative * (t.unbiased + 1);
        double g_size = 0, gx_size = 0, g_off = 0;
        for (int64_t i = 0; i < p->n * p->s; i++) {
            const int64_t at = (i / p->s * p->c + c) * p->s + i % p->s;
            const double xhat = (x[at] - t.mean) * t.inverse;
            const double off = mean_bound[c] * t.inverse + (relative + 4 * e) * fabs(xhat) + e * t.largest * t.inverse;
            y[at] = gamma[c] * xhat + beta[c];
            y_bound[at] = fabs(gamma[c]) * off + 4 * e * (fabs(y[at]) + 2);
            if (p->rectified && !p->adds) {
                if (fabs(y[at]) <= y_bound[at]) dy[at] = 0;     /* on which side of zero is left to rounding */
                else if (y[at] < 0) dx[at] = NAN;               /* marked: no gradient passes */
            }
            const double g = isnan(dx[at]) ? 0 : dy[at];
            dbeta[c] += g, dgamma[c] += g * xhat;
            g_size += fabs(g), gx_size += fabs(g * xhat), g_off += fabs(g) * off;
        }
        dbeta_bound[c] = (sums_e + e) * g_size, dgamma_bound[c] = (sums_e + e) * (gx_size + g_size) + g_off;
        for (int64_t i = 0; i < p->n * p->s; i++) {
            const int64_t at = (i / p->s * p->c + c) * p->s + i % p->s;
            const double xhat = (x[at] - t.mean) * t.inverse, g = isnan(dx[at]) ? 0 : dy[at];
            const double off = mean_bound[c] * t.inverse + (relative + 4 * e) * fabs(xhat) + e * t.largest * t.inverse;
            dx[at] = gamma[c] * t.inverse * (g - dbeta[c] / m - xhat * dgamma[c] / m);
            const double slope = fabs(gamma[c]) * t.inverse;
            dx_bound[at] = slope * (dbeta_bound[c] + fabs(xhat) * dgamma_bound[c] + off * fabs(dgamma[c])) / m
                         + (relative + 16 * e) * slope * (fabs(g) + fabs(dbeta[c] / m) + fabs(xhat * dgamma[c] / m));
            if (p->adds) y[at] += others[at], y_bound[at] += 2 * e * fabs(y[at]);
            if (p->rectified) y[at] = fmax(0, y[at]);
        }
    }

    const int64_t partial_size = kernels->batch_norm_partial_size(p->layout, p->n, p->c, p->s);
    const void *x_buffer = tensor_of(x, p->layout, p->n, p->c, p->s, 0);
    const void *dy_buffer = tensor_of(dy, p->layout, p->n, p->c, p->s, 1);
    const void *added = p->adds ? tensor_of(others, p->layout, p->n, p->c, p->s, 0) : NULL;
    const void *gamma_buffer = buffer_of(gamma, p->c), *beta_buffer = buffer_of(beta, p->c);
    void *partial = buffer(partial_size), *statistics = buffer(3 * width), *sums = buffer(2 * width);
    const int64_t stored = tensor_size(p->layout, p->n, p->c, p->s);
    void *y_buffer = buffer(stored), *dx_buffer = buffer(stored);
    RUN(batch_norm_sums, p->layout, p->n, p->c, p->s, x_buffer, partial);
    RUN(batch_norm_statistics, p->layout, p->n, p->c, p->s, added_variance, partial, statistics);
    const double *found = read_buffer(statistics, 3 * width);
    compare("mean", found, means, mean_bound, p->c);
    compare("inverse deviation", found + width, inverses, inverse_bound, p->c);
    compare("unbiased variance", found + 2 * width, unbiased, unbiased_bound, p->c);
    RUN(batch_norm_forward, p->layout, p->n, p->c, p->s, f, x_buffer, statistics, gamma_buffer, beta_buffer, added, y_buffer);
    compare("y", read_tensor(y_buffer, p->layout, p->n, p->c, p->s, 0), y, y_bound, size);

    const int masks = p->rectified && !p->adds;
    void *dgamma_buffer = buffer(p->c), *dbeta_buffer = buffer(p->c);
    RUN(batch_norm_backward_sums, p->layout, p->n, p->c, p->s, masks, dy_buffer, x_buffer, statistics, gamma_buffer,
        beta_buffer, partial);
    RUN(batch_norm_backward_weights, p->layout, p->n, p->c, p->s, 0, partial, statistics, sums, dgamma_buffer, dbeta_buffer);
    RUN(batch_norm_backward_data, p->layout, p->n, p->c, p->s, masks, dy_buffer, x_buffer, statistics, gamma_buffer,
        beta_buffer, sums, dx_buffer);
    compare("dgamma", read_buffer(dgamma_buffer, p->c), dgamma, dgamma_bound, p->c);
    compare("dbeta", read_buffer(dbeta_buffer, p->c), dbeta, dbeta_bound, p->c);
    compare("dx", read_tensor(dx_buffer, p->layout, p->n, p->c, p->s, 1), dx, dx_bound, size);
}

/* Running averages, and what becomes of them: the same numbers folded into weights. */
static void test_running(int64_t c, int64_t values, double guard)
{
    const int64_t width = tensor_size(PYCNN_CHANNELS, 1, c, 1);
    const double scale = 1, momentum = 0.25;
    double *statistics = numbers(3 * width, 0.5, 2), *mean = numbers(c, -1, 1), *variance = numbers(c, 0.5, 2);
    double *bound = zeros(c), *inverse = zeros(c);
    void *mean_buffer = buffer_of(mean, c), *variance_buffer = buffer_of(variance, c), *known = buffer(3 * width);
    RUN(batch_norm_running, c, values, momentum, buffer_of(statistics, 3 * width), &guard, &scale, mean_buffer,
        variance_buffer);
    for (int64_t i = 0; i < c; i++) {
        if (isfinite(guard)) mean[i] += momentum * (statistics[i] - mean[i]);
        if (isfinite(guard) && values > 1) variance[i] += momentum * (statistics[2 * width + i] - variance[i]);
        bound[i] = 16 * epsilon();
        inverse[i] = 1 / sqrt(variance[i] + 0.5);
    }
    compare("running mean", read_buffer(mean_buffer, c), mean, bound, c);
    compare("running variance", read_buffer(variance_buffer, c), variance, bound, c);
    RUN(batch_norm_known, c, 0.5, mean_buffer, variance_buffer, known);
    compare("known mean", read_buffer(known, c), mean, bound, c);
    compare("known inverse deviation", read_buffer(known, 2 * width) + width, inverse, bound, c);

    const int64_t per_filter = 1 + c % 5;
    double *w = numbers(c * per_filter, -1, 1), *bias = numbers(c, -1, 1);
    double *gamma = numbers(c, -1, 1), *beta = numbers(c, -1, 1);
    double *folded = zeros(c * per_filter), *folded_bias = zeros(c), *folded_bound = zeros(c * per_filter);
    for (int64_t i = 0; i < c * per_filter; i++) {
        folded[i] = gamma[i / per_filter] * inverse[i / per_filter] * w[i];
        folded_bound[i] = 32 * epsilon();
    }
    for (int64_t i = 0; i < c; i++) {
        folded_bias[i] = beta[i] + gamma[i] * inverse[i] * (bias[i] - mean[i]);
        bound[i] = 64 * epsilon();
    }
    void *w_buffer = buffer(c * per_filter), *bias_buffer = buffer(c);
    RUN(batch_norm_fold, c, per_filter, known, buffer_of(gamma, c), buffer_of(beta, c), buffer_of(w, c * per_filter),
        buffer_of(bias, c), w_buffer, bias_buffer);
    compare("folded weights", read_buffer(w_buffer, c * per_filter), folded, folded_bound, c * per_filter);
    compare("folded bias", read_buffer(bias_buffer, c), folded_bias, bound, c);
}

void test_batch_norm(void)
{
    static const pycnn_layout layouts[] = {PYCNN_PLAIN, PYCNN_SAMPLES, PYCNN_CHANNELS};
    static const int64_t sizes[][3] = {
        {1, 1, 2}, {1, 3, 5000}, {37, 5, 1}, {600, 19, 1}, {3, 33, 7}, {19, 16, 12}, {2, 8, 300},
    };
    for (int l = 0; l < 3; l++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (int option = 0; option < 4; option++) {
                norm_case p = {layouts[l], sizes[i][0], sizes[i][1], sizes[i][2], option == 3 ? 10 : 0, option & 1,
                               option >> 1};
                if (p.layout == PYCNN_PLAIN) p.n *= p.s, p.s = 1;
                begin_case("batch norm: layout %d, n %lld, c %lld, s %lld, offset %g%s%s", (int)p.layout, (long long)p.n,
                           (long long)p.c, (long long)p.s, p.offset, p.rectified ? ", rectified" : "", p.adds ? ", adds" : "");
                test_case(&p);
                end_case();
            }
    const double guards[] = {0.5, NAN};
    for (int i = 0; i < 4; i++) {
        begin_case("running averages %d", i);
        test_running(1 + 18 * (i / 2), 1 + 30 * (i % 2), guards[i / 3]);
        end_case();
    }
}
