/* Maximum and average of the values in a window that slides over planes of vectors; the lanes never meet.
 *
 *     max     y[o] = max over k of x[o stride - before + k dilation],    dx[i] = sum over o of [index[o] = k] dy[o]
 *     average y[o] = sum over k of x[o stride - before + k dilation] / divisor[o],    dx[i] = sum of dy[o] / divisor[o]
 *     sum     an average whose divisor is 1
 *
 * Forward, a row of outputs falls into its two edges, where windows hang over the input, and the span between them,
 * where all windows are whole. Backward, a row of dx gathers from the rows of dy whose windows reach it; where
 * windows do not overlap, and in the common case that they do, each dx is written once, else the row is cleared and
 * summed up while it is in the nearest cache. Rows do not depend on each other, so tasks are runs of rows; and an
 * index that names no tap does no harm. Bound by memory; what is large is streamed. */

/* Output o of an axis sees input first + k dilation with its taps begin <= k < end. */
typedef struct { int64_t first, begin, end; } window_taps;

INLINE int64_t taps_below(const pycnn_window *w, int axis, int64_t first, int64_t limit)
{
    const int64_t kernel = w->kernel[axis], dilation = w->dilation[axis];
    if (first + (kernel - 1) * dilation < limit) return kernel;
    return first < limit ? ceil_div(limit - first, dilation) : 0;
}

/* The taps that fall on low .. high-1. */
INLINE window_taps taps_within(const pycnn_window *w, int axis, int64_t o, int64_t low, int64_t high)
{
    const int64_t first = o * w->stride[axis] - w->before[axis];
    return (window_taps){first, taps_below(w, axis, first, low), taps_below(w, axis, first, high)};
}

INLINE window_taps taps_inside(const pycnn_window *w, int axis, int64_t o)
{
    return taps_within(w, axis, o, 0, w->in[axis]);
}

/* The outputs of an axis all of whose taps are inside. */
INLINE pycnn_range whole_windows(const pycnn_window *w, int axis)
{
    const int64_t last = w->in[axis] - 1 + w->before[axis] - (w->kernel[axis] - 1) * w->dilation[axis];
    const int64_t end = last < 0 ? 0 : min64(w->out[axis], last / w->stride[axis] + 1);
    return (pycnn_range){min64(end, ceil_div(w->before[axis], w->stride[axis])), end};
}

/* What an average is divided by; `squared` divides its gradient by the square. */
typedef struct {
    int64_t after[3];
    pycnn_divisor divisor;
    int squared;
} pool_average;

INLINE int64_t counted_taps(const pycnn_window *w, const pool_average *average, int axis, int64_t o)
{
    const int padded = average->divisor == PYCNN_TAPS_AND_PADDING;
    const int64_t before = padded ? w->before[axis] : 0;
    const int64_t after = padded ? average->after[axis] : 0;
    if (average->divisor == PYCNN_ONE) return 1;
    window_taps t = taps_within(w, axis, o, -before, w->in[axis] + after);
    return t.end - t.begin;
}

/* ---- forward: spans of outputs with the same taps ---------------------------------------------------------------- */

/* A box of taps: how many, how many reals apart, and the numbers of the first and of those one row and one plane on. */
typedef struct {
    int64_t count[3], step[3];
    lane_int number, row_number, plane_number;
} tap_box;

/* The greatest of `taps` vectors and the first that equals it, of numbers[0..taps). False, and neither, if one is
   NaN. The comparisons do not wait for each other. */
INLINE int max_of_taps(const int64_t taps, const int indexed, const vec *a, const lane_int *numbers, vec *best,
                       ivec *index)
{
    vec most = a[0];
    vmask nan = vunordered(a[0], a[taps - 1]);
    for (int64_t k = 1; k < taps; k++) most = vmax(most, a[k]);
    for (int64_t k = 1; k + 1 < taps; k += 2) nan = mask_or(nan, vunordered(a[k], a[k + 1]));
    if (__builtin_expect(mask_any(nan), 0)) return 0;
    *best = most;
    if (!indexed) return 1;
    *index = ivset1(numbers[taps - 1]);
    for (int64_t k = taps - 2; k >= 0; k--) *index = ivselect(veq(a[k], most), ivset1(numbers[k]), *index);
    return 1;
}

