/* Softmax, and the losses with their gradients. */
#include "naive.h"

static void test_softmax(int64_t outer, int64_t axis, int64_t inner)
{
    const int64_t n = outer * axis * inner;
    double *x = numbers(n, -6, 6), *dy = numbers(n, -1, 1);
    for (int log = 0; log < 2; log++) {
        begin_case("softmax over %lldx%lldx%lld, log %d", (long long)outer, (long long)axis, (long long)inner, log);
        double *y = zeros(n), *y_bound = zeros(n), *dx = zeros(n), *dx_bound = zeros(n);
        for (int64_t line = 0; line < outer * inner; line++) {
            const int64_t first = line / inner * axis * inner + line % inner;
            double total = 0, sum = 0, size = 0;
#define FOR_LINE(i) for (int64_t i = first, l_ = 0; l_ < axis; i += inner, l_++)
            FOR_LINE(i) total += exp(x[i]);
            FOR_LINE(i) {
                y[i] = log ? x[i] - (double)logl(total) : exp(x[i]) / total;
                y_bound[i] = epsilon() * (log ? 24 : y[i] * (16 + 4 * sqrt((double)axis)));
            }
            FOR_LINE(i) {
                sum += log ? dy[i] : dy[i] * y[i];
                size += fabs(log ? dy[i] : dy[i] * y[i]);
            }
            FOR_LINE(i) {
                const double p = log ? exp(y[i]) : y[i];
                dx[i] = log ? dy[i] - p * sum : p * (dy[i] - sum);
                dx_bound[i] = epsilon() * ((16 + 4 * sqrt((double)axis)) * p * (size + 1) + fabs(dy[i]) * log);
            }
        }
        const void *x_buffer = buffer_of(x, n), *dy_buffer = buffer_of(dy, n);
        void *y_buffer = buffer(n), *dx_buffer = buffer(n);
        RUN(softmax_forward, log, outer, axis, inner, x_buffer, y_buffer);
        compare("y", read_buffer(y_buffer, n), y, y_bound, n);
        RUN(softmax_backward, log, outer, axis, inner, dy_buffer, buffer_of(y, n), dx_buffer);
        /* What rounding y to the kernels' type does to an exponent of up to 20. */
        for (int64_t i = 0; i < n; i++) dx_bound[i] += log ? 20 * epsilon() * (fabs(dx[i]) + fabs(dy[i])) : 0;
        compare("dx", read_buffer(dx_buffer, n), dx, dx_bound, n);
    }
    end_case();
}

static void compare_result(const double *got, double loss, double correct, double size)
{
    const double want[2] = {loss, correct}, bound[2] = {32 * epsilon() * size, 0};
    compare("loss", got, want, bound, 2);
}

static void test_cross_entropy(int64_t n, int64_t classes, int64_t positions)
{
    begin_case("cross entropy of %lldx%lldx%lld", (long long)n, (long long)classes, (long long)positions);
    const int weighted = (int)draw_int(0, 1);
    const double weight = draw(0.5, 2);
    double *s = numbers(n * classes * positions, -5, 5), *of_class = numbers(classes, 0.5, 2);
    double *ds = zeros(n * classes * positions), *bound = zeros(n * classes * positions);
    int64_t *labels = fenced((size_t)(n * positions) * sizeof *labels);
    double loss = 0, correct = 0, total_weight = 0, size = 0, result[2];
    for (int64_t i = 0; i < n * positions; i++) {
        labels[i] = draw_int(0, classes - 1);
        total_weight += weighted ? of_class[labels[i]] : 1;
    }
    for (int64_t i = 0; i < n * positions; i++) {
        const double *si = s + i / positions * classes * positions + i % positions;
        const double share = weight * (weighted ? of_class[labels[i]] : 1) / total_weight;
        double total = 0;
        int64_t top = 0;
        for (int64_t j = 0; j < classes; j++) {
            total += exp(si[j * positions]);
            if (si[j * positions] > si[top * positions]) top = j;
        }
        const double term = share * (log(total) - si[labels[i] * positions]);
        loss += term, size += fabs(term) + 5 * share, correct += top == labels[i];
        for (int64_t j = 0; j < classes; j++) {
            const int64_t at = si - s + j * positions;
            ds[at] = share * (exp(s[at]) / total - (j == labels[i]));
            bound[at] = share * epsilon() * (16 + 4 * sqrt((double)classes));
        }
    }
    const int64_t *labels_pointer = labels;
    const void *weights_pointer = buffer_of(of_class, classes);
    void *ds_buffer = buffer(n * classes * positions);
    RUN(softmax_cross_entropy, n, classes, positions, weight, buffer_of(s, n * classes * positions), &labels_pointer,
        weighted ? &weights_pointer : NULL, ds_buffer, result);
    compare_result(result, loss, correct, size);
    compare("gradient", read_buffer(ds_buffer, n * classes * positions), ds, bound, n * classes * positions);
    end_case();
}

enum { SQUARED, PROBABILITIES, LOGITS };

