/* Pooling of planes as a caller's arrays have them: lanes are columns, and nothing is reordered.
 *
 *     max     y[o] = max over k of x[o stride - before + k dilation],   dx[position[o]] += dy[o]
 *     average y[o] = sum over k of x[o stride - before + k] / divisor[o],   dx[i] = sum over o of dy[o] / divisor[o]
 *
 * Forward, a vector is V outputs of a row; with stride 2 its taps are the even or the odd columns of two vectors. Where
 * windows hang over the input, outputs are made one by one. An average adds up rows first, then columns, in a row with
 * zeros around it. Backward, a maximum's gradient is scattered into a band of dx that is in the nearest cache; an average's
 * is added up over the rows of dy that reach a row of dx, then spread along it.
 *
 * What a task makes is contiguous: it is gathered in scratch, and copied or streamed out. Bound by memory. */

/* Windows over planes in callers' arrays. Rows are counted through all planes: of y forward, of dx backward. */
typedef struct {
    pycnn_window window;
    pool_average average;
    int64_t rows, rows_per_task;
    int streamed;
    pycnn_slot from_slot;
    void *const *to_slot;
    int64_t *const *positions_slot;
} plane_pool_args;

#define ROW_SLACK (2 * V)               /* reals that may be written behind a row in scratch */

INLINE void put_out(int streamed, void *to, const void *from, int64_t bytes)
{
    if (streamed) stream_bytes(to, from, bytes);
    else memcpy(to, from, (size_t)bytes);
}

/* ---- columns ----------------------------------------------------------------------------------------------------- */

#define EVERY_SECOND(l, first) 2 * (l) + (first)
#define LOW_TWICE(l, h) (l) / 2
#define HIGH_TWICE(l, h) V / 2 + (l) / 2

/* The columns 2 l + odd of the first `n` from p on. */
INLINE vec vload_second(const real *p, int odd, int64_t n)
{
    const vec a = vload_upto(p, n), b = n >= 2 * V ? vload(p + V) : vload_first(p + V, max64(0, n - V));
    return odd ? __builtin_shufflevector(a, b, LANES(EVERY_SECOND, 1)) : __builtin_shufflevector(a, b, LANES(EVERY_SECOND, 0));
}

/* The columns k, k + stride, ... n of them, of windows that begin at p and are `reach` columns long. With `more` windows
   behind them, whole vectors may be read. */
