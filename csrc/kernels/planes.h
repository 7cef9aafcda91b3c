/* Depthwise convolution of plain arrays: the lanes of a vector are V columns of a row.
 *
 *     y[k][p][q] = bias[k] + sum over r, s of w[k][r][s] x[k / multiplier][p stride + r dilation - before][q ...]
 *
 * A task first copies the rows of its band of a plane into a panel in the first-level cache, with zeros around them.
 * Where targets are several columns apart, the columns of a row of the panel are dealt out to as many sub-rows, so
 * that V targets always read V neighbours. Then it is the depthwise convolution of lanewise.h: its lines are rows of
 * the panel, its runs columns of taps, and all taps of a column share their loads. Backward with a stride, each
 * phase of columns goes to rows of its own first, and these are then dealt together. */

typedef struct {
    pycnn_conv shape;
    int backward;
    int64_t sources, targets, per_target;           /* channels; source channels of a target */
    int64_t source[2], target[2];                   /* rows and columns */
    int64_t phase_count[2], phase_taps[2];
    grouped_phase *phase[2];
    int64_t before, sub_rows, pitch, row;           /* of the panel: zeros before a row; reals of a sub-row, of a row */
    int64_t bands, band_rows, panel_rows, plane;    /* of targets; of the panel, in rows and reals */
    int64_t dealt;                                  /* reals of a row of one phase of columns */
} plane_pass;

typedef struct {
    plane_pass pass;
    pycnn_slot source, w, bias, dy;
    void *const *target, *const *db;
} plane_args;

#define PLANE_BYTES (24 * 1024)                     /* of the first-level cache, for the panel */

static void release_plane_pass(plane_pass *c)
{
    for (int a = 0; a < 2; a++) free(c->phase[a]);
}

/* The source rows that target rows read, rows beyond the source included. */
static row_span plane_source_rows(const plane_pass *c, row_span rows)
{
    row_span s = {INT64_MAX, INT64_MIN};
    for (int64_t f = 0; f < c->phase_count[0]; f++) {
        const axis_phase *p = &c->phase[0][f].axis;
        const int64_t begin = first_index(p, rows.begin), end = first_index(p, rows.end);
        if (begin >= end || !p->taps) continue;
        s.begin = min64(s.begin, begin * p->in_step + offset_low(p));
        s.end = max64(s.end, (end - 1) * p->in_step + offset_high(p) + 1);
    }
    return s.begin < s.end ? s : (row_span){0, 0};
}

INLINE row_span plane_band(const plane_pass *c, int64_t band)
{
    return (row_span){band * c->band_rows, min64((band + 1) * c->band_rows, c->target[0])};
}

static int build_plane_pass(plane_pass *c, const pycnn_conv *shape, int backward)
{
    const pycnn_window *w = &shape->window;
    *c = (plane_pass){.shape = *shape, .backward = backward};
    c->sources = backward ? shape->k : shape->c;
    c->targets = backward ? shape->c : shape->k;
    c->per_target = backward ? shape->k / shape->c : 1;
    for (int a = 0; a < 2; a++) {
        c->source[a] = backward ? w->out[a + 1] : w->in[a + 1];
        c->target[a] = backward ? w->in[a + 1] : w->out[a + 1];
        c->phase_count[a] = axis_phase_count(w, a + 1, backward);
        if (!(c->phase[a] = ascending_phases(w, a + 1, backward, &c->phase_taps[a]))) return PYCNN_NO_MEMORY;
    }
    const axis_phase *first = &c->phase[1]->axis;
    int64_t reach = 0;                              /* the furthest column of the panel that the first target reads */
    c->before = axis_overhang(w, 2, backward).before;
    for (int64_t f = 0; f < c->phase_count[1]; f++) reach = max64(reach, c->before + offset_high(&c->phase[1][f].axis));
    c->sub_rows = first->in_step;
    c->pitch = max64(round_up(first->count, V) + reach / c->sub_rows,
                     ceil_div(c->before + c->source[1], c->sub_rows));
    c->row = c->sub_rows * c->pitch;
    c->dealt = c->phase_count[1] > 1 ? round_up(first->count, V) : 0;

    const int64_t span = (w->kernel[1] - 1) * w->dilation[1] + 1, out_step = c->phase[0]->axis.out_step;
    const int64_t fit = PLANE_BYTES / (c->row * c->per_target * (int64_t)sizeof(real));
    const int64_t rows = max64(max64(1, fit - span) / c->phase[0]->axis.in_step * out_step, max64(span, LANEWISE_I));
    c->bands = ceil_div(c->target[0], min64(rows, c->target[0]));
    c->band_rows = round_up(ceil_div(c->target[0], c->bands), out_step);
    c->bands = ceil_div(c->target[0], c->band_rows);
    for (int64_t band = 0; band < c->bands; band++) {
        const row_span s = plane_source_rows(c, plane_band(c, band));
        c->panel_rows = max64(c->panel_rows, s.end - s.begin);
    }
    c->plane = round_up(c->panel_rows * c->row, V);
    return PYCNN_OK;
}

