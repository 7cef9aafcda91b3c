/* A bias for each value of a sample. */
#include "naive.h"

static void test_case(pycnn_layout layout, int64_t n, int64_t elements)
{
    const int64_t size = n * elements;
    const pycnn_activation f = draw_activation();
    double *x = numbers(size, -2, 2), *b = numbers(elements, -2, 2), *dy = numbers(size, -1, 1), *db = numbers(elements, -1, 1);
    double *y = zeros(size), *y_bound = zeros(size), *sum = zeros(elements), *sum_bound = zeros(elements);
    double *total = zeros(elements), *total_bound = zeros(elements);
    for (int64_t i = 0; i < size; i++) {
        y[i] = activation_value(f, x[i] + b[i % elements]);
        y_bound[i] = 16 * epsilon() * (fabs(x[i]) + fabs(b[i % elements]) + 1);
        sum[i % elements] += dy[i], sum_bound[i % elements] += fabs(dy[i]);
    }
    for (int64_t i = 0; i < elements; i++) total[i] = sum[i] + db[i], total_bound[i] = sum_bound[i] + fabs(db[i]);

    void *y_buffer = buffer(tensor_size(layout, n, elements, 1)), *db_buffer = buffer(elements);
    const void *dy_buffer = tensor_of(dy, layout, n, elements, 1, 1);
    RUN(bias_forward, layout, n, elements, f, tensor_of(x, layout, n, elements, 1, 0), buffer_of(b, elements), y_buffer);
    compare("y", read_tensor(y_buffer, layout, n, elements, 1, 0), y, y_bound, size);
    RUN(bias_backward_weights, layout, n, elements, 0, dy_buffer, db_buffer);
    compare("db", read_buffer(db_buffer, elements), sum, rounding(sum_bound, elements, (double)n), elements);
    void *total_buffer = buffer_of(db, elements);
    RUN(bias_backward_weights, layout, n, elements, 1, dy_buffer, total_buffer);
    compare("db added", read_buffer(total_buffer, elements), total, rounding(total_bound, elements, (double)n + 1), elements);
}

void test_bias(void)
{
    const pycnn_layout layouts[] = {PYCNN_PLAIN, PYCNN_SAMPLES};
    for (int i = 0; i < 2; i++)
        for (int trial = 0; trial < 12; trial++) {
            const int64_t n = trial ? draw_int(1, 40) : 1, elements = trial % 4 ? draw_int(1, 90) : draw_int(5000, 9000);
            begin_case("bias: layout %d, n %lld, elements %lld", (int)layouts[i], (long long)n, (long long)elements);
            test_case(layouts[i], n, elements);
            end_case();
        }
}