/* n maxima; constant `depth`, `height` and `width` make straight-line code of a window. */
INLINE void max_span(const tap_box *t, const int64_t depth, const int64_t height, const int64_t width,
                     const int indexed, const real *x, int64_t x_step, int64_t n, real *y, lane_int *indices)
{
    for (int64_t o = 0; o < n; o++, x += x_step) {
        vec best = vload(x);
        ivec index = ivset1(t->number);
        for (int64_t kd = 0; kd < depth; kd++)
            for (int64_t kh = 0; kh < height; kh++)
                for (int64_t kw = 0; kw < width; kw++) {
                    if (kd + kh + kw == 0) continue;
                    vec a = vload(x + kd * t->step[0] + kh * t->step[1] + kw * t->step[2]);
                    if (indexed) {
                        lane_int number = t->number + (lane_int)kd * t->plane_number + (lane_int)kh * t->row_number
                                        + (lane_int)kw;
                        vmask better = vbeats(a, best);
                        best = vselect(better, a, best);
                        index = ivselect(better, ivset1(number), index);
                    } else {
                        best = vmax_or_nan(best, a);
                    }
                }
        vstore(y + o * V, best);
        if (indexed) ivstore(indices + o * V, index);
    }
}

/* n maxima over height x width taps, both constant. */
INLINE void max_span_of_few(const tap_box *t, const int64_t height, const int64_t width, const int indexed,
                            const real *x,
                            int64_t x_step, int64_t n, real *y, lane_int *indices)
{
    lane_int numbers[height * width];
    for (int64_t kh = 0; kh < height; kh++)
        for (int64_t kw = 0; kw < width; kw++)
            numbers[kh * width + kw] = t->number + (lane_int)kh * t->row_number + (lane_int)kw;
    for (int64_t o = 0; o < n; o++, x += x_step) {
        vec a[height * width], best;
        ivec index;
        for (int64_t kh = 0; kh < height; kh++)
            for (int64_t kw = 0; kw < width; kw++) a[kh * width + kw] = vload(x + kh * t->step[1] + kw * t->step[2]);
        if (max_of_taps(height * width, indexed, a, numbers, &best, &index)) {
            vstore(y + o * V, best);
            if (indexed) ivstore(indices + o * V, index);
        } else {
            max_span(t, 1, height, width, indexed, x, x_step, 1, y + o * V, indices + o * V);
        }
    }
}

INLINE void max_span_of_shape(const tap_box *t, const int indexed, const real *x, int64_t x_step, int64_t n, real *y,
                              lane_int *indices)
{
    const int64_t depth = t->count[0], height = t->count[1], width = t->count[2];
    if (depth == 1 && height == 2 && width == 2) max_span_of_few(t, 2, 2, indexed, x, x_step, n, y, indices);
    else if (depth == 1 && height == 2 && width == 3) max_span_of_few(t, 2, 3, indexed, x, x_step, n, y, indices);
    else if (depth == 1 && height == 3 && width == 3) max_span_of_few(t, 3, 3, indexed, x, x_step, n, y, indices);
    else max_span(t, depth, height, width, indexed, x, x_step, n, y, indices);
}

static void average_span(const tap_box *t, int64_t divisor, const real *x, int64_t x_step, int64_t n, real *y)
{
    for (int64_t o = 0; o < n; o++, x += x_step) {
        vec total = vset1(0);
        for (int64_t kd = 0; kd < t->count[0]; kd++)
            for (int64_t kh = 0; kh < t->count[1]; kh++) {
                const real *row = x + kd * t->step[0] + kh * t->step[1];
                vec row_total = vset1(0);
                for (int64_t kw = 0; kw < t->count[2]; kw++) row_total += vload(row + kw * t->step[2]);
                total += row_total;
            }
        vstore(y + o * V, total / vset1((real)divisor));
    }
}

/* n outputs whose windows hold the same taps. A window with no tap inside is empty: its maximum is -infinity, its
   average 0. */