#define EVEN(l, h) (2 * (l))
#define ODD(l, h) (2 * (l) + 1)
#define ZIP_LOW(l, h) ((l) / 2 + (l) % 2 * V)
#define ZIP_HIGH(l, h) ((l) / 2 + V / 2 + (l) % 2 * V)

/* The first n lanes, as far as there are any. */
INLINE vec vload_some(const real *x, int64_t n) { return n >= V ? vload(x) : n > 0 ? vload_first(x, n) : vset1(0); }
INLINE void vstore_some(real *x, vec a, int64_t n)
{
    if (n >= V) vstore(x, a);
    else if (n > 0) vstore_first(x, a, n);
}

/* to[f][i] = x[f + i step - before] for each of x's n reals; a sub-row is `pitch` reals. */
static void deal_out(const real *x, int64_t n, int64_t before, int64_t step, real *to, int64_t pitch)
{
    int64_t at = 0;
    if (step == 1) {
        for (; at < n; at += V) vstore_some(to + before + at, vload_some(x + at, n - at), n - at);
        return;
    }
    if (step == 2) {
        if (before % 2) to[pitch + before / 2] = x[at++];
        for (int64_t i = (before + 1) / 2; at < n; i += V, at += 2 * V) {
            const vec a = vload_some(x + at, n - at), b = vload_some(x + at + V, n - at - V);
            vstore_some(to + i, __builtin_shufflevector(a, b, LANES(EVEN, 0)), (n - at + 1) / 2);
            vstore_some(to + pitch + i, __builtin_shufflevector(a, b, LANES(ODD, 0)), (n - at) / 2);
        }
        return;
    }
    for (; at < n; at++) to[(before + at) % step * pitch + (before + at) / step] = x[at];
}

/* y[f + i step] = x[f][i] for all of y's n reals; the sub-rows of x are whole vectors. */
static void deal_together(const real *x, int64_t pitch, int64_t step, real *y, int64_t n)
{
    if (step == 2) {
        for (int64_t i = 0; 2 * i < n; i += V) {
            const vec a = vload(x + i), b = vload(x + pitch + i);
            vstore_some(y + 2 * i, __builtin_shufflevector(a, b, LANES(ZIP_LOW, 0)), n - 2 * i);
            vstore_some(y + 2 * i + V, __builtin_shufflevector(a, b, LANES(ZIP_HIGH, 0)), n - 2 * i - V);
        }
        return;
    }
    for (int64_t f = 0; f < step; f++)
        for (int64_t i = 0; f + i * step < n; i++) y[f + i * step] = x[f * pitch + i];
}

