/* Softmax along an axis of x (outer, axis, inner), and its logarithm.
 *
 *     y_i = e^(x_i - m) / sum_j e^(x_j - m),    m = max_j x_j
 *     log y_i = x_i - m - log sum_j e^(x_j - m)
 *     dx_i = y_i (dy_i - sum_j dy_j y_j),    or dx_i = dy_i - e^(log y_i) sum_j dy_j
 *
 * A line is one run along the axis. With inner = 1 a line is contiguous, its elements are the lanes, and a sum over
 * lanes ends each pass; else the lanes are V lines side by side. A line is read two or three times, from cache after
 * the first. Bound by exp in cache, by memory beyond. y may be x, dx may be dy. */

/* A bundle is the lines that one vector serves: V or fewer side by side, or one that is contiguous. */
typedef struct {
    int log;
    int64_t outer, axis, inner;
    int64_t bundles_per_outer, bundles, bundles_per_task;
    const real *x, *dy;
    real *y;
} softmax_args;

/* Along a line of `axis` contiguous reals. */
static void softmax_line(int log, int64_t axis, const real *x, real *y)
{
    vec most = vset1(-(real)INFINITY), total = vset1(0);
    for (int64_t i = 0; i < axis; i += V)
        most = vmax_or_nan(most, vkeep_first(vload_upto(x + i, axis - i), axis - i, -(real)INFINITY));
    most = vset1(vmax_lanes_or_nan(most));
    for (int64_t i = 0; i < axis; i += V) {
        vec e = vkeep_first(vexp(vload_upto(x + i, axis - i) - most), axis - i, 0);
        total += e;
        if (!log) vstore_upto(y + i, e, axis - i);
    }
    total = vset1(vsum_lanes(total));
    const vec log_total = vlog(total), scale = vset1(1) / total;
    for (int64_t i = 0; i < axis; i += V) {
        vec a = vload_upto((log ? x : y) + i, axis - i);
        vstore_upto(y + i, log ? a - most - log_total : a * scale, axis - i);
    }
}

/* Along `lanes` lines side by side, `stride` reals from one element to the next. */
static void softmax_lines(int log, int64_t axis, int64_t stride, int64_t lanes, const real *x, real *y)
{
    vec most = vload_upto(x, lanes), total = vset1(0);
    for (int64_t i = 1; i < axis; i++) most = vmax_or_nan(most, vload_upto(x + i * stride, lanes));
    for (int64_t i = 0; i < axis; i++) {
        vec e = vexp(vload_upto(x + i * stride, lanes) - most);
        total += e;
        if (!log) vstore_upto(y + i * stride, e, lanes);
    }
    const vec log_total = vlog(total), scale = vset1(1) / total;
    for (int64_t i = 0; i < axis; i++) {
        vec a = vload_upto((log ? x : y) + i * stride, lanes);
        vstore_upto(y + i * stride, log ? a - most - log_total : a * scale, lanes);
    }
}

INLINE vec softmax_gradient(int log, vec dy, vec y, vec total)
{
    return log ? vfma(-vexp(y), total, dy) : y * (dy - total);
}

static void softmax_gradient_line(int log, int64_t axis, const real *dy, const real *y, real *dx)
{
    vec total = vset1(0);
    for (int64_t i = 0; i < axis; i += V) {
        vec g = vload_upto(dy + i, axis - i);
        total += log ? g : g * vload_upto(y + i, axis - i);
    }
    total = vset1(vsum_lanes(total));
    for (int64_t i = 0; i < axis; i += V) {
        vec g = softmax_gradient(log, vload_upto(dy + i, axis - i), vload_upto(y + i, axis - i), total);
        vstore_upto(dx + i, g, axis - i);
    }
}

static void softmax_gradient_lines(int log, int64_t axis, int64_t stride, int64_t lanes, const real *dy, const real *y,
                                   real *dx)
{
    vec total = vset1(0);
    for (int64_t i = 0; i < axis; i++) {
        vec g = vload_upto(dy + i * stride, lanes);
        total += log ? g : g * vload_upto(y + i * stride, lanes);
    }
    for (int64_t i = 0; i < axis; i++) {
        vec g = softmax_gradient(log, vload_upto(dy + i * stride, lanes), vload_upto(y + i * stride, lanes), total);
        vstore_upto(dx + i * stride, g, lanes);
    }
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

/* Where bundle b begins, and how many lines it has. */
typedef struct { int64_t begin, lanes; } softmax_bundle;

INLINE softmax_bundle bundle_at(const softmax_args *s, int64_t b)
{
    const int64_t outer = b / s->bundles_per_outer, inner = b % s->bundles_per_outer * V;
    return (softmax_bundle){outer * s->axis * s->inner + inner, min64(V, s->inner - inner)};
}

static void run_softmax_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const softmax_args *s = args;
    const int64_t last = min64(s->bundles, end * s->bundles_per_task);
    (void)scratch;
    for (int64_t b = begin * s->bundles_per_task; b < last; b++) {
        const softmax_bundle at = bundle_at(s, b);
        if (s->inner == 1) softmax_line(s->log, s->axis, s->x + at.begin, s->y + at.begin);
        else softmax_lines(s->log, s->axis, s->inner, at.lanes, s->x + at.begin, s->y + at.begin);
    }
}

static void run_softmax_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const softmax_args *s = args;
    const int64_t last = min64(s->bundles, end * s->bundles_per_task);
    (void)scratch;
    for (int64_t b = begin * s->bundles_per_task; b < last; b++) {
        const softmax_bundle at = bundle_at(s, b);
        const real *dy = s->dy + at.begin, *y = s->x + at.begin;
        if (s->inner == 1) softmax_gradient_line(s->log, s->axis, dy, y, s->y + at.begin);
        else softmax_gradient_lines(s->log, s->axis, s->inner, at.lanes, dy, y, s->y + at.begin);
    }
}

static int prepare_softmax(pycnn_step *step, pycnn_run_tasks *run, softmax_args s)
{
    s.bundles_per_outer = ceil_div(s.inner, V);
    s.bundles = s.axis > 0 ? s.outer * s.bundles_per_outer : 0;
    s.bundles_per_task = max64(1, ELEMENTS_PER_TASK / max64(1, s.axis * min64(s.inner, V)));
    return PREPARE(step, run, ceil_div(s.bundles, s.bundles_per_task), 0, s);
}

static int softmax_forward(pycnn_step *step, int log, int64_t outer, int64_t axis, int64_t inner,
                           const void *x, void *y)
{
    return prepare_softmax(step, run_softmax_forward,
                           (softmax_args){.log = log, .outer = outer, .axis = axis, .inner = inner, .x = x, .y = y});
}

static int softmax_backward(pycnn_step *step, int log, int64_t outer, int64_t axis, int64_t inner,
                            const void *dy, const void *y, void *dx)
{
    return prepare_softmax(step, run_softmax_backward, (softmax_args){.log = log, .outer = outer, .axis = axis,
                                                                      .inner = inner, .x = y, .dy = dy, .y = dx});
}