static void pool_span(const pycnn_window *w, const pool_average *average, const window_taps taps[3], int64_t divisor,
                      const real *x, int64_t x_row0, int64_t n, real *y, lane_int *indices)
{
    tap_box t = {.row_number = (lane_int)w->kernel[2], .plane_number = (lane_int)(w->kernel[1] * w->kernel[2])};
    int64_t position[3];
    for (int a = 0; a < 3; a++) {
        t.count[a] = taps[a].end - taps[a].begin;
        position[a] = taps[a].first + taps[a].begin * w->dilation[a];
        if (t.count[a] > 0) continue;
        for (int64_t i = 0; i < n * V; i++) y[i] = average ? 0 : -(real)INFINITY;
        if (indices) memset(indices, 0, (size_t)(n * V) * sizeof(lane_int));
        return;
    }
    t.number = (lane_int)((taps[0].begin * w->kernel[1] + taps[1].begin) * w->kernel[2] + taps[2].begin);
    t.step[2] = w->dilation[2] * V;
    t.step[1] = w->dilation[1] * w->in[2] * V;
    t.step[0] = w->dilation[0] * w->in[1] * w->in[2] * V;
    x += ((position[0] * w->in[1] + position[1] - x_row0) * w->in[2] + position[2]) * V;
    const int64_t x_step = w->stride[2] * V;
    if (average) average_span(&t, max64(divisor, 1), x, x_step, n, y);
    else if (indices) max_span_of_shape(&t, 1, x, x_step, n, y, indices);
    else max_span_of_shape(&t, 0, x, x_step, n, y, NULL);
}

/* One row of outputs: its edges window by window, the span between at once. x points to the input's row x_row0. */
static void pool_row(const pycnn_window *w, const pool_average *average, pycnn_range whole, int64_t od, int64_t oh,
                     const real *x, int64_t x_row0, real *y, lane_int *indices)
{
    window_taps taps[3] = {taps_inside(w, 0, od), taps_inside(w, 1, oh)};
    const int64_t counted = average ? counted_taps(w, average, 0, od) * counted_taps(w, average, 1, oh) : 1;
    for (int64_t o = 0; o < w->out[2];) {
        const int64_t n = o == whole.begin && whole.begin < whole.end ? whole.end - whole.begin : 1;
        const int64_t divisor = average ? counted * counted_taps(w, average, 2, o) : 1;
        taps[2] = taps_inside(w, 2, o);
        pool_span(w, average, taps, divisor, x, x_row0, n, y + o * V, indices ? indices + o * V : NULL);
        o += n;
    }
}

/* The rows out_row_begin .. out_row_end-1 of a plane, counted through depth and height. x points to the input's row
   x_row0, y and indices to the beginning of the plane. */
static void pool_plane(const pycnn_window *w, const pool_average *average, int64_t out_row_begin, int64_t out_row_end,
                       const real *x, int64_t x_row0, real *y, lane_int *indices)
{
    const pycnn_range whole = whole_windows(w, 2);
    const int64_t height = w->out[1], row_size = w->out[2] * V;
    int64_t od = out_row_begin / height, oh = out_row_begin % height;
    for (int64_t row = out_row_begin; row < out_row_end; row++) {
        pool_row(w, average, whole, od, oh, x, x_row0, y + row * row_size, indices ? indices + row * row_size : NULL);
        if (++oh == height) oh = 0, od++;
    }
}

static void max_pool_plane(const pycnn_window *w, int64_t out_row_begin, int64_t out_row_end, const real *x,
                           int64_t x_row0, real *y, lane_int *indices)
{
    pool_plane(w, NULL, out_row_begin, out_row_end, x, x_row0, y, indices);
}

/* ---- backward: a row of dx from the rows of dy that reach it ----------------------------------------------------- */

/* What output o passes to its tap of that number. Averages have no indices. */
INLINE vec gradient_of_tap(const real *dy, const lane_int *indices, int64_t o, lane_int number)
{
    vec g = vload(dy + o * V);
    return indices ? vselect(iveq(ivload(indices + o * V), ivset1(number)), g, vset1(0)) : g;
}

INLINE int windows_apart(const pycnn_window *w, int axis)
{
    return (w->kernel[axis] - 1) * w->dilation[axis] < w->stride[axis];
}