/* The source rows `rows` of a plane -> panel, which has zeros where it is never written: before and after rows. */
static void fill_plane(const plane_pass *c, const real *source, row_span rows, real *panel)
{
    for (int64_t h = rows.begin; h < rows.end; h++, panel += c->row)
        if (h < 0 || h >= c->source[0]) memset(panel, 0, (size_t)c->row * sizeof(real));
        else deal_out(source + h * c->source[1], c->source[1], c->before, c->sub_rows, panel, c->pitch);
}

/* Where the first target finds the source of a tap at this column offset, in a row of the panel. */
INLINE int64_t panel_column(const plane_pass *c, int64_t offset)
{
    const int64_t column = c->before + offset;
    return column % c->sub_rows * c->pitch + column / c->sub_rows;
}

/* ---- forward and backward_data ----------------------------------------------------------------------------------- */

/* The targets of one phase of rows and one of columns. `weights` and `runs` are scratch. */
static void plane_phase(const plane_pass *c, int64_t fh, int64_t fw, row_span rows, int64_t first_row,
                        const real *panel, const real *w, const real *init, real *y, int64_t y_row, real *weights,
                        lanewise_run *runs)
{
    const int64_t *kernel = c->shape.window.kernel;
    const axis_phase *r = &c->phase[0][fh].axis, *s = &c->phase[1][fw].axis;
    const int64_t begin = first_index(r, rows.begin), end = first_index(r, rows.end);
    if (begin >= end || !s->count) return;
    int64_t count = 0;
    for (int64_t j = 0; j < c->per_target; j++)
        for (int64_t ts = 0; ts < s->taps && r->taps; ts++) {
            runs[count] = (lanewise_run){.x = j * c->plane + panel_column(c, s->first_offset + ts * s->offset_step),
                                         .w = count * r->taps * V};
            const real *column = w + j * kernel[1] * kernel[2] + s->first_tap + ts * s->tap_step;
            for (int64_t tr = 0; tr < r->taps; tr++)
                vstore(weights + (count * r->taps + tr) * V,
                       vset1(column[(r->first_tap + tr * r->tap_step) * kernel[2]]));
            count++;
        }
    const int64_t vectors = s->count / V, rest = s->count % V;
    lanewise_args g = {
        .x = panel + (begin * r->in_step + r->first_offset - first_row) * c->row, .w = weights, .init = init, .y = y,
        .runs = runs, .run_count = count, .taps = r->taps, .rows = vectors, .i = end - begin, .x_row = V, .y_row = V,
        .line = c->row, .y_i = y_row, .i_lines = r->in_step, .t_lines = r->offset_step,
        .lines = INT64_MAX / 2, .lanes = V, .floor = -INFINITY,
    };
    lanewise_sum(&g);
    if (!rest) return;
    g.x += vectors * V, g.y += vectors * V, g.rows = 1, g.lanes = rest;
    lanewise_sum(&g);
}

