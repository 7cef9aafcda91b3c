/* Euclidean radial basis functions (LeCun et al. 1998, eq. 7): the squared distance of x from each centre. PLAIN.
 *
 *     y[n][k] = sum over c of (x[n][c] - w[k][c])^2
 *     dx[n][c] = sum over k of 2 dy[n][k] (x[n][c] - w[k][c]),     dw[k][c] = -sum over n of the same
 *
 * `squared` sums the squares of these derivatives, 4 h (x - w)^2, for second derivatives; `slope` is the first derivative
 * g by y, which adds its share 2 g to that by x, y being quadratic. */
typedef struct {
    int64_t n, c, k;
    int accumulate, squared;
    const real *x, *w, *dy, *slope;
    real *y, *dx, *dw;
} rbf_args;

static void run_rbf_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const rbf_args *a = args;
    (void)scratch;
    for (int64_t n = begin; n < end; n++)
        for (int64_t k = 0; k < a->k; k++) {
            vec total = vset1(0);
            for (int64_t c = 0; c < a->c; c += V) {
                const vec d = vload_upto(a->x + n * a->c + c, a->c - c) - vload_upto(a->w + k * a->c + c, a->c - c);
                total = vfma(d, d, total);
            }
            a->y[n * a->k + k] = vsum_lanes(total);
        }
}

static int rbf_forward(pycnn_step *step, int64_t n, int64_t c, int64_t k, const void *x, const void *w, void *y)
{
    const rbf_args a = {.n = n, .c = c, .k = k, .x = x, .w = w, .y = y};
    return PREPARE(step, run_rbf_forward, n, 0, a);
}

/* dy times the derivative by x, or its square. */
INLINE vec rbf_term(const rbf_args *a, real dy, vec difference)
{
    return a->squared ? vset1(4 * dy) * difference * difference : vset1(2 * dy) * difference;
}

static void run_rbf_backward_data(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const rbf_args *a = args;
    (void)scratch;
    for (int64_t n = begin; n < end; n++)
        for (int64_t c = 0; c < a->c; c += V) {
            const vec x = vload_upto(a->x + n * a->c + c, a->c - c);
            vec total = vset1(0);
            for (int64_t k = 0; k < a->k; k++)
                total += rbf_term(a, a->dy[n * a->k + k], x - vload_upto(a->w + k * a->c + c, a->c - c));
            for (int64_t k = 0; a->slope && k < a->k; k++) total += vset1(2 * a->slope[n * a->k + k]);
            vstore_upto(a->dx + n * a->c + c, total, a->c - c);
        }
}

static int rbf_backward_data(pycnn_step *step, int64_t n, int64_t c, int64_t k, int squared, const void *dy,
                             const void *slope, const void *x, const void *w, void *dx)
{
    const rbf_args a = {.n = n, .c = c, .k = k, .squared = squared, .dy = dy, .slope = slope, .x = x, .w = w, .dx = dx};
    return PREPARE(step, run_rbf_backward_data, n, 0, a);
}

static void run_rbf_backward_weights(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const rbf_args *a = args;
    (void)scratch;
    for (int64_t k = begin; k < end; k++)
        for (int64_t c = 0; c < a->c; c += V) {
            const vec w = vload_upto(a->w + k * a->c + c, a->c - c);
            vec total = vset1(0);
            for (int64_t n = 0; n < a->n; n++)
                total += rbf_term(a, a->dy[n * a->k + k], w - vload_upto(a->x + n * a->c + c, a->c - c));
            real *dw = a->dw + k * a->c + c;
            if (a->accumulate) total += vload_upto(dw, a->c - c);
            vstore_upto(dw, total, a->c - c);
        }
}

static int rbf_backward_weights(pycnn_step *step, int64_t n, int64_t c, int64_t k, int accumulate, int squared,
                                const void *dy, const void *x, const void *w, void *dw)
{
    const rbf_args a = {.n = n, .c = c, .k = k, .accumulate = accumulate, .squared = squared, .dy = dy, .x = x, .w = w,
                        .dw = dw};
    return PREPARE(step, run_rbf_backward_weights, k, 0, a);
}
