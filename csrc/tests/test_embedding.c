/* Embedding in every layout: gathered rows, and the sums of gradients that fall on each. */
#include "naive.h"

typedef struct { pycnn_layout layout; int64_t n, s, vocabulary, dimension, padding; } embedding_case;

static void test_case(const embedding_case *p)
{
    const int64_t size = p->n * p->dimension * p->s, table = p->vocabulary * p->dimension;
    double *ids = zeros(p->n * p->s), *w = numbers(table, -1, 1), *dy = numbers(size, -1, 1);
    double *y = zeros(size), *dw = numbers(table, -1, 1), *exact = zeros(size), *bound = magnitudes(dw, table);
    void *dw_buffer = buffer_of(dw, table);
    for (int64_t i = 0; i < p->n * p->s; i++) {
        const int64_t row = draw_int(0, p->vocabulary - 1);
        /* Whole numbers, others that are cut, and some outside. */
        const double others[] = {row, row + 0.5, row ? row : -7, row < p->vocabulary - 1 ? row : 1e30, row ? row : NAN};
        ids[i] = others[i % 5];
        for (int64_t d = 0; d < p->dimension; d++) {
            const int64_t at = (i / p->s * p->dimension + d) * p->s + i % p->s, cell = row * p->dimension + d;
            y[at] = w[cell];
            if (row == p->padding) continue;
            dw[cell] += dy[at];
            bound[cell] += fabs(dy[at]);
        }
    }
    const void *ids_buffer = buffer_of(ids, p->n * p->s), *w_buffer = buffer_of(w, table);
    void *y_buffer = buffer(tensor_size(p->layout, p->n, p->dimension, p->s));
    RUN(embedding_forward, p->layout, p->n, p->s, p->vocabulary, p->dimension, ids_buffer, w_buffer, y_buffer);
    compare("y", read_tensor(y_buffer, p->layout, p->n, p->dimension, p->s, 0), y, exact, size);

    rounding(bound, table, (double)(p->n * p->s));
    const void *dy_buffer = tensor_of(dy, p->layout, p->n, p->dimension, p->s, 1);
    RUN(embedding_backward, p->layout, p->n, p->s, p->vocabulary, p->dimension, p->padding, dy_buffer, ids_buffer,
        dw_buffer);
    compare("dw", read_buffer(dw_buffer, table), dw, bound, table);
}

void test_embedding(void)
{
    static const pycnn_layout layouts[] = {PYCNN_PLAIN, PYCNN_SAMPLES, PYCNN_CHANNELS};
    static const int64_t sizes[][4] = {     /* n, s, vocabulary, dimension */
        {1, 1, 1, 1}, {3, 5, 4, 2}, {1, 40, 7, 16}, {19, 3, 50, 17}, {37, 1, 9, 5}, {5, 33, 20, 40}, {2, 16, 300, 3},
    };
    for (int l = 0; l < 3; l++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (int64_t padding = -1; padding < 1; padding++) {
                const embedding_case p = {layouts[l], sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3], padding};
                begin_case("embedding: layout %d, n %lld, s %lld, vocabulary %lld, dimension %lld, padding %lld",
                           (int)p.layout, (long long)p.n, (long long)p.s, (long long)p.vocabulary,
                           (long long)p.dimension, (long long)p.padding);
                test_case(&p);
                end_case();
            }
}