/* dx[o stride - before + k] = gradient of tap k of output o, 0 between the windows: for the positions from .. to-1. */
INLINE void spread_edge(const pycnn_window *w, const int64_t kernel, const int64_t stride, const real *dy,
                        const lane_int *indices, lane_int number, real *dx, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++) {
        const int64_t o = (i + w->before[2]) / stride, k = (i + w->before[2]) % stride;
        const int covered = o < w->out[2] && k < kernel;
        vstore(dx + i * V, covered ? gradient_of_tap(dy, indices, o, number + (lane_int)k) : vset1(0));
    }
}

/* The same for a whole row. */
INLINE void spread_row(const pycnn_window *w, const int64_t kernel, const int64_t stride, const real *dy,
                       const lane_int *indices, lane_int number, real *dx)
{
    const int64_t in = w->in[2], before = w->before[2];
    const int64_t end = min64(w->out[2], (in + before) / stride), begin = min64(end, ceil_div(before, stride));
    spread_edge(w, kernel, stride, dy, indices, number, dx, 0, max64(0, begin * stride - before));
    for (int64_t o = begin; o < end; o++) {
        real *p = dx + (o * stride - before) * V;
        for (int64_t k = 0; k < kernel; k++) vstore(p + k * V, gradient_of_tap(dy, indices, o, number + (lane_int)k));
        for (int64_t k = kernel; k < stride; k++) vstore(p + k * V, vset1(0));
    }
    spread_edge(w, kernel, stride, dy, indices, number, dx, max64(0, end * stride - before), in);
}

/* The outputs of a row whose tap k is inside. */
INLINE pycnn_range outputs_reading(const pycnn_window *w, int64_t k)
{
    const int64_t stride = w->stride[2], offset = k * w->dilation[2] - w->before[2];
    return (pycnn_range){offset < 0 ? ceil_div(-offset, stride) : 0,
                         offset < w->in[2] ? min64(w->out[2], ceil_div(w->in[2] - offset, stride)) : 0};
}

/* dx[o stride - before + k dilation] += gradient of tap k of output o. */
INLINE void accumulate_row(const pycnn_window *w, const real *dy, const lane_int *indices, lane_int number, real *dx)
{
    const int64_t stride = w->stride[2];
    for (int64_t k = 0; k < w->kernel[2]; k++) {
        const int64_t offset = k * w->dilation[2] - w->before[2];
        const pycnn_range inside = outputs_reading(w, k);
        for (int64_t o = inside.begin; o < inside.end; o++) {
            real *p = dx + (o * stride + offset) * V;
            vstore(p, vload(p) + gradient_of_tap(dy, indices, o, number + (lane_int)k));
        }
    }
}

/* A row of dy that reaches a row of dx, the numbers of its taps there beginning at `number`. */
typedef struct { const real *dy; const lane_int *indices; lane_int number; } reaching_row;

/* What the outputs of `count` rows pass to column i. */
INLINE vec gradient_of_column(const pycnn_window *w, const reaching_row *rows, int64_t count, int64_t i)
{
    vec sum = vset1(0);
    for (int64_t h = 0; h < count; h++)
        for (int64_t k = w->kernel[2] - 1; k >= 0; k--) {
            const int64_t position = i + w->before[2] - k * w->dilation[2], o = position / w->stride[2];
            if (position < 0 || position % w->stride[2] || o >= w->out[2]) continue;
            sum += gradient_of_tap(rows[h].dy, rows[h].indices, o, rows[h].number + (lane_int)k);
        }
    return sum;
}

/* The columns stride (o - behind) - before + (0 .. stride-1), where behind = (kernel - 1) / stride, from the outputs
   o - behind, ... o: constants make straight-line code of it. */
