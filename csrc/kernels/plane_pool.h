/* Pooling of planes as a caller's arrays have them: lanes are columns, and nothing is reordered.
 *
 *     max     y[o] = max over k of x[o stride - before + k dilation],   dx[position[o]] += dy[o]
 *     average y[o] = sum over k of x[o stride - before + k] / divisor[o],   dx[i] = sum over o of dy[o] / divisor[o]
 *
 * Forward, a vector is V outputs of a row; with stride 2 its taps are the even or the odd columns of two vectors.
 * Where windows hang over the ends of rows, a copy of the rows has -infinity there, which beats nothing. An average
 * adds up rows first, then columns, in a row with zeros around it. Backward, V positions of dx, or 2 V with stride
 * 2, ask each output whose window reaches them whether it came from them; with other strides or dilation dy is
 * scattered into a band of dx. An average's gradient is added up over the rows of dy that reach a row of dx, then
 * spread along it.
 *
 * What a task makes is contiguous: it is gathered in scratch, and copied or streamed out. Bound by memory. */

/* Windows over planes in callers' arrays. Rows are counted through all planes: of y forward, of dx backward. */
typedef struct {
    pycnn_window window;
    pool_average average;
    int64_t planes, rows;               /* rows of a plane */
    int64_t planes_per_task, bands;     /* tasks of a plane, if it is more than one */
    int64_t source_rows;                /* most rows of x that a task reads */
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

/* Rows first .. first+count-1 of all planes are made by a task. */
typedef struct { int64_t first, count; } task_rows;

INLINE task_rows rows_of_task(const plane_pool_args *p, int64_t task)
{
    const int64_t plane = task / p->bands * p->planes_per_task, band = task % p->bands;
    const int64_t begin = part_begin(p->rows, p->bands, band), end = part_begin(p->rows, p->bands, band + 1);
    if (p->bands > 1) return (task_rows){plane * p->rows + begin, end - begin};
    return (task_rows){plane * p->rows, min64(p->planes_per_task, p->planes - plane) * p->rows};
}

INLINE int64_t plane_tasks(const plane_pool_args *p) { return ceil_div(p->planes, p->planes_per_task) * p->bands; }

/* ---- columns ----------------------------------------------------------------------------------------------------- */

#define EVERY_SECOND(l, first) 2 * (l) + (first)
#define LOW_TWICE(l, h) (l) / 2
#define HIGH_TWICE(l, h) V / 2 + (l) / 2

/* The columns 2 l + odd of the first `n` from p on, or of all 2 V if they may be read. */
INLINE vec vload_second(const real *p, int odd, int64_t n, const int roomy)
{
    const vec a = roomy ? vload(p) : vload_first(p, min64(n, V));
    const vec b = roomy ? vload(p + V) : vload_first(p + V, min64(max64(0, n - V), V));
    return odd ? __builtin_shufflevector(a, b, LANES(EVERY_SECOND, 1))
        : __builtin_shufflevector(a, b, LANES(EVERY_SECOND, 0));
}

/* The columns k, k + stride, ... of V windows that begin at p and are `reach` columns long; of n windows, if there
   is no room to read on. */
INLINE vec vload_taps(const real *p, const int64_t k, const int64_t reach, const int64_t stride, int64_t n,
                      const int roomy)
{
    if (stride == 1) return roomy ? vload(p + k) : vload_first(p + k, n);
    if (stride == 2) {
        const int64_t pair = k & ~(int64_t)1;
        return vload_second(p + pair, k & 1, pair + 1 < reach ? 2 * n : 2 * n - 1, roomy);
    }
    real t[V] = {0};
    for (int64_t l = 0; l < n; l++) t[l] = p[l * stride + k];
    return vload(t);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* A row of outputs: its tap rows inside the input, and which row of the plane is the first; or a row of inputs: the
   rows of outputs that reach it, and the first of them. `scale` is 1 / the divisor of its rows. */
typedef struct { int64_t depth, height, row; real scale; } row_entry;

static void list_rows(const pycnn_window *w, const pool_average *average, row_entry *r)
{
    for (int64_t od = 0; od < w->out[0]; od++)
        for (int64_t oh = 0; oh < w->out[1]; oh++, r++) {
            const window_taps d = taps_inside(w, 0, od), h = taps_inside(w, 1, oh);
            const int64_t id = d.first + d.begin * w->dilation[0], ih = h.first + h.begin * w->dilation[1];
            const int64_t counted = average ? counted_taps(w, average, 0, od) * counted_taps(w, average, 1, oh) : 1;
            *r = (row_entry){d.end - d.begin, h.end - h.begin, id * w->in[1] + ih, (real)1 / (real)max64(1, counted)};
        }
}

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

/* ---- max, forward ------------------------------------------------------------------------------------------------ */

/* Rows of x, `pitch` reals apart: they are the planes themselves, or a copy with -infinity around each row. */
typedef struct {
    const real *x;
    int64_t pitch;
    int64_t size;               /* reals that may be read */
    const lane_int *first;      /* for each column of outputs, how far its first tap inside is from its first tap */
} max_source;

/* n <= V outputs, the first with its window at x, whose position in the plane is `corner`. With constant `side`
   windows are flat squares without dilation, and it and a constant stride make straight-line code of them. */
INLINE void max_columns(const pycnn_window *w, const int64_t depth, const int64_t height, const int64_t width,
                        const int64_t dilation, const int64_t stride, const int64_t side, int64_t pitch, const real *x,
                        int64_t corner, const lane_int *first, int64_t n, const int roomy, real *y, int64_t *positions)
{
    static const lane_int lanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const int64_t reach = (width - 1) * dilation + 1;
    const ivec corners = ivset1((lane_int)corner) + ivload(lanes) * ivset1((lane_int)stride);
    vec best = vset1(-(real)INFINITY);
    ivec offset = ivload(first);
    if (side) {
        vec a[side * side], most;
        lane_int offsets[side * side];
        ivec of_most;
        for (int64_t kh = 0; kh < side; kh++)
            for (int64_t kw = 0; kw < side; kw++) {
                a[kh * side + kw] = vload_taps(x + kh * pitch, kw, side, stride, n, roomy);
                offsets[kh * side + kw] = (lane_int)(kh * w->in[2] + kw);
            }
        if (max_of_taps(side * side, 1, a, offsets, &most, &of_most) && !mask_any(veq(vkeep_first(most, n, 0), best))) {
            vstore(y, most);
            ivstore_wide(positions, of_most + corners);
            return;
        }
    }
    for (int64_t kd = 0; kd < depth; kd++)
        for (int64_t kh = 0; kh < height; kh++) {
            const int64_t row = kd * w->dilation[0] * w->in[1] + kh * w->dilation[1];
            for (int64_t kw = 0; kw < width; kw++) {
                const vec a = vload_taps(x + row * pitch, kw * dilation, reach, stride, n, roomy);
                const vmask better = vbeats(a, best);
                best = vselect(better, a, best);
                offset = ivselect(better, ivset1((lane_int)(row * w->in[2] + kw * dilation)), offset);
            }
        }
    vstore(y, best);
    ivstore_wide(positions, offset + corners);
}

/* A row of outputs; x and `corner` as above. `roomy`: the last vectors may be read as a whole. */
INLINE void max_row(const pycnn_window *w, const int64_t depth, const int64_t height, const int64_t width,
                    const int64_t dilation, const int64_t stride, const int64_t side, const max_source *from, int roomy,
                    const real *x, int64_t corner, real *y, int64_t *positions)
{
    const int64_t n = w->out[2], whole = roomy ? n : (n - 1) / V * V;
    int64_t o = 0;
    for (; o < whole; o += V)
        max_columns(w, depth, height, width, dilation, stride, side, from->pitch, x + o * stride, corner + o * stride,
                    from->first + o, min64(V, n - o), 1, y + o, positions + o);
    if (o < n)
        max_columns(w, depth, height, width, dilation, stride, side, from->pitch, x + o * stride, corner + o * stride,
                    from->first + o, n - o, 0, y + o, positions + o);
}

static void max_row_of_any_shape(const pycnn_window *w, const row_entry *r, const max_source *from, int roomy,
                                 const real *x,
                                 int64_t corner, real *y, int64_t *positions)
{
    const int64_t stride = w->stride[2], width = w->kernel[2], dilation = w->dilation[2], d = r->depth, h = r->height;
    if (stride == 1) max_row(w, d, h, width, dilation, 1, 0, from, roomy, x, corner, y, positions);
    else if (stride == 2 && dilation == 1) max_row(w, d, h, width, 1, 2, 0, from, roomy, x, corner, y, positions);
    else max_row(w, d, h, width, dilation, stride, 0, from, roomy, x, corner, y, positions);
}

/* `rows` of a task; `from` begins with row `low` of all planes, and y and positions with the first of the rows. */
INLINE void max_rows(const pycnn_window *w, const int64_t side, const row_entry *entries, const max_source *from,
                     int64_t low, task_rows rows, const fetch_list *next, real *y, int64_t *positions)
{
    const int64_t height = w->out[0] * w->out[1], width = w->out[2], plane_rows = w->in[0] * w->in[1];
    const int64_t room = round_up(width, V) * w->stride[2] + (w->kernel[2] - 1) * w->dilation[2] + 1;
    int64_t row = rows.first % height, source = rows.first / height * plane_rows - low;
    for (int64_t i = 0; i < rows.count; i++, y += width, positions += width) {
        fetch_part(next, i, rows.count);
        const row_entry *r = &entries[row];
        const int64_t last_row = source + r->row + (r->depth - 1) * w->dilation[0] * w->in[1]
            + (r->height - 1) * w->dilation[1];
        const int roomy = last_row * from->pitch + room <= from->size;
        const real *x = from->x + (source + r->row) * from->pitch;
        const int64_t corner = r->row * w->in[2] - w->before[2];
        if (side && r->height == side) max_row(w, 1, side, side, 1, 2, side, from, roomy, x, corner, y, positions);
        else max_row_of_any_shape(w, r, from, roomy, x, corner, y, positions);
        if (++row == height) row = 0, source += plane_rows;
    }
}

/* The side of a flat square window without dilation that goes on by two, else 0. */
INLINE int64_t common_side(const pycnn_window *w)
{
    const int flat = w->kernel[0] == 1 && w->dilation[1] == 1 && w->dilation[2] == 1;
    return flat && w->stride[2] == 2 && w->kernel[1] == w->kernel[2] ? w->kernel[1] : 0;
}

/* The rows of x, of all planes, that rows of outputs read. (With dilation, the first may read later ones than the
   second.) */
static task_rows rows_of_source(const pycnn_window *w, const row_entry *entries, task_rows rows)
{
    const int64_t height = w->out[0] * w->out[1], plane_rows = w->in[0] * w->in[1];
    int64_t first = INT64_MAX, end = 0, row = rows.first % height, plane = rows.first / height * plane_rows;
    for (int64_t i = 0; i < rows.count; i++) {
        const row_entry *r = &entries[row];
        first = min64(first, plane + r->row);
        end = max64(end, plane + r->row + (r->depth - 1) * w->dilation[0] * w->in[1]
                    + (r->height - 1) * w->dilation[1] + 1);
        if (++row == height) row = 0, plane += plane_rows;
    }
    return (task_rows){first, end - first};
}

/* What the rows of a task read; nothing behind the last task. */
static fetch_list source_of_task(const plane_pool_args *p, const row_entry *entries, int64_t task)
{
    const pycnn_window *w = &p->window;
    if (task >= plane_tasks(p)) return (fetch_list){0};
    const task_rows rows = rows_of_source(w, entries, rows_of_task(p, task));
    const int64_t row = w->in[2] * (int64_t)sizeof(real);
    return (fetch_list){(const char *)*p->from_slot + rows.first * row, rows.count * row};
}

/* Reals of a row of x with what its windows cover before and behind it. */
INLINE int64_t padded_columns(const pycnn_window *w)
{
    const int64_t covered = (w->out[2] - 1) * w->stride[2] + (w->kernel[2] - 1) * w->dilation[2] + 1;
    return max64(covered, w->before[2] + w->in[2]) + V;
}

INLINE int hangs_over(const pycnn_window *w)
{
    const pycnn_range whole = whole_windows(w, 2);
    return whole.begin > 0 || whole.end < w->out[2];
}

/* Copies `count` rows behind the padding before them, which is there. */
static void copy_padded(const pycnn_window *w, const real *x, int64_t count, int64_t pitch, real *copy)
{
    const int64_t in = w->in[2];
    for (int64_t i = 0; i < count; i++, x += in, copy += pitch) {
        real *row = copy + w->before[2];
        int64_t c = 0;
        for (; c + V <= in; c += V) vstore(row + c, vload(x + c));
        if (c < in) vstore(row + c, vkeep_first(vload_first(x + c, in - c), in - c, -(real)INFINITY));
    }
}

static void run_max_planes(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const plane_pool_args *p = args;
    const pycnn_window *w = &p->window;
    const int64_t height = w->out[0] * w->out[1], width = w->out[2], side = common_side(w), in = w->in[2];
    const int64_t most = (p->bands > 1 ? ceil_div(p->rows, p->bands) : p->planes_per_task * p->rows) * width
        + ROW_SLACK;
    const int64_t pitch = padded_columns(w);
    const int copies = hangs_over(w);
    row_entry *entries = scratch;
    int64_t *positions = (int64_t *)(entries + height);
    real *y = (real *)(positions + round_up(most, LINE)), *copy = y + round_up(most, LINE);
    lane_int *first = (lane_int *)(copy + (copies ? p->source_rows * pitch + ROW_SLACK : 0));
    list_rows(w, NULL, entries);
    for (int64_t o = 0; o < width + V; o++) {
        const window_taps t = taps_inside(w, 2, min64(o, width - 1));
        first[o] = (lane_int)(t.begin * w->dilation[2]);
    }
    if (copies)
        for (int64_t i = 0; i < p->source_rows * pitch + ROW_SLACK; i++) copy[i] = -(real)INFINITY;
    for (int64_t task = begin; task < end; task++) {
        const task_rows rows = rows_of_task(p, task), source = rows_of_source(w, entries, rows);
        const fetch_list next = source_of_task(p, entries, task + 1);
        const real *all = *p->from_slot, *x = all + source.first * in;
        max_source from = {x, in, (p->planes * w->in[0] * w->in[1] - source.first) * in, first};
        if (copies) {
            if (task == begin) copy_padded(w, x, source.count, pitch, copy);
            from.x = copy, from.pitch = pitch, from.size = p->source_rows * pitch + ROW_SLACK;
        }
        if (side == 2) max_rows(w, 2, entries, &from, source.first, rows, &next, y, positions);
        else if (side == 3) max_rows(w, 3, entries, &from, source.first, rows, &next, y, positions);
        else max_rows(w, 0, entries, &from, source.first, rows, &next, y, positions);
        /* The next copy is stored before what is made goes out: behind streamed stores it would be late. */
        if (copies && task + 1 < end) {
            const task_rows after = rows_of_source(w, entries, rows_of_task(p, task + 1));
            copy_padded(w, all + after.first * in, after.count, pitch, copy);
        }
        put_out(p->streamed, (real *)*p->to_slot + rows.first * width, y, rows.count * width * (int64_t)sizeof(real));
        put_out(p->streamed, *p->positions_slot + rows.first * width, positions,
                rows.count * width * (int64_t)sizeof(int64_t));
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
INLINE void check_row(const pycnn_window *w, const int64_t depth, const int64_t height, const lane_int dilation,
                      int64_t begin,
                      const lane_int *first, const lane_int *reach, const int64_t *positions, ivec *astray)
{
    const lane_int row_step = (lane_int)(w->dilation[1] * w->in[2]);
    const lane_int plane_step = (lane_int)(w->dilation[0] * w->in[1] * w->in[2]);
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
static int any_astray(const pycnn_window *w, const row_entry *r, int64_t count, const lane_int *first,
                      const lane_int *reach,
                      const int64_t *positions)
{
    ivec astray = ivset1(0);
    for (int64_t i = 0; i < count; i++, r++, positions += w->out[2]) {
        const int64_t in = w->in[2];
        const int flat = r->depth == 1 && w->dilation[2] == 1;
        if (flat && r->height == 2) check_row(w, 1, 2, 1, r->row * in, first, reach, positions, &astray);
        else if (flat && r->height == 3) check_row(w, 1, 3, 1, r->row * in, first, reach, positions, &astray);
        else check_row(w, r->depth, r->height, (lane_int)w->dilation[2], r->row * in, first, reach, positions, &astray);
    }
    lane_int lanes[V], any = 0;
    ivstore(lanes, astray);
    for (int l = 0; l < V; l++) any |= lanes[l];
    return any != 0;
}

/* Outputs o + low, ... of a row may have come from the columns stride o, ... of dx: `shifts` of them. */
typedef struct { int64_t low, shifts, before, pitch; } reaching_columns;

INLINE int64_t floor_div(int64_t a, int64_t b) { return a < 0 ? -ceil_div(-a, b) : a / b; }

INLINE reaching_columns columns_reaching(const pycnn_window *w)
{
    const int64_t stride = w->stride[2], low = -floor_div(w->kernel[2] - 1 - w->before[2], stride);
    const int64_t high = (stride - 1 + w->before[2]) / stride, before = max64(0, -low);
    const int64_t columns = max64(w->out[2], ceil_div(w->in[2], stride) + high) + before;
    return (reaching_columns){low, high - low + 1, before, round_up(columns + ROW_SLACK, LINE)};
}

/* The positions of `count` rows of outputs and dy, each row with room around it, where positions are -1. */
static void copy_positions(const pycnn_window *w, const reaching_columns *c, int64_t count, const int64_t *positions,
                           const real *dy, lane_int *from, real *gradient)
{
    static const lane_int lanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const int64_t n = w->out[2];
    for (int64_t i = 0; i < count; i++, positions += n, dy += n, from += c->pitch, gradient += c->pitch)
        for (int64_t o = 0; o < n; o += V) {
            const int64_t m = min64(V, n - o);
            const vmask inside = ivbelow(ivload(lanes), ivset1((lane_int)m));
            ivstore(from + c->before + o, ivselect(inside, ivload_narrow_first(positions + o, m, 0), ivset1(-1)));
            vstore(gradient + c->before + o, vload_upto(dy + o, m));
        }
}

#define WEAVE_LOW(l, h) ((l) & 1) * V + (l) / 2
#define WEAVE_HIGH(l, h) ((l) & 1) * V + V / 2 + (l) / 2

/* A row of dx that begins at `position` in its plane, from `rows` rows of outputs. It may go on behind its end. */
INLINE void gather_row(const int64_t stride, const int64_t shifts, int64_t rows, int64_t pitch, const lane_int *from,
                       const real *dy, lane_int position, int64_t n, real *dx)
{
    static const lane_int lanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const vec zero = vset1(0);
    for (int64_t c = 0, o = 0; c < n; c += stride * V, o += V) {
        const ivec here = ivset1(position + (lane_int)c) + ivload(lanes) * ivset1((lane_int)stride);
        const ivec next = here + ivset1(1);
        vec even = zero, odd = zero;
        for (int64_t h = 0; h < rows; h++)
            for (int64_t d = 0; d < shifts; d++) {
                const ivec p = ivload(from + h * pitch + o + d);
                const vec g = vload(dy + h * pitch + o + d);
                even += vselect(iveq(p, here), g, zero);
                if (stride == 2) odd += vselect(iveq(p, next), g, zero);
            }
        if (stride == 1) {
            vstore(dx + c, even);
        } else {
            vstore(dx + c, __builtin_shufflevector(even, odd, LANES(WEAVE_LOW, 0)));
            vstore(dx + c + V, __builtin_shufflevector(even, odd, LANES(WEAVE_HIGH, 0)));
        }
    }
}

/* A plane of dx; `from` and dy are rows with room around them. */
static void gather_plane(const pycnn_window *w, const reaching_columns *c, const row_entry *reaching,
                         const lane_int *from,
                         const real *dy, const fetch_list next[2], real *dx)
{
    const int64_t in = w->in[2], shifts = c->shifts, pitch = c->pitch, at = c->before + c->low;
    for (int64_t i = 0; i < w->in[0] * w->in[1]; i++) {
        fetch_part(&next[0], i, w->in[1]);
        fetch_part(&next[1], i, w->in[1]);
        const row_entry *r = &reaching[i];
        const lane_int *p = from + r->row * pitch + at, position = (lane_int)(i * in);
        const real *g = dy + r->row * pitch + at;
        if (w->stride[2] == 1) gather_row(1, shifts, r->height, pitch, p, g, position, in, dx + i * in);
        else if (shifts == 1 && r->height == 1) gather_row(2, 1, 1, pitch, p, g, position, in, dx + i * in);
        else if (shifts == 2) gather_row(2, 2, r->height, pitch, p, g, position, in, dx + i * in);
        else gather_row(2, shifts, r->height, pitch, p, g, position, in, dx + i * in);
    }
}

/* dx[position] += dy, */
INLINE void scatter(const real *restrict dy, const int64_t *restrict positions, int64_t n, real *restrict dx)
{
    for (int64_t i = 0; i < n; i++) dx[positions[i]] += dy[i];
}

/* where the position lies in a band. */
INLINE void scatter_band(const real *restrict dy, const int64_t *restrict positions, int64_t n, int64_t first,
                         int64_t size,
                         real *restrict dx)
{
    for (int64_t i = 0; i < n; i++) {
        const uint64_t at = (uint64_t)(positions[i] - first);
        if (at < (uint64_t)size) dx[at] += dy[i];
    }
}

/* Tap columns of a row of outputs, for check_row. */
static void list_tap_columns(const pycnn_window *w, lane_int *first, lane_int *reach)
{
    for (int64_t o = 0; o < w->out[2]; o++) {
        const window_taps t = taps_inside(w, 2, o);
        first[o] = (lane_int)(t.first + t.begin * w->dilation[2]);
        reach[o] = (lane_int)((t.end - t.begin - 1) * w->dilation[2]);
    }
}

static void report_astray(const scatter_args *s)
{
    const real yes = 1;
    __atomic_store(s->astray, &yes, __ATOMIC_RELAXED);
}

/* A task is a plane. */
static void run_gather(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const scatter_args *s = args;
    const pycnn_window *w = &s->window;
    const reaching_columns c = columns_reaching(w);
    const int64_t height = w->out[1], width = w->out[2], out_size = height * width, in_size = w->in[1] * w->in[2];
    row_entry *entries = scratch, *reaching = entries + height;
    lane_int *first = (lane_int *)(reaching + w->in[1]), *reach = first + width + V, *from = reach + width + V;
    real *near_dy = (real *)(from + height * c.pitch), *dx = near_dy + height * c.pitch;
    list_rows(w, NULL, entries);
    list_reaching_rows(w, reaching);
    list_tap_columns(w, first, reach);
    for (int64_t i = 0; i < height * c.pitch; i++) from[i] = -1, near_dy[i] = 0;
    for (int64_t plane = begin; plane < end; plane++) {
        const int64_t *positions = *s->positions_slot + plane * out_size;
        const real *dy = (const real *)*s->dy_slot + plane * out_size;
        if (any_astray(w, entries, height, first, reach, positions)) {
            report_astray(s);
            continue;
        }
        copy_positions(w, &c, height, positions, dy, from, near_dy);
        const int64_t more = plane + 1 < s->planes ? out_size : 0;
        const fetch_list next[2] = {{(const char *)(positions + more), more * (int64_t)sizeof *positions},
                                    {(const char *)(dy + more), more * (int64_t)sizeof *dy}};
        gather_plane(w, &c, reaching, from, near_dy, next, dx);
        put_out(s->streamed, (real *)*s->dx_slot + plane * in_size, dx, in_size * (int64_t)sizeof(real));
    }
    if (s->streamed) stream_fence();
}

/* A task is a band of a plane. */
static void run_scatter(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const scatter_args *s = args;
    const pycnn_window *w = &s->window;
    const int a = s->axis;
    const int64_t in = w->in[a], out = w->out[a], stride = w->stride[a], before = w->before[a];
    const int64_t tap_reach = (w->kernel[a] - 1) * w->dilation[a];
    const int64_t plane_out = out * s->out_size, plane_in = in * s->in_size, height = w->out[0] * w->out[1];
    const int64_t steps_rows = a == 0 ? w->out[1] : 1;      /* rows of outputs to a step along the axis */
    row_entry *entries = scratch;
    lane_int *first = (lane_int *)(entries + height), *reach = first + w->out[2] + V;
    real *band = (real *)(reach + w->out[2] + V);
    list_rows(w, NULL, entries);
    list_tap_columns(w, first, reach);
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
        if (any_astray(w, entries + own * steps_rows, checked, first, reach, positions + own * s->out_size)) {
            report_astray(s);
            continue;
        }
        memset(band, 0, (size_t)size * sizeof(real));
        if (s->bands == 1) scatter(dy, positions, plane_out, band);
        else if (low < high)
            scatter_band(dy + low * s->out_size, positions + low * s->out_size, (high - low) * s->out_size,
                         from * s->in_size, size, band);
        put_out(s->streamed, (real *)*s->dx_slot + plane * plane_in + from * s->in_size, band,
                size * (int64_t)sizeof(real));
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
INLINE void add_columns(const real *sum, const int64_t width, const int64_t stride, real scale, const real *scales,
                        int64_t n,
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
    row_entry *entries = scratch;
    real *sum = (real *)(entries + height), *scales = sum + round_up(covered + ROW_SLACK, LINE);
    real *y = scales + round_up(width + ROW_SLACK, LINE);
    memset(sum, 0, (size_t)(covered + ROW_SLACK) * sizeof(real));
    list_rows(w, &p->average, entries);
    list_scales(p, scales);
    for (int64_t task = begin; task < end; task++) {
        const task_rows rows = rows_of_task(p, task);
        const fetch_list next = source_of_task(p, entries, task + 1);
        const real *x = (const real *)*p->from_slot + rows.first / height * plane_size;
        int64_t row = rows.first % height;
        for (int64_t i = 0; i < rows.count; i++) {
            fetch_part(&next, i, rows.count);
            const row_entry *r = &entries[row];
            real *at = sum + w->before[2];
            if (r->depth == 1 && r->height == 2) add_rows(x + r->row * in, 1, 0, 2, in, inside, at);
            else if (r->depth == 1 && r->height == 3) add_rows(x + r->row * in, 1, 0, 3, in, inside, at);
            else add_rows(x + r->row * in, r->depth, w->in[1] * in, r->height, in, inside, at);
            add_columns_of_shape(w, sum, r->scale, scales, y + i * width);
            if (++row == height) row = 0, x += plane_size;
        }
        put_out(p->streamed, (real *)*p->to_slot + rows.first * width, y, rows.count * width * (int64_t)sizeof(real));
    }
    if (p->streamed) stream_fence();
}

/* ---- average, backward ------------------------------------------------------------------------------------------- */

/* sum[o] = the sum of the scaled rows of dy that reach a row of dx; `height` rows one after the other, in each depth.
   */
INLINE void add_scaled_rows(const real *dy, const row_entry *out_rows, const real *scales, int64_t width,
                            const int64_t depth,
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
INLINE void spread_columns(const real *restrict sum, const int64_t width, const int64_t stride, int64_t n,
                           real *restrict row)
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
    row_entry *entries = scratch, *out_rows = entries + height;
    real *sum = (real *)(out_rows + out_height), *scales = sum + round_up(width + ROW_SLACK, LINE);
    real *padded = scales + round_up(width + ROW_SLACK, LINE), *dx = padded + round_up(wide + ROW_SLACK, LINE);
    list_reaching_rows(w, entries);
    list_rows(w, &p->average, out_rows);
    list_scales(p, scales);
    for (int64_t task = begin; task < end; task++) {
        const task_rows rows = rows_of_task(p, task);
        const real *dy = (const real *)*p->from_slot + rows.first / height * out_height * width;
        const int64_t more = task + 1 < plane_tasks(p) ? rows.count * out_height / height : 0;     /* rows of dy */
        const fetch_list next = {(const char *)(dy + more * width), more * width * (int64_t)sizeof(real)};
        int64_t row = rows.first % height;
        for (int64_t i = 0; i < rows.count; i++) {
            fetch_part(&next, i, rows.count);
            const row_entry *r = &entries[row];
            const real *from = dy + r->row * width;
            if (r->depth == 1 && r->height == 1)
                add_scaled_rows(from, out_rows + r->row, scales, width, 1, 0, 1, sum);
            else add_scaled_rows(from, out_rows + r->row, scales, width, r->depth, w->out[1], r->height, sum);
            /* A row in place may go on behind its end, where the next one begins. */
            real *to = before ? padded : dx + i * in;
            spread_columns_of_shape(w, sum, wide, to);
            if (before) memcpy(dx + i * in, padded + before, (size_t)in * sizeof(real));
            if (++row == height) row = 0, dy += out_height * width;
        }
        put_out(p->streamed, (real *)*p->to_slot + rows.first * in, dx, rows.count * in * (int64_t)sizeof(real));
    }
    if (p->streamed) stream_fence();
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

/* A step whose tasks are runs of rows. It makes `made_bytes` for each element of a row; `bytes` of scratch it needs
   beside them, and beside `source_columns` of each row of x. */
static int prepare_plane_pool(pycnn_step *step, pycnn_run_tasks *run, plane_pool_args p, int64_t planes, int backward,
                              int64_t made_bytes, int64_t source_columns, int64_t bytes)
{
    const pycnn_window *w = &p.window;
    const int64_t in_rows = w->in[0] * w->in[1], out_rows = w->out[0] * w->out[1];
    const int64_t in_size = in_rows * w->in[2], out_size = out_rows * w->out[2];
    const int64_t width = backward ? w->in[2] : w->out[2];
    p.planes = planes;
    p.rows = backward ? in_rows : out_rows;
    p.planes_per_task = max64(1, min64(planes, ELEMENTS_PER_TASK / (in_size + out_size)));
    p.bands = max64(1, min64(p.rows, (in_size + out_size) / (2 * ELEMENTS_PER_TASK)));
    p.streamed = is_far(planes * (in_size + out_size * (backward ? 1 : made_bytes / (int64_t)sizeof(real))));
    const int64_t most = p.bands > 1 ? ceil_div(p.rows, p.bands) : p.planes_per_task * p.rows;
    const int64_t reached = (most - 1) * w->stride[1] + (w->kernel[1] - 1) * w->dilation[1] + 1;
    p.source_rows = p.bands > 1 ? (w->in[0] == 1 ? min64(in_rows, reached) : in_rows) : p.planes_per_task * in_rows;
    const int64_t made = round_up(most * width + ROW_SLACK, LINE) * made_bytes;
    const int64_t source = (p.source_rows * source_columns + ROW_SLACK) * (int64_t)sizeof(real);
    return PREPARE(step, run, plane_tasks(&p), (size_t)(made + source + bytes), p);
}

/* Reals of scratch for a row, in bytes. */
INLINE int64_t row_bytes(int64_t n) { return round_up(n + ROW_SLACK, LINE) * (int64_t)sizeof(real); }

INLINE int64_t rows_bytes(int64_t rows) { return rows * (int64_t)sizeof(row_entry); }

/* Whether a lane holds any position in a plane. */
INLINE int positions_fit(const pycnn_window *w)
{
    return sizeof(lane_int) > 4 || w->in[0] * w->in[1] * w->in[2] <= INT32_MAX;
}

static int max_pool_planes(pycnn_step *step, const pycnn_window *w, int64_t planes, pycnn_slot x_slot,
                           void *const *y_slot,
                           int64_t *const *positions_slot)
{
    if (!positions_fit(w)) return PYCNN_TOO_LARGE;
    const plane_pool_args p = {.window = *w, .from_slot = x_slot, .to_slot = y_slot, .positions_slot = positions_slot};
    return prepare_plane_pool(step, run_max_planes, p, planes, 0, sizeof(real) + sizeof(int64_t),
                              hangs_over(w) ? padded_columns(w) : 0, rows_bytes(w->out[0] * w->out[1])
                                  + row_bytes(w->out[2]));
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
    const int flat = w->in[0] == 1 && w->out[0] == 1 && w->dilation[1] == 1 && w->dilation[2] == 1;
    if (flat && w->stride[2] <= 2 && s.bands == 1) {
        const int64_t near = w->out[1] * columns_reaching(w).pitch * 2 + 2 * (w->out[2] + V),
            made = w->in[1] * w->in[2];
        return PREPARE(step, run_gather, planes, (size_t)(rows_bytes(w->in[1] + w->out[1])
                       + (near + made + ROW_SLACK) * (int64_t)sizeof(real)), s);
    }
    const int64_t band = ceil_div(in, s.bands) * s.in_size * (int64_t)sizeof(real);
    const int64_t columns = 2 * (w->out[2] + V) * (int64_t)sizeof(lane_int);
    return PREPARE(step, run_scatter, planes * s.bands, (size_t)(rows_bytes(w->out[0] * w->out[1]) + columns + band),
                   s);
}

static int avg_pool_planes(pycnn_step *step, const pycnn_window *w, const int64_t after[3], pycnn_divisor divisor,
                           int64_t planes, pycnn_slot x_slot, void *const *y_slot)
{
    const plane_pool_args p = {.window = *w, .average = average_over(after, divisor, 0), .from_slot = x_slot,
                               .to_slot = y_slot};
    return prepare_plane_pool(step, run_avg_planes, p, planes, 0, sizeof(real), 0, rows_bytes(w->out[0] * w->out[1])
                              + row_bytes(covered_columns(w)) + row_bytes(w->out[2]));
}

static int avg_pool_planes_backward(pycnn_step *step, const pycnn_window *w, const int64_t after[3],
                                    pycnn_divisor divisor,
                                    int64_t planes, pycnn_slot dy_slot, void *const *dx_slot)
{
    const plane_pool_args p = {.window = *w, .average = average_over(after, divisor, 0), .from_slot = dy_slot,
                               .to_slot = dx_slot};
    const int64_t wide = max64(covered_columns(w), w->before[2] + w->in[2]);
    return prepare_plane_pool(step, run_avg_planes_backward, p, planes, 1, sizeof(real), 0,
                              rows_bytes(w->in[0] * w->in[1] + w->out[0] * w->out[1]) + 2 * row_bytes(w->out[2])
                              + row_bytes(wide) + (wide - w->in[2]) * (int64_t)sizeof(real));
}