INLINE vec vload_taps(const real *p, const int64_t k, const int64_t reach, const int64_t stride, int64_t n, const int more)
{
    if (stride == 1) return vload_upto(p + k, n);
    if (stride == 2) {
        const int64_t pair = k & ~(int64_t)1;
        return vload_second(p + pair, k & 1, more || pair + 1 < reach ? 2 * n : 2 * n - 1);
    }
    real t[V] = {0};
    for (int64_t l = 0; l < n; l++) t[l] = p[l * stride + k];
    return vload(t);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* A row of outputs: its tap rows inside the input, and where in the plane the first begins; or a row of inputs: the rows of
   outputs that reach it, and the first of them. `scale` is 1 / the divisor of its rows. */
typedef struct { int64_t depth, height, begin; real scale; } row_entry;

/* A column of outputs: its first tap inside, and how many there are. */
typedef struct { int64_t first, taps; } column_entry;

static void list_rows(const pycnn_window *w, const pool_average *average, row_entry *r)
{
    for (int64_t od = 0; od < w->out[0]; od++)
        for (int64_t oh = 0; oh < w->out[1]; oh++, r++) {
            const window_taps d = taps_inside(w, 0, od), h = taps_inside(w, 1, oh);
            const int64_t id = d.first + d.begin * w->dilation[0], ih = h.first + h.begin * w->dilation[1];
            const int64_t counted = average ? counted_taps(w, average, 0, od) * counted_taps(w, average, 1, oh) : 1;
            *r = (row_entry){d.end - d.begin, h.end - h.begin, (id * w->in[1] + ih) * w->in[2],
                             (real)1 / (real)max64(1, counted)};
        }
}

static void list_columns(const pycnn_window *w, column_entry *c)
{
    for (int64_t o = 0; o < w->out[2]; o++) {
        const window_taps t = taps_inside(w, 2, o);
        c[o] = (column_entry){t.first + t.begin * w->dilation[2], t.end - t.begin};
    }
}

/* ---- max, forward ------------------------------------------------------------------------------------------------ */

/* n <= V outputs whose windows are whole and begin at x; constant `height`, `width`, `stride` and n make straight-line
   code of it. `corner` is the position of x in its plane. */
INLINE void max_columns(const pycnn_window *w, const int64_t depth, const int64_t height, const int64_t width,
                        const int64_t dilation, const int64_t stride, const real *x, int64_t corner, int64_t n,
                        const int more, real *y, int64_t *positions)
{
    static const lane_int lanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const int64_t reach = (width - 1) * dilation + 1;
    const int64_t row_step = w->dilation[1] * w->in[2], plane_step = w->dilation[0] * w->in[1] * w->in[2];
    vec best = vload_taps(x, 0, reach, stride, n, more);
    ivec offset = ivset1(0);
    for (int64_t kd = 0; kd < depth; kd++)
        for (int64_t kh = 0; kh < height; kh++) {
            const int64_t row = kd * plane_step + kh * row_step;
            for (int64_t kw = 0; kw < width; kw++) {
                if (kd + kh + kw == 0) continue;
                const vec a = vload_taps(x + row, kw * dilation, reach, stride, n, more);
                const vmask better = vbeats(a, best);
                best = vselect(better, a, best);
                offset = ivselect(better, ivset1((lane_int)(row + kw * dilation)), offset);
            }
        }
    vstore(y, best);
    ivstore_wide(positions, offset + ivset1((lane_int)corner) + ivload(lanes) * ivset1((lane_int)stride));
}

/* One output whose window begins at x, `taps` of it in a row; without any, -infinity from nowhere. */
static void max_window(const pycnn_window *w, const row_entry *r, int64_t taps, const real *x, int64_t corner, real *y,
                       int64_t *position)
{
    real best = -(real)INFINITY;
    int64_t from = -1;
    for (int64_t kd = 0; kd < r->depth; kd++)
        for (int64_t kh = 0; kh < r->height; kh++)
            for (int64_t kw = 0; kw < taps; kw++) {
                const int64_t row = (kd * w->dilation[0] * w->in[1] + kh * w->dilation[1]) * w->in[2];
                const int64_t offset = row + kw * w->dilation[2];
                const real a = x[offset];
                const int better = (from < 0) | (!(a <= best) & (best == best));     /* no branch: nobody can predict it */
                best = better ? a : best;
                from = better ? corner + offset : from;
            }
    *y = best;
    *position = from;
}

/* A row of outputs: edges one by one, the whole windows between them by vectors. x points to the plane. */
INLINE void max_row(const pycnn_window *w, const int64_t depth, const int64_t height, const int64_t width,
                    const int64_t dilation, const int64_t stride, const row_entry *r, const column_entry *c,
                    pycnn_range whole, const real *x, real *y, int64_t *positions)
{
    const int64_t n = w->out[2], end = max64(whole.begin, whole.end);
    int64_t o = 0;
    for (; o < whole.begin; o++)
        max_window(w, r, c[o].taps, x + r->begin + c[o].first, r->begin + c[o].first, y + o, positions + o);
    if (o < end) {
        int64_t at = r->begin + c[o].first;
        for (; o + V < end; o += V, at += V * stride)
            max_columns(w, depth, height, width, dilation, stride, x + at, at, V, 1, y + o, positions + o);
        max_columns(w, depth, height, width, dilation, stride, x + at, at, end - o, 0, y + o, positions + o);
    }
    for (o = end; o < n; o++)
        max_window(w, r, c[o].taps, x + r->begin + c[o].first, r->begin + c[o].first, y + o, positions + o);
}

/* A row whose windows are cut above or below, or of no common shape. */
static void max_row_of_any_shape(const pycnn_window *w, const row_entry *r, const column_entry *c, pycnn_range whole,
                                 const real *x, real *y, int64_t *positions)
{
    const int64_t stride = w->stride[2], width = w->kernel[2], dilation = w->dilation[2];
    const pycnn_range none = {w->out[2], w->out[2]}, range = r->depth && r->height ? whole : none;
    if (stride == 1) max_row(w, r->depth, r->height, width, dilation, 1, r, c, range, x, y, positions);
    else if (stride == 2) max_row(w, r->depth, r->height, width, dilation, 2, r, c, range, x, y, positions);
    else max_row(w, r->depth, r->height, width, dilation, stride, r, c, range, x, y, positions);
}

/* `count` rows of outputs from row `row` of plane x on; y and positions hold nothing but them. */
INLINE void max_rows(const pycnn_window *w, const int64_t side, const int64_t stride, const row_entry *rows,
                     const column_entry *c, pycnn_range whole, int64_t row, int64_t count, const real *x, real *y,
                     int64_t *positions)
{
    const int64_t height = w->out[0] * w->out[1], width = w->out[2], plane_size = w->in[0] * w->in[1] * w->in[2];
    for (int64_t i = 0; i < count; i++, y += width, positions += width) {
        if (side && rows[row].height == side)
            max_row(w, 1, side, side, 1, stride, &rows[row], c, whole, x, y, positions);
        else max_row_of_any_shape(w, &rows[row], c, whole, x, y, positions);
        if (++row == height) row = 0, x += plane_size;
    }
}

/* The side of a flat square window without dilation that goes on by two, else 0. */
INLINE int64_t common_side(const pycnn_window *w)
{
    const int flat = w->kernel[0] == 1 && w->dilation[1] == 1 && w->dilation[2] == 1 && w->in[0] == 1;
    return flat && w->stride[2] == 2 && w->kernel[1] == w->kernel[2] ? w->kernel[1] : 0;
}

static void run_max_planes(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const plane_pool_args *p = args;
    const pycnn_window *w = &p->window;
    const pycnn_range whole = whole_windows(w, 2);
    const int64_t height = w->out[0] * w->out[1], width = w->out[2], plane_size = w->in[0] * w->in[1] * w->in[2];
    const int64_t side = common_side(w);
    row_entry *rows = scratch;
    column_entry *c = (column_entry *)(rows + height);
    int64_t *positions = (int64_t *)(c + width);
    real *y = (real *)(positions + round_up(p->rows_per_task * width + ROW_SLACK, LINE));
    list_rows(w, NULL, rows);
    list_columns(w, c);
    for (int64_t task = begin; task < end; task++) {
        const int64_t first = task * p->rows_per_task, count = min64(p->rows_per_task, p->rows - first);
        const real *x = (const real *)*p->from_slot + first / height * plane_size;
        if (side == 2) max_rows(w, 2, 2, rows, c, whole, first % height, count, x, y, positions);
        else if (side == 3) max_rows(w, 3, 2, rows, c, whole, first % height, count, x, y, positions);
        else max_rows(w, 0, 0, rows, c, whole, first % height, count, x, y, positions);
        put_out(p->streamed, (real *)*p->to_slot + first * width, y, count * width * (int64_t)sizeof(real));
        put_out(p->streamed, *p->positions_slot + first * width, positions, count * width * (int64_t)sizeof(int64_t));
    }
    if (p->streamed) stream_fence();
}

/* ---- max, backward ----------------------------------------------------------------------------------------------- */

/* dx is made in bands: planes are cut along their first axis that is longer than one. */
typedef struct {
    pycnn_window window;
    int axis;
    int64_t planes, bands, in_size, out_size;       /* of one step along the axis */
    int streamed;
    pycnn_slot dy_slot;
    pycnn_index_slot positions_slot;
    void *const *dx_slot;
    real *astray;
} scatter_args;

/* The lanes of `astray` where a position of a row of outputs is none of its window's taps become all ones. Tap rows, of
   which there are depth x height, begin at first[o], and reach `reach[o]` columns on. */
INLINE void check_row(const pycnn_window *w, const int64_t depth, const int64_t height, const lane_int dilation, int64_t begin,
                      const lane_int *first, const lane_int *reach, const int64_t *positions, ivec *astray)
{
    const lane_int row_step = (lane_int)(w->dilation[1] * w->in[2]), plane_step = (lane_int)(w->dilation[0] * w->in[1] * w->in[2]);
    for (int64_t o = 0; o < w->out[2]; o += V) {
        const int64_t n = min64(V, w->out[2] - o);
        const ivec at = ivload_narrow_first(positions + o, n, begin) - ivload(first + o), last = ivload(reach + o);
        ivec met = ivset1(0);
        for (int64_t kd = 0; kd < depth; kd++)
            for (int64_t kh = 0; kh < height; kh++) {
                const ivec k = at - ivset1((lane_int)kd * plane_step + (lane_int)kh * row_step);
                met |= ivselect(ivbelow(last, k), ivset1(0), dilation == 1 ? ivset1(-1) : (ivec)(k % dilation == 0));
            }
        *astray |= (ivec)vkeep_first((vec)~met, n, 0);
    }
}

/* Whether a position in `count` rows of outputs is none of its window's taps. */
static int any_astray(const pycnn_window *w, const row_entry *r, int64_t count, const lane_int *first, const lane_int *reach,
                      const int64_t *positions)
{
    ivec astray = ivset1(0);
    for (int64_t i = 0; i < count; i++, r++, positions += w->out[2]) {
        const int flat = r->depth == 1 && w->dilation[2] == 1;
        if (flat && r->height == 2) check_row(w, 1, 2, 1, r->begin, first, reach, positions, &astray);
        else if (flat && r->height == 3) check_row(w, 1, 3, 1, r->begin, first, reach, positions, &astray);
        else check_row(w, r->depth, r->height, (lane_int)w->dilation[2], r->begin, first, reach, positions, &astray);
    }
    lane_int lanes[V], any = 0;
    ivstore(lanes, astray);
    for (int l = 0; l < V; l++) any |= lanes[l];
    return any != 0;
}

/* dx[position] += dy, */
INLINE void scatter(const real *restrict dy, const int64_t *restrict positions, int64_t n, real *restrict dx)
{
    for (int64_t i = 0; i < n; i++) dx[positions[i]] += dy[i];
}

/* where the position lies in a band. */
INLINE void scatter_band(const real *restrict dy, const int64_t *restrict positions, int64_t n, int64_t first, int64_t size,
                         real *restrict dx)
{
    for (int64_t i = 0; i < n; i++) {
        const uint64_t at = (uint64_t)(positions[i] - first);
        if (at < (uint64_t)size) dx[at] += dy[i];
    }
}

static void run_scatter(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const scatter_args *s = args;
    const pycnn_window *w = &s->window;
    const int a = s->axis;
    const int64_t in = w->in[a], out = w->out[a], stride = w->stride[a], before = w->before[a];
    const int64_t tap_reach = (w->kernel[a] - 1) * w->dilation[a];
    const int64_t plane_out = out * s->out_size, plane_in = in * s->in_size, height = w->out[0] * w->out[1];
    const int64_t steps_rows = a == 0 ? w->out[1] : 1;      /* rows of outputs to a step along the axis */
    row_entry *rows = scratch;
    lane_int *first = (lane_int *)(rows + height), *reach = first + w->out[2] + V;
    real *band = (real *)(reach + w->out[2] + V);
    const real yes = 1;
    list_rows(w, NULL, rows);
    for (int64_t o = 0; o < w->out[2]; o++) {
        const window_taps t = taps_inside(w, 2, o);
        first[o] = (lane_int)(t.first + t.begin * w->dilation[2]);
        reach[o] = (lane_int)((t.end - t.begin - 1) * w->dilation[2]);
    }
    for (int64_t task = begin; task < end; task++) {
        const int64_t plane = task / s->bands, from = part_begin(in, s->bands, task % s->bands);
        const int64_t to = part_begin(in, s->bands, task % s->bands + 1), size = (to - from) * s->in_size;
        /* Outputs whose windows reach the band, and those that begin in it. */
        const int64_t low = ceil_div(max64(0, from + before - tap_reach), stride);
        const int64_t high = min64(out, (to - 1 + before) / stride + 1);
        const int64_t own = from ? min64(out, ceil_div(from + before, stride)) : 0;
        const int64_t own_end = to < in ? min64(out, ceil_div(to + before, stride)) : out;
        const real *dy = (const real *)*s->dy_slot + plane * plane_out;
        const int64_t *positions = *s->positions_slot + plane * plane_out;
        const int64_t checked = a == 2 ? own == 0 : (own_end - own) * steps_rows;
        if (any_astray(w, rows + own * steps_rows, checked, first, reach, positions + own * s->out_size)) {
            __atomic_store(s->astray, &yes, __ATOMIC_RELAXED);
            continue;
        }
        memset(band, 0, (size_t)size * sizeof(real));
        if (s->bands == 1) scatter(dy, positions, plane_out, band);
        else if (low < high)
            scatter_band(dy + low * s->out_size, positions + low * s->out_size, (high - low) * s->out_size,
                         from * s->in_size, size, band);
        put_out(s->streamed, (real *)*s->dx_slot + plane * plane_in + from * s->in_size, band, size * (int64_t)sizeof(real));
    }
    if (s->streamed) stream_fence();
}

/* ---- average, forward -------------------------------------------------------------------------------------------- */

/* Columns that the windows of a row of outputs cover, padding and overhang included. */
INLINE int64_t covered_columns(const pycnn_window *w) { return (w->out[2] - 1) * w->stride[2] + w->kernel[2]; }

/* sum[i] = the sum of the n columns i of the rows of a window. */
INLINE void add_rows(const real *x, const int64_t depth, int64_t plane_step, const int64_t height, int64_t row_step,
                     int64_t n, real *sum)
{
    for (int64_t i = 0; i < n; i += V) {
        vec total = vset1(0);
        for (int64_t kd = 0; kd < depth; kd++)
            for (int64_t kh = 0; kh < height; kh++) total += vload_upto(x + kd * plane_step + kh * row_step + i, n - i);
        vstore(sum + i, total);     /* zeros behind the last column, where there are zeros */
    }
}

/* y[o] = the sum of the columns of window o, times `scale` and scales[o]; n outputs. */
INLINE void add_columns(const real *sum, const int64_t width, const int64_t stride, real scale, const real *scales, int64_t n,
                        real *y)
{
    for (int64_t o = 0; o < n; o += V) {
        vec total = vset1(0);
        for (int64_t k = 0; k < width; k++) total += vload_taps(sum + o * stride, k, width, stride, min64(V, n - o), 1);
        vstore(y + o, total * (vset1(scale) * vload(scales + o)));
    }
}

static void add_columns_of_shape(const pycnn_window *w, const real *sum, real scale, const real *scales, real *y)
{
    const int64_t width = w->kernel[2], stride = w->stride[2], n = w->out[2];
    if (width == 2 && stride == 2) add_columns(sum, 2, 2, scale, scales, n, y);
    else if (stride == 1) add_columns(sum, width, 1, scale, scales, n, y);
    else if (stride == 2) add_columns(sum, width, 2, scale, scales, n, y);
    else add_columns(sum, width, stride, scale, scales, n, y);
}

/* scales[o] = 1 / the divisor of column o. */
static void list_scales(const plane_pool_args *p, real *scales)
{
    const int64_t n = p->window.out[2];
    for (int64_t o = 0; o < n; o++) scales[o] = (real)1 / (real)max64(1, counted_taps(&p->window, &p->average, 2, o));
    for (int64_t o = n; o < n + ROW_SLACK; o++) scales[o] = 1;
}

static void run_avg_planes(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const plane_pool_args *p = args;
    const pycnn_window *w = &p->window;
    const int64_t height = w->out[0] * w->out[1], width = w->out[2], covered = covered_columns(w), in = w->in[2];
    const int64_t inside = max64(0, min64(in, covered - w->before[2])), plane_size = w->in[0] * w->in[1] * in;
    row_entry *rows = scratch;
    real *sum = (real *)(rows + height), *scales = sum + round_up(covered + ROW_SLACK, LINE);
    real *y = scales + round_up(width + ROW_SLACK, LINE);
    memset(sum, 0, (size_t)(covered + ROW_SLACK) * sizeof(real));
    list_rows(w, &p->average, rows);
    list_scales(p, scales);
    for (int64_t task = begin; task < end; task++) {
        const int64_t first = task * p->rows_per_task, count = min64(p->rows_per_task, p->rows - first);
        const real *x = (const real *)*p->from_slot + first / height * plane_size;
        int64_t row = first % height;
        for (int64_t i = 0; i < count; i++) {
            const row_entry *r = &rows[row];
            real *at = sum + w->before[2];
            if (r->depth == 1 && r->height == 2) add_rows(x + r->begin, 1, 0, 2, in, inside, at);
            else if (r->depth == 1 && r->height == 3) add_rows(x + r->begin, 1, 0, 3, in, inside, at);
            else add_rows(x + r->begin, r->depth, w->in[1] * in, r->height, in, inside, at);
            add_columns_of_shape(w, sum, r->scale, scales, y + i * width);
            if (++row == height) row = 0, x += plane_size;
        }
        put_out(p->streamed, (real *)*p->to_slot + first * width, y, count * width * (int64_t)sizeof(real));
    }
    if (p->streamed) stream_fence();
}

/* ---- average, backward ------------------------------------------------------------------------------------------- */

/* The outputs of an axis whose windows reach input i. */
INLINE pycnn_range outputs_reaching(const pycnn_window *w, int axis, int64_t i)
{
    const int64_t position = i + w->before[axis];
    const int64_t end = min64(w->out[axis], position / w->stride[axis] + 1);
    return (pycnn_range){min64(end, ceil_div(max64(0, position - w->kernel[axis] + 1), w->stride[axis])), end};
}

/* For each row of inputs the rows of outputs that reach it. */
static void list_reaching_rows(const pycnn_window *w, row_entry *r)
{
    for (int64_t id = 0; id < w->in[0]; id++)
        for (int64_t ih = 0; ih < w->in[1]; ih++) {
            const pycnn_range d = outputs_reaching(w, 0, id), h = outputs_reaching(w, 1, ih);
            *r++ = (row_entry){d.end - d.begin, h.end - h.begin, d.begin * w->out[1] + h.begin, 0};
        }
}

/* sum[o] = the sum of the scaled rows of dy that reach a row of dx; `height` rows one after the other, in each depth. */
INLINE void add_scaled_rows(const real *dy, const row_entry *out_rows, const real *scales, int64_t width, const int64_t depth,
                            int64_t depth_rows, const int64_t height, real *sum)
{
    for (int64_t o = 0; o < width; o += V) {
        vec total = vset1(0);
        for (int64_t kd = 0; kd < depth; kd++)
            for (int64_t kh = 0; kh < height; kh++) {
                const int64_t row = kd * depth_rows + kh;
                total = vfma(vset1(out_rows[row].scale), vload_upto(dy + row * width + o, width - o), total);
            }
        vstore(sum + o, total * vload(scales + o));
    }
}

/* row[o stride + k] += sum[o] for all taps k; the row is clear before. */
INLINE void spread_columns(const real *restrict sum, const int64_t width, const int64_t stride, int64_t n, real *restrict row)
{
    for (int64_t k = 0; k < width; k++)
        for (int64_t o = 0; o < n; o++) row[o * stride + k] += sum[o];
}

/* A row of `wide` columns that the sums spread over, padding included. */
static void spread_columns_of_shape(const pycnn_window *w, const real *sum, int64_t wide, real *row)
{
    const int64_t width = w->kernel[2], stride = w->stride[2], n = w->out[2];
    if (width == 2 && stride == 2) {
        for (int64_t o = 0; o < n; o += V) {
            const vec a = vload(sum + o);
            vstore(row + 2 * o, __builtin_shufflevector(a, a, LANES(LOW_TWICE, 0)));
            vstore(row + 2 * o + V, __builtin_shufflevector(a, a, LANES(HIGH_TWICE, 0)));
        }
        for (int64_t i = 2 * n; i < wide; i++) row[i] = 0;
        return;
    }
    memset(row, 0, (size_t)wide * sizeof(real));
    if (stride == 1) spread_columns(sum, width, 1, n, row);
    else spread_columns(sum, width, stride, n, row);
}

static void run_avg_planes_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const plane_pool_args *p = args;
    const pycnn_window *w = &p->window;
    const int64_t height = w->in[0] * w->in[1], in = w->in[2], width = w->out[2], before = w->before[2];
    const int64_t out_height = w->out[0] * w->out[1], wide = max64(covered_columns(w), before + in);
    row_entry *rows = scratch, *out_rows = rows + height;
    real *sum = (real *)(out_rows + out_height), *scales = sum + round_up(width + ROW_SLACK, LINE);
    real *padded = scales + round_up(width + ROW_SLACK, LINE), *dx = padded + round_up(wide + ROW_SLACK, LINE);
    list_reaching_rows(w, rows);
    list_rows(w, &p->average, out_rows);
    list_scales(p, scales);
    for (int64_t task = begin; task < end; task++) {
        const int64_t first = task * p->rows_per_task, count = min64(p->rows_per_task, p->rows - first);
        const real *dy = (const real *)*p->from_slot + first / height * out_height * width;
        int64_t row = first % height;
        for (int64_t i = 0; i < count; i++) {
            const row_entry *r = &rows[row];
            const real *from = dy + r->begin * width;
            if (r->depth == 1 && r->height == 1)
                add_scaled_rows(from, out_rows + r->begin, scales, width, 1, 0, 1, sum);
            else add_scaled_rows(from, out_rows + r->begin, scales, width, r->depth, w->out[1], r->height, sum);
            /* A row in place may go on behind its end, where the next one begins. */
            real *to = before ? padded : dx + i * in;
            spread_columns_of_shape(w, sum, wide, to);
            if (before) memcpy(dx + i * in, padded + before, (size_t)in * sizeof(real));
            if (++row == height) row = 0, dy += out_height * width;
        }
        put_out(p->streamed, (real *)*p->to_slot + first * in, dx, count * in * (int64_t)sizeof(real));
    }
    if (p->streamed) stream_fence();
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

/* A step whose tasks are runs of rows. It makes `made_bytes` for each element of a row, and needs so many bytes of scratch
   beside them. */
static int prepare_plane_pool(pycnn_step *step, pycnn_run_tasks *run, plane_pool_args p, int64_t planes, int backward,
                              int64_t made_bytes, int64_t bytes)
{
    const pycnn_window *w = &p.window;
    const int64_t in_rows = w->in[0] * w->in[1], out_rows = w->out[0] * w->out[1];
    const int64_t in_size = in_rows * w->in[2], out_size = out_rows * w->out[2];
    const int64_t rows = backward ? in_rows : out_rows, width = backward ? w->in[2] : w->out[2];
    p.rows = planes * rows;
    p.rows_per_task = max64(1, min64(p.rows, rows * ELEMENTS_PER_TASK / (in_size + out_size)));
    p.streamed = is_far(planes * (in_size + out_size * (backward ? 1 : made_bytes / (int64_t)sizeof(real))));
    const int64_t made = round_up(p.rows_per_task * width + ROW_SLACK, LINE) * made_bytes;
    return PREPARE(step, run, ceil_div(p.rows, p.rows_per_task), (size_t)(made + bytes), p);
}

/* Reals of scratch for a row, in bytes. */
INLINE int64_t row_bytes(int64_t n) { return round_up(n + ROW_SLACK, LINE) * (int64_t)sizeof(real); }

INLINE int64_t rows_bytes(int64_t rows) { return rows * (int64_t)sizeof(row_entry); }

/* Whether a lane holds any position in a plane. */
INLINE int positions_fit(const pycnn_window *w)
{
    return sizeof(lane_int) > 4 || w->in[0] * w->in[1] * w->in[2] <= INT32_MAX;
}

static int max_pool_planes(pycnn_step *step, const pycnn_window *w, int64_t planes, pycnn_slot x_slot, void *const *y_slot,
                           int64_t *const *positions_slot)
{
    if (!positions_fit(w)) return PYCNN_TOO_LARGE;
    const plane_pool_args p = {.window = *w, .from_slot = x_slot, .to_slot = y_slot, .positions_slot = positions_slot};
    return prepare_plane_pool(step, run_max_planes, p, planes, 0, sizeof(real) + sizeof(int64_t),
                              rows_bytes(w->out[0] * w->out[1]) + w->out[2] * (int64_t)sizeof(column_entry));
}

static int max_pool_planes_backward(pycnn_step *step, const pycnn_window *w, int64_t planes, pycnn_slot dy_slot,
                                    pycnn_index_slot positions_slot, void *const *dx_slot, void *astray)
{
    if (!positions_fit(w)) return PYCNN_TOO_LARGE;
    scatter_args s = {.window = *w, .planes = planes, .dy_slot = dy_slot, .positions_slot = positions_slot,
                      .dx_slot = dx_slot, .astray = astray, .in_size = 1, .out_size = 1};
    while (s.axis < 2 && w->in[s.axis] == 1 && w->out[s.axis] == 1) s.axis++;
    for (int a = s.axis + 1; a < 3; a++) s.in_size *= w->in[a], s.out_size *= w->out[a];
    const int64_t in = w->in[s.axis], covered = (w->kernel[s.axis] - 1) * w->dilation[s.axis] + 1;
    const int64_t least = min64(in, 4 * covered);       /* so that few outputs belong to two bands */
    s.bands = max64(1, in / max64(least, 2 * ELEMENTS_PER_TASK / s.in_size));
    s.streamed = is_far(planes * (in * s.in_size + w->out[s.axis] * s.out_size * 3));
    const int64_t band = ceil_div(in, s.bands) * s.in_size * (int64_t)sizeof(real);
    const int64_t columns = 2 * (w->out[2] + V) * (int64_t)sizeof(lane_int);
    return PREPARE(step, run_scatter, planes * s.bands, (size_t)(rows_bytes(w->out[0] * w->out[1]) + columns + band), s);
}

static int avg_pool_planes(pycnn_step *step, const pycnn_window *w, const int64_t after[3], pycnn_divisor divisor,
                           int64_t planes, pycnn_slot x_slot, void *const *y_slot)
{
    const plane_pool_args p = {.window = *w, .average = average_over(after, divisor, 0), .from_slot = x_slot, .to_slot = y_slot};
    return prepare_plane_pool(step, run_avg_planes, p, planes, 0, sizeof(real), rows_bytes(w->out[0] * w->out[1])
                              + row_bytes(covered_columns(w)) + row_bytes(w->out[2]));
}

static int avg_pool_planes_backward(pycnn_step *step, const pycnn_window *w, const int64_t after[3], pycnn_divisor divisor,
                                    int64_t planes, pycnn_slot dy_slot, void *const *dx_slot)
{
    const plane_pool_args p = {.window = *w, .average = average_over(after, divisor, 0), .from_slot = dy_slot,
                               .to_slot = dx_slot};
    const int64_t wide = max64(covered_columns(w), w->before[2] + w->in[2]);
    return prepare_plane_pool(step, run_avg_planes_backward, p, planes, 1, sizeof(real),
                              rows_bytes(w->in[0] * w->in[1] + w->out[0] * w->out[1]) + 2 * row_bytes(w->out[2])
                              + row_bytes(wide) + (wide - w->in[2]) * (int64_t)sizeof(real));
}