INLINE void gather_columns(const int64_t kernel, const int64_t stride, const reaching_row *rows, int64_t count,
                           int64_t from,
                           int64_t to, real *dx)
{
    const int64_t behind = (kernel - 1) / stride;
    for (int64_t o = from; o < to; o++, dx += stride * V) {
        vec sum[stride];
        for (int64_t r = 0; r < stride; r++) sum[r] = vset1(0);
        for (int64_t h = 0; h < count; h++)
            for (int64_t b = behind; b >= 0; b--) {
                const vec g = vload(rows[h].dy + (o - b) * V);
                const ivec index = ivload(rows[h].indices + (o - b) * V);
                for (int64_t r = 0; r < stride; r++)
                    if (r + b * stride < kernel)
                        sum[r] += vselect(iveq(index, ivset1(rows[h].number + (lane_int)(r + b * stride))), g,
                                          vset1(0));
            }
        for (int64_t r = 0; r < stride; r++) vstore(dx + r * V, sum[r]);
    }
}

/* A row of dx where windows of maxima overlap. */
INLINE void gather_row_of_maxima(const pycnn_window *w, const int64_t kernel, const int64_t stride,
                                 const reaching_row *rows,
                                 int64_t count, real *dx)
{
    const int64_t in = w->in[2], before = w->before[2], behind = (kernel - 1) / stride;
    /* Outputs o whose columns are inside, as are all outputs behind them. */
    const int64_t from = max64(behind, ceil_div(before, stride)), to = min64(w->out[2], (in + before) / stride);
    const int64_t begin = from < to ? from * stride - before : in, end = from < to ? to * stride - before : in;
    for (int64_t i = 0; i < begin; i++) vstore(dx + i * V, gradient_of_column(w, rows, count, i));
    if (from < to) gather_columns(kernel, stride, rows, count, from, to, dx + begin * V);
    for (int64_t i = end; i < in; i++) vstore(dx + i * V, gradient_of_column(w, rows, count, i));
}

INLINE void spread_row_of_shape(const pycnn_window *w, const real *dy, const lane_int *indices, lane_int number,
                                real *dx)
{
    const int64_t kernel = w->kernel[2], stride = w->stride[2];
    if (kernel == 2 && stride == 2) spread_row(w, 2, 2, dy, indices, number, dx);
    else spread_row(w, kernel, stride, dy, indices, number, dx);
}

/* scaled = dy / divisor, for a row of outputs. */
static void scale_row(const pycnn_window *w, const pool_average *average, int64_t counted, const real *dy, real *scaled)
{
    const pycnn_range whole = whole_windows(w, 2);
    const int64_t whole_count = average->divisor == PYCNN_ONE ? 1 : counted * w->kernel[2];
    const real whole_scale = (real)1 / (real)(average->squared ? whole_count * whole_count : whole_count);
    for (int64_t o = 0; o < w->out[2]; o++) {
        const int is_whole = whole.begin <= o && o < whole.end;
        const int64_t count = is_whole ? 1 : max64(counted * counted_taps(w, average, 2, o), 1);
        const real scale = is_whole ? whole_scale : (real)1 / (real)(average->squared ? count * count : count);
        vstore(scaled + o * V, vset1(scale) * vload(dy + o * V));
    }
}

/* The output whose tap k is input i, or -1. */
INLINE int64_t output_of_tap(const pycnn_window *w, int axis, int64_t i, int64_t k)
{
    const int64_t position = i + w->before[axis] - k * w->dilation[axis];
    if (position < 0 || position % w->stride[axis]) return -1;
    const int64_t o = position / w->stride[axis];
    return o < w->out[axis] ? o : -1;
}

/* Flat 3 x 3 windows that go on by two. */
INLINE int is_common_overlap(const pycnn_window *w)
{
    return w->in[0] == 1 && w->out[0] == 1 && w->kernel[0] == 1 && w->kernel[1] == 3 && w->kernel[2] == 3
        && w->stride[2] == 2 && w->dilation[1] == 1 && w->dilation[2] == 1;
}

