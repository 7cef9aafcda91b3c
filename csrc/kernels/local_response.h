/* Local response normalisation (Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural
 * networks", section 3.3; ONNX LRN) along the channels of x (outer, channels, inner).
 *
 *     d_c  = k + alpha / size sum of x_i^2 over i in window(c),   window(c) = c - floor((size - 1) / 2) ... c + floor(size / 2)
 *     y_c  = x_c d_c^-beta
 *     dx_c = dy_c d_c^-beta - 2 alpha beta / size x_c sum of dy_i x_i d_i^(-beta - 1) over all i with c in window(i)
 *
 * A task is some columns: a few vectors of neighbours in inner, with all their channels. Sums are taken anew for each channel: one that
 * slides would gather errors. Bound by the power: two square roots and a
 * division where beta is 3/4, else exp and log. */
#define COLUMN_WIDTH (4 * V)

typedef struct {
    pycnn_response r;
    int64_t channels, inner, columns, task_columns, count;      /* columns of one outer; of a task; of all */
    const real *x, *dy;
    real *y;
} response_args;

INLINE vec vpower_of_response(vec d, double beta)
{
    if (beta == 0.75) {
        const vec root = vsqrt(d);
        return vset1(1) / (root * vsqrt(root));
    }
    return vexp(vset1((real)-beta) * vlog(d));
}

/* Where a column begins, and how wide it is. */
typedef struct { int64_t begin, width; } response_column;

INLINE response_column column_at(const response_args *a, int64_t column)
{
    const int64_t first = column % a->columns * COLUMN_WIDTH;
    return (response_column){column / a->columns * a->channels * a->inner + first, min64(COLUMN_WIDTH, a->inner - first)};
}

/* x^2 of a column, in scratch: windows read from x would wait for results just stored where the last bits of addresses agree. */
static void set_squares(const response_args *a, const real *x, int64_t width, real *squares)
{
    for (int64_t c = 0; c < a->channels; c++)
        for (int64_t j = 0; j < width; j += V) {
            const vec b = vload_upto(x + c * a->inner + j, width - j);
            vstore(squares + c * COLUMN_WIDTH + j, b * b);
        }
}

/* The sum of rows first .. last of a column, those that are there. */
INLINE vec sum_of_window(const response_args *a, const real *rows, int64_t first, int64_t last)
{
    vec sum = vset1(0);
    for (int64_t i = max64(0, first); i <= min64(a->channels - 1, last); i++) sum += vload(rows + i * COLUMN_WIDTH);
    return sum;
}

/* d of channel c. */
INLINE vec response_at(const response_args *a, const real *squares, int64_t c)
{
    const vec sum = sum_of_window(a, squares, c - (a->r.size - 1) / 2, c + a->r.size / 2);
    return vfma(vset1((real)(a->r.alpha / (double)a->r.size)), sum, vset1((real)a->r.k));
}

static void run_local_response_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const response_args *a = args;
    real *squares = scratch;
    for (int64_t column = begin * a->task_columns; column < min64(a->count, end * a->task_columns); column++) {
        const response_column at = column_at(a, column);
        const real *x = a->x + at.begin;
        set_squares(a, x, at.width, squares);
        for (int64_t c = 0; c < a->channels; c++)
            for (int64_t j = 0; j < at.width; j += V) {
                const int64_t i = c * a->inner + j, lanes = at.width - j;
                const vec power = vpower_of_response(response_at(a, squares + j, c), a->r.beta);
                vstore_upto(a->y + at.begin + i, vload_upto(x + i, lanes) * power, lanes);
            }
    }
}

/* Three rows of scratch for each channel: x^2, d^-beta, and dy x d^(-beta - 1). */
static void run_local_response_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const response_args *a = args;
    real *squares = scratch, *powers = squares + a->channels * COLUMN_WIDTH, *terms = powers + a->channels * COLUMN_WIDTH;
    const vec factor = vset1((real)(-2 * a->r.alpha * a->r.beta / (double)a->r.size));
    for (int64_t column = begin * a->task_columns; column < min64(a->count, end * a->task_columns); column++) {
        const response_column at = column_at(a, column);
        const real *x = a->x + at.begin, *dy = a->dy + at.begin;
        set_squares(a, x, at.width, squares);
        for (int64_t c = 0; c < a->channels; c++)
            for (int64_t j = 0; j < at.width; j += V) {
                const int64_t i = c * a->inner + j, lanes = at.width - j;
                const vec d = response_at(a, squares + j, c), power = vpower_of_response(d, a->r.beta);
                vstore(powers + c * COLUMN_WIDTH + j, power);
                vstore(terms + c * COLUMN_WIDTH + j, vload_upto(dy + i, lanes) * vload_upto(x + i, lanes) * power / d);
            }
        for (int64_t c = 0; c < a->channels; c++)
            for (int64_t j = 0; j < at.width; j += V) {
                const int64_t i = c * a->inner + j, lanes = at.width - j;
                const vec sum = sum_of_window(a, terms + j, c - a->r.size / 2, c + (a->r.size - 1) / 2);
                const vec direct = vload_upto(dy + i, lanes) * vload(powers + c * COLUMN_WIDTH + j);
                vstore_upto(a->y + at.begin + i, vfma(factor * vload_upto(x + i, lanes), sum, direct), lanes);
            }
    }
}

static int prepare_response(pycnn_step *step, pycnn_run_tasks *run, int64_t outer, int64_t rows, response_args a)
{
    a.columns = ceil_div(a.inner, COLUMN_WIDTH);
    a.count = outer * a.columns;
    a.task_columns = max64(1, ELEMENTS_PER_TASK / (a.channels * min64(a.inner, COLUMN_WIDTH)));
    const size_t scratch = (size_t)(rows * a.channels * COLUMN_WIDTH) * sizeof(real);
    return PREPARE(step, run, ceil_div(a.count, a.task_columns), scratch, a);
}

static int local_response_forward(pycnn_step *step, const pycnn_response *r, int64_t outer, int64_t channels, int64_t inner,
                                  const void *x, void *y)
{
    const response_args a = {.r = *r, .channels = channels, .inner = inner, .x = x, .y = y};
    return prepare_response(step, run_local_response_forward, outer, 1, a);
}

static int local_response_backward(pycnn_step *step, const pycnn_response *r, int64_t outer, int64_t channels,
                                   int64_t inner, const void *dy, const void *x, void *dx)
{
    const response_args a = {.r = *r, .channels = channels, .inner = inner, .x = x, .dy = dy, .y = dx};
    return prepare_response(step, run_local_response_backward, outer, 3, a);
}