static void run_plane_task(const plane_args *a, int64_t task, real *scratch)
{
    const plane_pass *c = &a->pass;
    const int64_t *kernel = c->shape.window.kernel, taps = c->per_target * kernel[1] * kernel[2];
    const int64_t ch = task / c->bands % c->targets, n = task / c->bands / c->targets;
    const int64_t out_step = c->phase[0]->axis.out_step;
    const row_span rows = plane_band(c, task % c->bands), reach = plane_source_rows(c, rows);
    const int64_t first = c->backward ? ch * c->per_target : ch / (c->shape.k / c->shape.c);
    const real *source = (const real *)*a->source + (n * c->sources + first) * c->source[0] * c->source[1];
    const real *w = (const real *)*a->w + ch * taps;
    real *target = (real *)*a->target + (n * c->targets + ch) * c->target[0] * c->target[1];
    real *panel = scratch, *weights = panel + c->per_target * c->plane, *init = weights + taps * V, *dealt = init + V;
    lanewise_run *runs = (lanewise_run *)(dealt + c->phase_count[1] * c->dealt * c->band_rows);

    for (int64_t j = 0; j < c->per_target; j++)
        fill_plane(c, source + j * c->source[0] * c->source[1], reach, panel + j * c->plane);
    vstore(init, vset1(a->bias ? ((const real *)*a->bias)[ch] : 0));
    for (int64_t fh = 0; fh < c->phase_count[0]; fh++)
        for (int64_t fw = 0; fw < c->phase_count[1]; fw++) {
            const axis_phase *r = &c->phase[0][fh].axis;
            const int64_t begin = first_index(r, rows.begin), row = r->out_start + begin * out_step;
            const int64_t pitch = c->phase_count[1] * c->dealt;
            real *y = c->dealt ? dealt + fw * c->dealt + (row - rows.begin) * pitch : target + row * c->target[1];
            plane_phase(c, fh, fw, rows, reach.begin, panel, w, init, y, out_step * (c->dealt ? pitch : c->target[1]),
                        weights, runs);
        }
    if (!c->dealt) return;
    for (int64_t h = rows.begin; h < rows.end; h++)
        deal_together(dealt + (h - rows.begin) * c->phase_count[1] * c->dealt, c->dealt, c->phase_count[1],
                      target + h * c->target[1], c->target[1]);
}

static void run_planes(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const plane_args *a = args;
    memset(scratch, 0, (size_t)(a->pass.per_target * a->pass.plane) * sizeof(real));
    for (int64_t task = begin; task < end; task++) run_plane_task(a, task, scratch);
}

static void release_planes(void *args) { release_plane_pass(&((plane_args *)args)->pass); }

static int prepare_planes(pycnn_step *step, const pycnn_conv *shape, int backward, plane_args a)
{
    plane_pass *c = &a.pass;
    int status = build_plane_pass(c, shape, backward);
    if (status == PYCNN_OK) {
        const int64_t *kernel = shape->window.kernel, runs = c->per_target * kernel[2] + 1;
        const int64_t reals = c->per_target * (c->plane + kernel[1] * kernel[2] * V) + V
                            + c->phase_count[1] * c->dealt * c->band_rows;
        status = PREPARE(step, run_planes, shape->n * c->targets * c->bands,
                         (size_t)reals * sizeof(real) + (size_t)runs * sizeof(lanewise_run), a);
    }
    if (status) release_plane_pass(c);
    else step->release = release_planes;
    return status;
}

static int planes_forward(pycnn_step *step, const pycnn_conv *shape, pycnn_slot x, pycnn_slot w, pycnn_slot bias,
                          void *const *y)
{
    return prepare_planes(step, shape, 0, (plane_args){.source = x, .w = w, .bias = bias, .target = y});
}

static int planes_backward_data(pycnn_step *step, const pycnn_conv *shape, pycnn_slot dy, pycnn_slot w, pycnn_slot bias,
                                void *const *dx)
{
    return prepare_planes(step, shape, 1, (plane_args){.source = dy, .w = w, .bias = bias, .target = dx});
}

/* ---- backward_weights: a task is a filter ------------------------------------------------------------------------ */