/* Row (id, ih) of dx. `scratch` holds a row of outputs. */
static void pool_backward_row(const pycnn_window *w, const pool_average *average, int64_t id, int64_t ih,
                              const real *dy, const lane_int *indices, real *dx, real *scratch)
{
    const int once = windows_apart(w, 0) && windows_apart(w, 1) && windows_apart(w, 2) && w->dilation[2] == 1;
    if (!average && !once && is_common_overlap(w)) {
        reaching_row rows[3];
        int64_t count = 0;
        for (int64_t kh = 2; kh >= 0; kh--) {
            const int64_t oh = output_of_tap(w, 1, ih, kh), row = oh * w->out[2] * V;
            if (oh >= 0) rows[count++] = (reaching_row){dy + row, indices + row, (lane_int)(kh * 3)};
        }
        gather_row_of_maxima(w, 3, 2, rows, count, dx);
        return;
    }
    if (!once) memset(dx, 0, (size_t)(w->in[2] * V) * sizeof(real));
    for (int64_t kd = 0; kd < w->kernel[0]; kd++) {
        const int64_t od = output_of_tap(w, 0, id, kd);
        if (od < 0) continue;
        for (int64_t kh = 0; kh < w->kernel[1]; kh++) {
            const int64_t oh = output_of_tap(w, 1, ih, kh), row = (od * w->out[1] + oh) * w->out[2] * V;
            const lane_int number = (lane_int)((kd * w->kernel[1] + kh) * w->kernel[2]);
            if (oh < 0) continue;
            if (average) {
                const int64_t counted = counted_taps(w, average, 0, od) * counted_taps(w, average, 1, oh);
                scale_row(w, average, counted, dy + row, scratch);
                if (!once) accumulate_row(w, scratch, NULL, number, dx);
                else spread_row_of_shape(w, scratch, NULL, number, dx);
            } else {
                if (!once) accumulate_row(w, dy + row, indices + row, number, dx);
                else spread_row_of_shape(w, dy + row, indices + row, number, dx);
            }
            if (once) return;
        }
    }
    if (once) memset(dx, 0, (size_t)(w->in[2] * V) * sizeof(real));
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

typedef struct {
    pycnn_window window;
    pool_average average;
    int is_average;
    int64_t rows, rows_per_task;        /* rows of all planes: of y forward, of dx backward */
    int64_t far_rows;                   /* rows of x where it is too large for the near caches, else 0 */
    int streamed;                       /* rows are made in scratch and streamed out */
    const real *from;
    lane_int *indices;
    real *to;
} pool_args;

#define NEAR_BYTES (1 << 20)            /* of x, that the near caches hold */

/* Asks for the rows of x that the output row after `row` adds to its windows. The processor fetches ahead along
   streams, but those of a window's rows each run into what the next one has read, so every row of outputs would begin
   with a wait. (Not inlined, it would pass for a function without effect.) */
INLINE void fetch_next_rows(const pool_args *p, int64_t plane, int64_t row)
{
    const pycnn_window *w = &p->window;
    const int64_t id = row / w->out[1] * w->stride[0], ih = row % w->out[1] * w->stride[1] - w->before[1];
    const int64_t next = (plane * w->in[0] + id) * w->in[1] + ih + (w->kernel[1] - 1) * w->dilation[1] + 1;
    const int64_t begin = max64(0, next), end = min64(p->far_rows, next + w->stride[1]), size = w->in[2] * V;
    for (int64_t i = begin * size; i < end * size; i += 64 / (int64_t)sizeof(real)) __builtin_prefetch(p->from + i);
}

static void run_pool_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const pool_args *p = args;
    const pycnn_window *w = &p->window;
    const pool_average *average = p->is_average ? &p->average : NULL;
    const int64_t height = w->out[0] * w->out[1], last = min64(p->rows, end * p->rows_per_task);
    const int64_t size = w->out[2] * V;
    real *near_y = scratch;
    lane_int *near_indices = p->indices ? (lane_int *)(near_y + size) : NULL;
    for (int64_t row = begin * p->rows_per_task; row < last;) {
        const int64_t plane = row / height, first = row % height, y = plane * height * size;
        const int64_t until = p->far_rows ? first + 1 : min64(height, first + last - row);
        if (p->far_rows) fetch_next_rows(p, plane, first);
        const real *x = p->from + plane * w->in[0] * w->in[1] * w->in[2] * V;
        if (p->streamed) {
            pool_plane(w, average, first, until, x, 0, near_y - first * size,
                       near_indices ? near_indices - first * size : NULL);
            stream_bytes(p->to + row * size, near_y, size * (int64_t)sizeof(real));
            if (p->indices) stream_bytes(p->indices + row * size, near_indices, size * (int64_t)sizeof(lane_int));
        } else {
            pool_plane(w, average, first, until, x, 0, p->to + y, p->indices ? p->indices + y : NULL);
        }
        row += until - first;
    }
    if (p->streamed) stream_fence();
}

