/* The p-norm of the values in a window that slides over planes of vectors, for finite p >= 1:
 *
 *     y[o] = (sum over k of |x[o stride - before + k dilation]|^p)^(1/p)
 *     dx[i] = sum over o of dy[o] sign(x[i]) (|x[i]| / y[o])^(p-1), 0 where y[o] is
 *
 * (ONNX LpPool). A window's values are divided by the greatest of them first, so that no power overflows; and no
 * quotient of the gradient exceeds one. p = 1 and p = 2 take no logarithms. Rows do not depend on each other. */

typedef struct {
    pycnn_window window;
    real p;
    int squared;
    int64_t rows, rows_per_task;        /* of y forward, of dx backward */
    const real *x, *y, *dy;
    real *to;
} lp_args;

/* a^p of 0 <= a <= 1 and p > 0. */
INLINE vec vpower(vec a, real p) { return vexp(vset1(p) * vlog(a)); }

INLINE vec lp_power(real p, vec a) { return p == 1 ? a : p == 2 ? a * a : vpower(a, p); }

/* The value of a window whose taps are the box t, of which x points to the first. */
INLINE vec norm_of_window(const tap_box *t, real p, const real *x)
{
    vec most = vset1(0), sum = vset1(0);
    for (int64_t kd = 0; kd < t->count[0]; kd++)
        for (int64_t kh = 0; kh < t->count[1]; kh++)
            for (int64_t kw = 0; kw < t->count[2]; kw++)
                most = vmax_or_nan(vabs(vload(x + kd * t->step[0] + kh * t->step[1] + kw * t->step[2])), most);
    const vec scale = vset1(1) / vmax(most, vset1(REAL_MIN));
    for (int64_t kd = 0; kd < t->count[0]; kd++)
        for (int64_t kh = 0; kh < t->count[1]; kh++)
            for (int64_t kw = 0; kw < t->count[2]; kw++) {
                const vec a = vabs(vload(x + kd * t->step[0] + kh * t->step[1] + kw * t->step[2]));
                sum += lp_power(p, a * scale);
            }
    const vec root = p == 1 ? sum : p == 2 ? vsqrt(sum) : vexp(vset1(1 / p) * vlog(sum));
    const vmask infinite = veq(most, vset1((real)INFINITY));
    return vselect(infinite, most, most * root);
}

/* The derivative of a window's value y by its value x. */
INLINE vec lp_slope(real p, vec x, vec y)
{
    const vec zero = vset1(0);
    const vec slope = p == 1 ? vselect(veq(x, zero), zero, vset1(1))
                    : p == 2 ? vabs(x) / y : vpower(vabs(x) / y, p - 1);
    return vselect(veq(y, zero), zero, vcopy_sign(slope, x));
}

static void lp_pool_row(const lp_args *l, int64_t od, int64_t oh, const real *x, real *y)
{
    const pycnn_window *w = &l->window;
    window_taps taps[3] = {taps_inside(w, 0, od), taps_inside(w, 1, oh)};
    tap_box t = {.step = {w->dilation[0] * w->in[1] * w->in[2] * V, w->dilation[1] * w->in[2] * V, w->dilation[2] * V}};
    for (int64_t o = 0; o < w->out[2]; o++) {
        int64_t position[3];
        taps[2] = taps_inside(w, 2, o);
        for (int a = 0; a < 3; a++) {
            t.count[a] = taps[a].end - taps[a].begin;
            position[a] = taps[a].first + taps[a].begin * w->dilation[a];
        }
        const real *first = x + ((position[0] * w->in[1] + position[1]) * w->in[2] + position[2]) * V;
        vstore(y + o * V, norm_of_window(&t, l->p, first));
    }
}

static void run_lp_pool_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const lp_args *l = args;
    const pycnn_window *w = &l->window;
    const int64_t height = w->out[0] * w->out[1], last = min64(l->rows, end * l->rows_per_task);
    (void)scratch;
    for (int64_t row = begin * l->rows_per_task; row < last; row++)
        lp_pool_row(l, row % height / w->out[1], row % w->out[1],
                    l->x + row / height * w->in[0] * w->in[1] * w->in[2] * V, l->to + row * w->out[2] * V);
}

/* What a row of outputs passes to a row of dx. */
static void lp_pass_row(const lp_args *l, const real *dy, const real *y, const real *x, real *dx)
{
    const pycnn_window *w = &l->window;
    for (int64_t k = 0; k < w->kernel[2]; k++) {
        const pycnn_range inside = outputs_reading(w, k);
        for (int64_t o = inside.begin; o < inside.end; o++) {
            const int64_t i = (o * w->stride[2] + k * w->dilation[2] - w->before[2]) * V;
            const vec slope = lp_slope(l->p, vload(x + i), vload(y + o * V));
            vstore(dx + i, vfma(vload(dy + o * V), l->squared ? slope * slope : slope, vload(dx + i)));
        }
    }
}

static void run_lp_pool_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const lp_args *l = args;
    const pycnn_window *w = &l->window;
    const int64_t height = w->in[0] * w->in[1], last = min64(l->rows, end * l->rows_per_task), size = w->in[2] * V;
    (void)scratch;
    for (int64_t row = begin * l->rows_per_task; row < last; row++) {
        const int64_t id = row % height / w->in[1], ih = row % w->in[1];
        const int64_t plane = row / height * w->out[0] * w->out[1] * w->out[2] * V;
        memset(l->to + row * size, 0, (size_t)size * sizeof(real));
        for (int64_t kd = 0; kd < w->kernel[0]; kd++) {
            const int64_t od = output_of_tap(w, 0, id, kd);
            for (int64_t kh = 0; kh < w->kernel[1] && od >= 0; kh++) {
                const int64_t oh = output_of_tap(w, 1, ih, kh), from = plane + (od * w->out[1] + oh) * w->out[2] * V;
                if (oh >= 0) lp_pass_row(l, l->dy + from, l->y + from, l->x + row * size, l->to + row * size);
            }
        }
    }
}

static int prepare_lp_pool(pycnn_step *step, int backward, int64_t planes, lp_args l)
{
    const int64_t *size = backward ? l.window.in : l.window.out;
    l.rows = planes * size[0] * size[1];
    l.rows_per_task = max64(1, ELEMENTS_PER_TASK / (size[2] * V));
    return PREPARE(step, backward ? run_lp_pool_backward : run_lp_pool_forward, ceil_div(l.rows, l.rows_per_task), 0,
                   l);
}

static int lp_pool_forward(pycnn_step *step, const pycnn_window *w, double p, int64_t planes, const void *x, void *y)
{
    return prepare_lp_pool(step, 0, planes, (lp_args){.window = *w, .p = (real)p, .x = x, .to = y});
}

static int lp_pool_backward(pycnn_step *step, const pycnn_window *w, double p, int squared, int64_t planes,
                            const void *dy, const void *x, const void *y, void *dx)
{
    return prepare_lp_pool(step, 1, planes, (lp_args){.window = *w, .p = (real)p, .squared = squared, .dy = dy, .x = x,
                                                      .y = y, .to = dx});
}
