/* Max unpooling sends values back to where maxima lay, which is what the gradient of max pooling does; its own gradient
 * gathers them again from there:
 *
 *     y[i] = sum over o of [index[o] = k] x[o]
 *     dx[o] = sum over k of [index[o] = k] dy[o stride - before + k dilation]
 *
 * Bound by memory. */
typedef struct {
    pycnn_window window;
    int64_t rows, rows_per_task;        /* of dx */
    const real *dy;
    const lane_int *indices;
    real *dx;
} unpool_args;

/* The row of outputs (od, oh) from its windows in a plane of dy. */
static void gather_unpooled_row(const pycnn_window *w, int64_t od, int64_t oh, const real *dy, const lane_int *indices,
                                real *dx)
{
    const window_taps depth = taps_inside(w, 0, od), height = taps_inside(w, 1, oh);
    for (int64_t o = 0; o < w->out[2]; o++) {
        const window_taps width = taps_inside(w, 2, o);
        const ivec index = ivload(indices + o * V);
        vec found = vset1(0);
        for (int64_t kd = depth.begin; kd < depth.end; kd++)
            for (int64_t kh = height.begin; kh < height.end; kh++) {
                const int64_t id = depth.first + kd * w->dilation[0], ih = height.first + kh * w->dilation[1];
                const real *row = dy + ((id * w->in[1] + ih) * w->in[2] + width.first) * V;
                const lane_int number = (lane_int)((kd * w->kernel[1] + kh) * w->kernel[2]);
                for (int64_t k = width.begin; k < width.end; k++) {
                    const vec g = vload(row + k * w->dilation[2] * V);
                    found = vselect(iveq(index, ivset1(number + (lane_int)k)), g, found);
                }
            }
        vstore(dx + o * V, found);
    }
}

static void run_max_unpool_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const unpool_args *u = args;
    const pycnn_window *w = &u->window;
    const int64_t height = w->out[0] * w->out[1], size = w->out[2] * V, last = min64(u->rows, end * u->rows_per_task);
    (void)scratch;
    for (int64_t row = begin * u->rows_per_task; row < last; row++)
        gather_unpooled_row(w, row % height / w->out[1], row % w->out[1],
                            u->dy + row / height * w->in[0] * w->in[1] * w->in[2] * V, u->indices + row * size,
                            u->dx + row * size);
}

static int max_unpool_backward(pycnn_step *step, const pycnn_window *w, int64_t planes, const void *dy,
                               const void *indices, void *dx)
{
    unpool_args u = {.window = *w, .dy = dy, .indices = indices, .dx = dx};
    u.rows = planes * w->out[0] * w->out[1];
    u.rows_per_task = max64(1, ELEMENTS_PER_TASK / (w->out[2] * V));
    return PREPARE(step, run_max_unpool_backward, ceil_div(u.rows, u.rows_per_task), 0, u);
}