static void run_pool_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const pool_args *p = args;
    const pycnn_window *w = &p->window;
    const pool_average *average = p->is_average ? &p->average : NULL;
    const int64_t height = w->in[0] * w->in[1], last = min64(p->rows, end * p->rows_per_task), size = w->in[2] * V;
    real *near = (real *)scratch + w->out[2] * V;
    for (int64_t row = begin * p->rows_per_task; row < last; row++) {
        const int64_t plane = row / height, id = row % height / w->in[1], ih = row % w->in[1];
        const int64_t dy = plane * w->out[0] * w->out[1] * w->out[2] * V;
        real *dx = p->to + row * size;
        pool_backward_row(w, average, id, ih, p->from + dy, p->indices ? p->indices + dy : NULL, p->streamed ? near
                          : dx,
                          scratch);
        if (p->streamed) stream_reals(dx, near, size);
    }
    if (p->streamed) stream_fence();
}

/* A single window never meets another: a stride as long as the input lets the backward pass know. */
static pycnn_window lone_windows_apart(const pycnn_window *w)
{
    pycnn_window v = *w;
    for (int a = 0; a < 3; a++)
        if (v.out[a] == 1) v.stride[a] = max64(v.in[a] + v.before[a], (v.kernel[a] - 1) * v.dilation[a] + 1);
    return v;
}

static int prepare_pool(pycnn_step *step, int backward, int64_t planes, pool_args p)
{
    const pycnn_window *w = &p.window;
    const int64_t out_rows = w->out[0] * w->out[1], in_rows = w->in[0] * w->in[1];
    const int64_t rows = backward ? in_rows : out_rows;
    p.rows = planes * rows;
    p.far_rows = planes * in_rows * w->in[2] * V * (int64_t)sizeof(real) > NEAR_BYTES ? planes * in_rows : 0;
    p.rows_per_task = max64(1, rows * ELEMENTS_PER_TASK / max64(1, in_rows * w->in[2] * V));
    p.streamed = is_far(planes * V * (in_rows * w->in[2] + out_rows * w->out[2] * (p.indices ? 2 : 1)));
    return PREPARE(step, backward ? run_pool_backward : run_pool_forward, ceil_div(p.rows, p.rows_per_task),
                   (size_t)((2 * w->out[2] + (backward ? w->in[2] : 0)) * V) * sizeof(real), p);
}

static int max_pool_forward(pycnn_step *step, const pycnn_window *w, int64_t planes, const void *x, void *y,
                            void *indices)
{
    return prepare_pool(step, 0, planes, (pool_args){.window = *w, .from = x, .to = y, .indices = indices});
}

static int max_pool_backward(pycnn_step *step, const pycnn_window *w, int64_t planes, const void *dy,
                             const void *indices, void *dx)
{
    return prepare_pool(step, 1, planes, (pool_args){.window = lone_windows_apart(w), .from = dy, .to = dx,
                                                     .indices = (lane_int *)indices});
}

static pool_average average_over(const int64_t after[3], pycnn_divisor divisor, int squared)
{
    return (pool_average){{after[0], after[1], after[2]}, divisor, squared};
}

static int avg_pool_forward(pycnn_step *step, const pycnn_window *w, const int64_t after[3], pycnn_divisor divisor,
                            int64_t planes, const void *x, void *y)
{
    return prepare_pool(step, 0, planes, (pool_args){.window = *w, .is_average = 1, .from = x, .to = y,
                                                     .average = average_over(after, divisor, 0)});
}

static int avg_pool_backward(pycnn_step *step, const pycnn_window *w, const int64_t after[3], pycnn_divisor divisor,
                             int squared, int64_t planes, const void *dy, void *dx)
{
    return prepare_pool(step, 1, planes, (pool_args){.window = lone_windows_apart(w), .is_average = 1, .from = dy,
                                                     .to = dx, .average = average_over(after, divisor, squared)});
}