/* Adds the products of a band of dy with a panel of x to sums[s][r]. */
static void sum_plane_taps(const plane_pass *c, row_span rows, const real *dy, const real *panel, real *sums)
{
    const pycnn_window *w = &c->shape.window;
    const int64_t columns = w->out[2], vectors = columns / V, rest = columns % V;
    const int64_t shared = lanewise_shared_taps(w->stride[1], w->dilation[1], w->kernel[1]);
    const int64_t row_parts = ceil_div(w->kernel[1], shared);
    const int64_t column_parts = ceil_div(w->kernel[2], c->sub_rows == 1 ? LANEWISE_TAPS : 1);
    for (int64_t row_part = 0; row_part < row_parts; row_part++)
        for (int64_t part = 0; part < column_parts; part++) {
            const int64_t r = part_begin(w->kernel[1], row_parts, row_part);
            const int64_t s = part_begin(w->kernel[2], column_parts, part);
            const int64_t r_taps = part_begin(w->kernel[1], row_parts, row_part + 1) - r;
            const int64_t s_taps = part_begin(w->kernel[2], column_parts, part + 1) - s;
            lanewise_weights_args g = {
                .x = panel + r * w->dilation[1] * c->row + panel_column(c, s * w->dilation[2] - w->before[2]),
                .dy = dy + rows.begin * columns, .dw = sums + (s * w->kernel[1] + r) * V, .rows = vectors,
                .i = rows.end - rows.begin, .x_row = V, .dy_row = V, .line = c->row, .dy_i = columns,
                .x_o = w->dilation[2], .dw_o = w->kernel[1] * V, .i_lines = w->stride[1], .t_lines = w->dilation[1],
                .lines = INT64_MAX / 2, .lanes = V,
            };
            lanewise_weights(&g, s_taps, r_taps);
            if (!rest) continue;
            g.x += vectors * V, g.dy += vectors * V, g.rows = 1, g.lanes = rest;
            lanewise_weights(&g, s_taps, r_taps);
        }
}

static void run_plane_weights_task(const plane_args *a, int64_t k, real *scratch)
{
    const plane_pass *c = &a->pass;
    const int64_t rows = c->shape.window.kernel[1], columns = c->shape.window.kernel[2];
    const int64_t size = c->target[0] * c->target[1];
    const int64_t ch = k / (c->shape.k / c->shape.c), x_size = c->source[0] * c->source[1];
    real *panel = scratch, *sums = scratch + c->plane, *dw = (real *)*a->target + k * rows * columns, bias[V] = {0};
    memset(sums, 0, (size_t)(rows * columns * V) * sizeof(real));
    for (int64_t n = 0; n < c->shape.n; n++) {
        const real *dy = (const real *)*a->dy + (n * c->shape.k + k) * size;
        for (int64_t band = 0; band < c->bands; band++) {
            const row_span these = plane_band(c, band);
            const real *x = (const real *)*a->source + (n * c->shape.c + ch) * x_size;
            fill_plane(c, x, plane_source_rows(c, these), panel);
            sum_plane_taps(c, these, dy, panel, sums);
            if (!a->db) continue;
            const int64_t begin = these.begin * c->target[1], end = these.end * c->target[1], whole = (end - begin) / V;
            sum_vectors(dy + begin, whole, bias);
            vstore(bias, vload(bias) + vload_first(dy + begin + whole * V, end - begin - whole * V));
        }
    }
    real result[V];
    for (int64_t s = 0; s < columns; s++)
        for (int64_t r = 0; r < rows; r++) {
            sum_lanes(sums + (s * rows + r) * V, 1, result);
            dw[r * columns + s] = result[0];
        }
    if (!a->db) return;
    sum_lanes(bias, 1, result);
    ((real *)*a->db)[k] = result[0];
}

static void run_plane_weights(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const plane_args *a = args;
    memset(scratch, 0, (size_t)a->pass.plane * sizeof(real));
    for (int64_t task = begin; task < end; task++) run_plane_weights_task(a, task, scratch);
}

static int planes_backward_weights(pycnn_step *step, const pycnn_conv *shape, pycnn_slot dy, pycnn_slot x,
                                   void *const *dw, void *const *db)
{
    plane_args a = {.source = x, .dy = dy, .target = dw, .db = db};
    plane_pass *c = &a.pass;
    int status = build_plane_pass(c, shape, 0);
    if (status == PYCNN_OK)
        status = PREPARE(step, run_plane_weights, shape->k,
                         (size_t)(c->plane + shape->window.kernel[1] * shape->window.kernel[2] * V) * sizeof(real), a);
    if (status) release_plane_pass(c);
    else step->release = release_planes;
    return status;
}
