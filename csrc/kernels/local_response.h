/* Local response normalisation (Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural
 * networks", section 3.3; ONNX LRN) along the channels of x (outer, channels, inner).
 *
 *     d_c  = k + alpha / size sum of x_i^2 over i in window(c),   window(c) = c - floor((size - 1) / 2) ... c + floor(size / 2)
 *     y_c  = x_c d_c^-beta
 *     dx_c = dy_c d_c^-beta - 2 alpha beta / size x_c sum of dy_i x_i d_i^(-beta - 1) over all i with c in window(i)
 *
 * A task is some columns: V neighbours of inner, with all their channels. Sums are taken anew for each channel: one that
 * slides would gather errors. Bound by memory where beta is 3/4, whose power is two square roots, else by exp and log. */
typedef struct {
    pycnn_response r;
    int64_t channels, inner, columns, tasks_columns, count;     /* columns of one outer; of a task; of all */
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

/* Where a column begins, and how many of its lanes are there. */
typedef struct { int64_t begin, lanes; } response_column;

INLINE response_column column_at(const response_args *a, int64_t column)
{
    const int64_t first = column % a->columns * V;
    return (response_column){column / a->columns * a->channels * a->inner + first, min64(V, a->inner - first)};
}

/* d of channel c of a column. */
INLINE vec response_at(const response_args *a, const real *x, int64_t c, int64_t lanes)
{
    const int64_t first = max64(0, c - (a->r.size - 1) / 2), last = min64(a->channels - 1, c + a->r.size / 2);
    vec squares = vset1(0);
    for (int64_t i = first; i <= last; i++) {
        const vec b = vload_upto(x + i * a->inner, lanes);
        squares = vfma(b, b, squares);
    }
    return vfma(vset1((real)(a->r.alpha / (double)a->r.size)), squares, vset1((real)a->r.k));
}

static void run_local_response_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const response_args *a = args;
    (void)scratch;
    for (int64_t column = begin * a->tasks_columns; column < min64(a->count, end * a->tasks_columns); column++) {
        const response_column at = column_at(a, column);
        const real *x = a->x + at.begin;
        for (int64_t c = 0; c < a->channels; c++) {
            const vec power = vpower_of_response(response_at(a, x, c, at.lanes), a->r.beta);
            const int64_t i = c * a->inner;
            vstore_upto(a->y + at.begin + i, vload_upto(x + i, at.lanes) * power, at.lanes);
        }
    }
}

/* Two vectors of scratch for each channel: d^-beta, and dy x d^(-beta - 1). */
static void run_local_response_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const response_args *a = args;
    real *powers = scratch, *terms = powers + a->channels * V;
    const vec factor = vset1((real)(-2 * a->r.alpha * a->r.beta / (double)a->r.size));
    for (int64_t column = begin * a->tasks_columns; column < min64(a->count, end * a->tasks_columns); column++) {
        const response_column at = column_at(a, column);
        const real *x = a->x + at.begin, *dy = a->dy + at.begin;
        for (int64_t c = 0; c < a->channels; c++) {
            const vec d = response_at(a, x, c, at.lanes), power = vpower_of_response(d, a->r.beta);
            const int64_t i = c * a->inner;
            vstore(powers + c * V, power);
            vstore(terms + c * V, vload_upto(dy + i, at.lanes) * vload_upto(x + i, at.lanes) * power / d);
        }
        for (int64_t c = 0; c < a->channels; c++) {
            const int64_t first = max64(0, c - a->r.size / 2), last = min64(a->channels - 1, c + (a->r.size - 1) / 2);
            vec sum = vset1(0);
            for (int64_t i = first; i <= last; i++) sum += vload(terms + i * V);
            const int64_t i = c * a->inner;
            const vec direct = vload_upto(dy + i, at.lanes) * vload(powers + c * V);
            vstore_upto(a->y + at.begin + i, vfma(factor * vload_upto(x + i, at.lanes), sum, direct), at.lanes);
        }
    }
}

static int prepare_response(pycnn_step *step, pycnn_run_tasks *run, int64_t outer, size_t scratch, response_args a)
{
    a.columns = ceil_div(a.inner, V);
    a.count = outer * a.columns;
    a.tasks_columns = max64(1, ELEMENTS_PER_TASK / (a.channels * V));
    return PREPARE(step, run, ceil_div(a.count, a.tasks_columns), scratch, a);
}

static int local_response_forward(pycnn_step *step, const pycnn_response *r, int64_t outer, int64_t channels, int64_t inner,
                                  const void *x, void *y)
{
    const response_args a = {.r = *r, .channels = channels, .inner = inner, .x = x, .y = y};
    return prepare_response(step, run_local_response_forward, outer, 0, a);
}

static int local_response_backward(pycnn_step *step, const pycnn_response *r, int64_t outer, int64_t channels,
                                   int64_t inner, const void *dy, const void *x, void *dx)
{
    const response_args a = {.r = *r, .channels = channels, .inner = inner, .x = x, .dy = dy, .y = dx};
    return prepare_response(step, run_local_response_backward, outer, (size_t)(2 * channels * V) * sizeof(real), a);
}