static void test_of_numbers(int kind, int64_t n)
{
    begin_case("loss %d of %lld numbers", kind, (long long)n);
    const double weight = draw(0.5, 2), share = weight / (double)n;
    double *y = kind == PROBABILITIES ? numbers(n, 0.05, 0.95) : numbers(n, -5, 5), *t = numbers(n, 0, 1);
    double *dy = zeros(n), *bound = zeros(n), loss = 0, size = 0, result[2];
    for (int64_t i = 0; i < n; i++) {
        double term, slope;
        if (kind == SQUARED) term = (y[i] - t[i]) * (y[i] - t[i]), slope = 2 * (y[i] - t[i]);
        else if (kind == PROBABILITIES) {
            term = -t[i] * log(y[i]) - (1 - t[i]) * log1p(-y[i]);
            slope = (y[i] - t[i]) / (y[i] * (1 - y[i]));
        } else {
            term = fmax(y[i], 0) - y[i] * t[i] + log1p(exp(-fabs(y[i])));
            slope = 1 / (1 + exp(-y[i])) - t[i];
        }
        loss += share * term, size += share * (fabs(term) + 5);
        dy[i] = share * slope;
        bound[i] = 8 * epsilon() * share * (fabs(slope) + 1);
    }
    const void *y_buffer = buffer_of(y, n), *t_buffer = buffer_of(t, n);
    void *dy_buffer = buffer(n);
    if (kind == SQUARED) RUN(mean_squared_error, n, weight, y_buffer, &t_buffer, dy_buffer, result);
    else RUN(binary_cross_entropy, kind == LOGITS, n, weight, y_buffer, &t_buffer, dy_buffer, result);
    compare_result(result, loss, 0, size);
    compare("gradient", read_buffer(dy_buffer, n), dy, bound, n);
    end_case();
}

static void test_distance_loss(int64_t n, int64_t classes)
{
    begin_case("distance loss of %lldx%lld", (long long)n, (long long)classes);
    const double weight = draw(0.5, 2), margin = draw(0, 3), share = weight / (double)n;
    double *y = numbers(n * classes, 0, 6), *bound = zeros(n * classes);
    double *dy = zeros(n * classes), *second = zeros(n * classes);
    int64_t *labels = fenced((size_t)n * sizeof *labels);
    double loss = 0, correct = 0, result[2];
    for (int64_t i = 0; i < n; i++) {
        const double *yi = y + i * classes;
        double total = exp(-margin);
        int64_t nearest = 0;
        labels[i] = draw_int(0, classes - 1);
        for (int64_t j = 0; j < classes; j++) {
            total += exp(-yi[j]);
            if (yi[j] < yi[nearest]) nearest = j;
        }
        loss += share * (yi[labels[i]] + log(total)), correct += nearest == labels[i];
        for (int64_t j = 0; j < classes; j++) {
            const double q = exp(-yi[j]) / total;
            dy[i * classes + j] = share * ((j == labels[i]) - q);
            second[i * classes + j] = share * q * (1 - q);
            bound[i * classes + j] = 8 * epsilon() * share;
        }
    }
    const int64_t *labels_pointer = labels;
    const void *y_buffer = buffer_of(y, n * classes);
    void *dy_buffer = buffer(n * classes);
    for (int order = 0; order < 2; order++) {
        RUN(distance_loss, n, classes, weight, margin, order, y_buffer, &labels_pointer, dy_buffer, result);
        compare_result(result, loss, correct, 1 + fabs(loss));
        compare("gradient", read_buffer(dy_buffer, n * classes), order ? second : dy, bound, n * classes);
    }
    end_case();
}

static void test_margin_loss(int64_t n, int64_t classes)
{
    begin_case("margin loss of %lldx%lld", (long long)n, (long long)classes);
    const double weight = draw(0.5, 2), present = draw(0.6, 1), absent = draw(0, 0.4), factor = draw(0.2, 1);
    const double per_sample = weight / (double)n;
    double *y = numbers(n * classes, 0, 1), *bound = zeros(n * classes), *dy = zeros(n * classes);
    int64_t *labels = fenced((size_t)n * sizeof *labels);
    double loss = 0, correct = 0, result[2];
    for (int64_t i = 0; i < n; i++) {
        const double *yi = y + i * classes;
        int64_t longest = 0;
        labels[i] = draw_int(0, classes - 1);
        for (int64_t k = 0; k < classes; k++) {
            const double missing = fmax(0, present - yi[k]), excess = fmax(0, yi[k] - absent);
            if (yi[k] > yi[longest]) longest = k;
            loss += per_sample * (k == labels[i] ? missing * missing : factor * excess * excess);
            dy[i * classes + k] = per_sample * (k == labels[i] ? -2 * missing : 2 * factor * excess);
            bound[i * classes + k] = 4 * epsilon() * per_sample;
        }
        correct += longest == labels[i];
    }
    const int64_t *labels_pointer = labels;
    const void *y_buffer = buffer_of(y, n * classes);
    void *dy_buffer = buffer(n * classes);
    RUN(margin_loss, n, classes, weight, present, absent, factor, y_buffer, &labels_pointer, dy_buffer, result);
    compare_result(result, loss, correct, 1 + loss);
    compare("gradient", read_buffer(dy_buffer, n * classes), dy, bound, n * classes);
    end_case();
}

static void test_total(void)
{
    begin_case("total of losses");
    const double results[6] = {1, 10, 2, 20, 4, 40}, want[2] = {7, 70}, exact[2] = {0, 0};
    double total[2];
    RUN(total_loss, 3, results, total);
    compare("total", total, want, exact, 2);
    end_case();
}

void test_losses(void)
{
    for (int i = 0; i < 12; i++) {
        test_softmax(draw_int(1, 20), draw_int(1, 50), 1);
        test_softmax(draw_int(1, 5), draw_int(1, 20), draw_int(2, 40));
        test_cross_entropy(draw_int(1, 80), draw_int(2, 40), 1);
        test_cross_entropy(draw_int(1, 5), draw_int(2, 20), draw_int(2, 40));
        for (int kind = SQUARED; kind <= LOGITS; kind++) test_of_numbers(kind, draw_int(1, 9000));
        test_distance_loss(draw_int(1, 80), draw_int(2, 12));
        test_margin_loss(draw_int(1, 80), draw_int(2, 12));
    }
    test_total();
}
