/* Convolution in groups that are not whole vectors, in CHANNELS on both sides; depthwise convolution is the case of
 * one channel a group.
 *
 *     target[u][i][l] = f(bias + sum over taps, c of weight[u][tap, c][l] source[c of l's group][i in_step + offset])
 *
 * Lane l of a vector of targets belongs to a group of its own, and reads the c-th source channel of that. Where
 * these lie is a *pick*: a vector of sources and the lane of it for each lane of targets, none where the channel is
 * in another vector. So every c is one pick or a few, and the rest is a depthwise convolution (lanewise.h) with as
 * many sources as picks; depthwise proper needs none. Sources are read where they are: taps beyond them are left
 * out, so nothing is copied.
 *
 * The gradient to the weights is the sum of dy times picked x over positions, for all taps of three rows at once.
 *
 *     packed      bias [target], then [pick][phase][tap][V]
 *     partial     [chunk]([pick][tap][V], then [unit of filters][V] for the bias)
 *
 * A task is a band of rows of one vector of targets; for the weights, a vector of filters over a chunk of the bands. */

/* The `channel`-th source of a group, for the lanes that have it in this vector of sources. */
typedef struct {
    int64_t vector, channel;
    lane_int lane[V];
} source_pick;

typedef struct {
    axis_phase axis;                        /* its taps in the order of their sources */
    int64_t taps_before;                    /* of the phases before it */
} grouped_phase;

/* What a vector of targets reads: picks[first[u]] .. picks[first[u + 1] - 1]. */
typedef struct {
    int64_t units, *first;
    source_pick *picks;
} source_picks;

typedef struct {
    pycnn_conv shape;
    int backward, depthwise;
    int64_t sources, targets;               /* channels */
    int64_t source_vectors, target_vectors;
    int64_t source[3], target[3], source_size, target_size;
    int64_t phase_count[3], phase_taps[3], taps;
    grouped_phase *phase[3];
    source_picks picks;
} grouped_pass;

static int is_grouped(const pycnn_conv *c, pycnn_layout layout, pycnn_layout source_layout, int backward)
{
    return layout == PYCNN_CHANNELS && source_layout == PYCNN_CHANNELS && c->groups > 1
        && (backward ? c->c : c->k) / c->groups % V != 0;
}

/* The pick of a channel from one vector of sources, for targets u V .. u V + V - 1; false if no lane is in there. */
static int pick_sources(const grouped_pass *c, int64_t u, int64_t channel, int64_t vector, source_pick *pick)
{
    const int64_t per_group = c->targets / c->shape.groups, in_group = c->sources / c->shape.groups;
    int some = 0;
    *pick = (source_pick){.vector = vector, .channel = channel};
    for (int64_t l = 0; l < V; l++) {
        const int64_t target = u * V + l, source = target / per_group * in_group + channel;
        const int there = target < c->targets && source / V == vector;
        pick->lane[l] = there ? (lane_int)(source % V) : -1;
        some |= there;
    }
    return some;
}

/* Counts the picks of all targets, and lists them if there is a place for them. */
static int64_t list_picks(const grouped_pass *c, source_picks *p)
{
    const int64_t per_group = c->targets / c->shape.groups, in_group = c->sources / c->shape.groups;
    int64_t count = 0;
    source_pick pick;
    for (int64_t u = 0; u < p->units; u++) {
        const int64_t last = min64(u * V + V, c->targets) - 1;
        p->first[u] = count;
        for (int64_t channel = 0; channel < in_group; channel++) {
            const int64_t begin = (u * V / per_group * in_group + channel) / V;
            const int64_t end = (last / per_group * in_group + channel) / V + 1;
            for (int64_t vector = begin; vector < end; vector++) {
                if (!pick_sources(c, u, channel, vector, &pick)) continue;
                if (p->picks) p->picks[count] = pick;
                count++;
            }
        }
    }
    p->first[p->units] = count;
    return count;
}

static void release_grouped_pass(grouped_pass *c)
{
    for (int a = 0; a < 3; a++) free(c->phase[a]);
    free(c->picks.first);
    free(c->picks.picks);
}

static grouped_phase *ascending_phases(const pycnn_window *w, int axis, int backward, int64_t *taps)
{
    const int64_t count = axis_phase_count(w, axis, backward);
    grouped_phase *phases = malloc((size_t)count * sizeof *phases);
    *taps = 0;
    for (int64_t f = 0; phases && f < count; f++) {
        axis_phase p = axis_phase_of(w, axis, backward, f);
        if (p.offset_step < 0) {
            p.first_offset += (p.taps - 1) * p.offset_step;
            p.first_tap += (p.taps - 1) * p.tap_step;
            p.offset_step = -p.offset_step;
            p.tap_step = -p.tap_step;
        }
        phases[f] = (grouped_phase){p, *taps};
        *taps += p.taps;
    }
    return phases;
}

static int build_grouped_pass(grouped_pass *c, const pycnn_conv *shape, int backward, const pycnn_window *pool)
{
    *c = (grouped_pass){.shape = pool ? *shape : conv_simplified(*shape), .backward = backward};
    const pycnn_conv *s = &c->shape;
    const pycnn_window *w = &s->window;
    c->sources = backward ? s->k : s->c;
    c->targets = backward ? s->c : s->k;
    c->depthwise = c->sources == s->groups && c->targets == s->groups;
    c->source_vectors = ceil_div(c->sources, V);
    c->target_vectors = ceil_div(c->targets, V);
    c->source_size = c->target_size = c->taps = 1;
    for (int a = 0; a < 3; a++) {
        c->source[a] = backward ? w->out[a] : w->in[a];
        c->target[a] = backward ? w->in[a] : w->out[a];
        c->source_size *= c->source[a];
        c->target_size *= c->target[a];
        c->taps *= w->kernel[a];
        c->phase_count[a] = axis_phase_count(w, a, backward);
        if (!(c->phase[a] = ascending_phases(w, a, backward, &c->phase_taps[a]))) return PYCNN_NO_MEMORY;
    }
    source_picks *p = &c->picks;
    p->units = c->target_vectors;
    p->first = malloc((size_t)(p->units + 1) * sizeof *p->first);
    if (!p->first) return PYCNN_NO_MEMORY;
    p->picks = malloc((size_t)list_picks(c, p) * sizeof *p->picks);
    if (!p->picks) return PYCNN_NO_MEMORY;
    list_picks(c, p);
    return PYCNN_OK;
}

INLINE int64_t pick_count(const grouped_pass *c) { return c->picks.first[c->picks.units]; }

static int64_t most_picks(const grouped_pass *c)
{
    int64_t most = 0;
    for (int64_t u = 0; u < c->picks.units; u++) most = max64(most, c->picks.first[u + 1] - c->picks.first[u]);
    return most;
}

/* ---- packed weights ---------------------------------------------------------------------------------------------- */

typedef struct { grouped_pass pass; const real *w, *bias; real *packed; int32_t *tap; } grouped_pack_args;

/* tap[i] is the kernel's number of the i-th packed tap; returns how many there are. */
static int64_t order_taps(const grouped_pass *c, int32_t *tap)
{
    const int64_t *kernel = c->shape.window.kernel;
    int64_t count = 0;
    for (int64_t fd = 0; fd < c->phase_count[0]; fd++)
        for (int64_t fh = 0; fh < c->phase_count[1]; fh++)
            for (int64_t fw = 0; fw < c->phase_count[2]; fw++) {
                const axis_phase d = c->phase[0][fd].axis, h = c->phase[1][fh].axis, w = c->phase[2][fw].axis;
                for (int64_t td = 0; td < d.taps; td++)
                    for (int64_t th = 0; th < h.taps; th++)
                        for (int64_t tw = 0; tw < w.taps; tw++)
                            tap[count++] = (int32_t)(((d.first_tap + td * d.tap_step) * kernel[1] + h.first_tap
                                                      + th * h.tap_step) * kernel[2] + w.first_tap + tw * w.tap_step);
            }
    return count;
}

static int64_t grouped_packed_size(const pycnn_conv *shape, pycnn_layout layout, pycnn_layout source_layout,
                                   int backward)
{
    grouped_pass c;
    (void)layout, (void)source_layout;
    int64_t size = build_grouped_pass(&c, shape, backward, NULL);
    if (size == PYCNN_OK) size = c.target_vectors * V + pick_count(&c) * c.taps * V;
    release_grouped_pass(&c);
    return size;
}

static void run_grouped_pack(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const grouped_pack_args *a = args;
    const grouped_pass *c = &a->pass;
    const pycnn_conv *s = &c->shape;
    const int64_t in_group = s->c / s->groups, filters = s->k / s->groups, taps = c->taps;
    int32_t *tap = scratch;
    const int64_t count = order_taps(c, tap);
    for (int64_t u = begin; u < end; u++) {
        const int64_t lanes = min64(V, c->targets - u * V);
        for (int64_t l = 0; l < V; l++) a->packed[u * V + l] = a->bias && l < lanes ? a->bias[u * V + l] : 0;
        for (int64_t p = c->picks.first[u]; p < c->picks.first[u + 1]; p++) {
            const source_pick *pick = &c->picks.picks[p];
            real *packed = a->packed + c->target_vectors * V + p * taps * V;
            for (int64_t l = 0; l < V; l++) {
                const int64_t target = u * V + l;
                const int64_t k = c->backward ? target / in_group * filters + pick->channel : target;
                const int64_t ch = c->backward ? target % in_group : pick->channel;
                const real *from = a->w + (k * in_group + ch) * taps;
                for (int64_t t = 0; t < count; t++) packed[t * V + l] = pick->lane[l] < 0 ? 0 : from[tap[t]];
            }
        }
    }
}

static void release_grouped_pack(void *args) { release_grouped_pass(&((grouped_pack_args *)args)->pass); }

static int grouped_pack(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout source_layout,
                        int backward, const void *w, const void *bias, void *packed)
{
    grouped_pack_args a = {.w = w, .bias = bias, .packed = packed};
    (void)layout, (void)source_layout;
    int status = build_grouped_pass(&a.pass, shape, backward, NULL);
    if (status == PYCNN_OK && a.pass.taps > INT32_MAX) status = PYCNN_TOO_LARGE;
    if (status == PYCNN_OK)
        status = PREPARE(step, run_grouped_pack, a.pass.target_vectors, (size_t)a.pass.taps * sizeof(int32_t), a);
    if (status) release_grouped_pass(&a.pass);
    else step->release = release_grouped_pack;
    return status;
}

/* ---- forward and backward_data ----------------------------------------------------------------------------------- */

typedef struct {
    grouped_pass pass;
    pycnn_activation forward, backward;
    int has_pool;
    pycnn_window pool;
    const real *source, *packed;
    const real *activated, *added;              /* as in conv.h */
    real *target;
    lane_int *indices;
    int64_t bands, band_rows, band_size;        /* band_size: reals of the rows under pooling, in scratch */
} grouped_args;

#define GROUPED_BAND_BYTES (256 * 1024)         /* of the second-level cache, for the rows under pooling */
#define GROUPED_L1_BYTES (16 * 1024)            /* of the first-level cache, for rows that are to be finished */

/* The rows of taps that read inside the source for target row i of a phase. */
static row_span row_taps_of(const axis_phase *p, int64_t source, row_span taps, int64_t i)
{
    const int64_t first = i * p->in_step + p->first_offset;
#define OUTSIDE(tap) (first + (tap) * p->offset_step < 0 || first + (tap) * p->offset_step >= source)
    while (taps.begin < taps.end && OUTSIDE(taps.begin)) taps.begin++;
    while (taps.begin < taps.end && OUTSIDE(taps.end - 1)) taps.end--;
#undef OUTSIDE
    return taps;
}

/* How many target rows from i on, before `end`, have the same rows of taps inside. */
static int64_t rows_alike(const axis_phase *p, int64_t source, row_span taps, int64_t i, int64_t end)
{
    const row_span first = row_taps_of(p, source, taps, i);
    int64_t next = i + 1;
    for (; next < end; next++) {
        const row_span t = row_taps_of(p, source, taps, next);
        if (t.begin != first.begin || t.end != first.end) break;
    }
    return next - i;
}

/* Rows i .. i + rows - 1 of a phase of rows, all phases of columns. `source` is a sample, `target` where row 0 is. */
static void grouped_rows(const grouped_args *a, int64_t u, int64_t depth, const grouped_phase *row_phase, int64_t i,
                         int64_t rows, const real *source, real *target, lanewise_run *runs)
{
    const grouped_pass *c = &a->pass;
    const grouped_phase *depth_phase = &c->phase[0][depth % c->phase_count[0]];
    const axis_phase *d = &depth_phase->axis, *r = &row_phase->axis;
    const int64_t width = c->source[2] * V, first_depth = depth / c->phase_count[0] * d->in_step + d->first_offset;
    const int64_t weights = c->phase_taps[2]
                          * (depth_phase->taps_before * c->phase_taps[1] + d->taps * row_phase->taps_before);
    const row_span taps = row_taps_of(r, c->source[1], (row_span){0, r->taps}, i);
    for (int64_t f = 0; f < c->phase_count[2]; f++) {
        const axis_phase *s = &c->phase[2][f].axis;
        const int64_t first_tap = weights + d->taps * r->taps * c->phase[2][f].taps_before;
        int64_t count = 0;
        for (int64_t p = c->picks.first[u]; p < c->picks.first[u + 1]; p++) {
            const source_pick *pick = &c->picks.picks[p];
            for (int64_t t = 0; t < d->taps; t++) {
                const int64_t at = first_depth + t * d->offset_step;
                if (at < 0 || at >= c->source[0]) continue;
                for (int64_t tap = taps.begin; tap < taps.end; tap++)
                    runs[count++] = (lanewise_run){
                        .x = ((pick->vector * c->source[0] + at) * c->source[1] + tap * r->offset_step) * width,
                        .w = (p * c->taps + first_tap + (t * r->taps + tap) * s->taps) * V,
                        .pick = c->depthwise ? NULL : pick->lane,
                    };
            }
        }
        const lanewise_args g = {
            .x = source + (i * r->in_step + r->first_offset) * width + s->first_offset * V,
            .w = a->packed + c->target_vectors * V, .init = a->packed + u * V,
            .y = target + ((r->out_start + i * r->out_step) * c->target[2] + s->out_start) * V,
            .runs = runs, .run_count = count, .taps = s->taps, .rows = rows, .i = s->count, .x_row = r->in_step * width,
            .y_row = r->out_step * c->target[2] * V, .line = V, .y_i = s->out_step * V, .i_lines = s->in_step,
            .t_lines = s->offset_step, .first = s->first_offset, .lines = c->source[2], .lanes = V,
            .floor = a->forward.kind == PYCNN_RELU && !a->added ? 0 : -INFINITY,
        };
        lanewise_sum(&g);
    }
}

static void run_grouped_task(const grouped_args *a, int64_t task, real *scratch)
{
    const grouped_pass *c = &a->pass;
    const int64_t band = task % a->bands, depth = task / a->bands % c->target[0];
    const int64_t plane = task / a->bands / c->target[0], u = plane % c->target_vectors, n = plane / c->target_vectors;
    const int64_t width = c->target[2] * V;
    lanewise_run *runs = (lanewise_run *)(scratch + a->band_size);
    const real *source = a->source + n * c->source_vectors * c->source_size * V;
    const int64_t first = plane * c->target_size * V + depth * c->target[1] * width;

    row_span band_rows = {band * a->band_rows, (band + 1) * a->band_rows}, rows = band_rows;
    if (a->has_pool) {
        band_rows.end = min64(band_rows.end, a->pool.out[1]);
        rows = pooled_rows(&a->pool, band_rows);
    }
    rows.end = min64(rows.end, c->target[1]);
    real *target = a->has_pool ? scratch - rows.begin * width : a->target + first;
    const int64_t chunk = max64(c->phase_count[1], GROUPED_L1_BYTES / (width * (int64_t)sizeof(real)));
    for (int64_t h = rows.begin; h < rows.end; h += chunk) {
        const int64_t end = min64(h + chunk, rows.end), at = h * width;
        for (int64_t f = 0; f < c->phase_count[1]; f++) {
            const grouped_phase *phase = &c->phase[1][f];
            const int64_t i_end = first_index(&phase->axis, end);
            for (int64_t i = first_index(&phase->axis, h), alike; i < i_end; i += alike) {
                alike = rows_alike(&phase->axis, c->source[1], (row_span){0, phase->axis.taps}, i, i_end);
                grouped_rows(a, u, depth, phase, i, alike, source, target, runs);
            }
        }
        if (!a->has_pool)
            finish_reals(a->forward, a->backward, target + at, a->activated ? a->activated + first + at : NULL,
                         a->added ? a->added + first + at : NULL, (end - h) * width);
    }
    if (!a->has_pool) return;
    const int64_t row = a->pool.out[2] * V, at = plane * a->pool.out[1] * row;
    max_pool_plane(&a->pool, band_rows.begin, band_rows.end, scratch, rows.begin, a->target + at,
                   a->indices ? a->indices + at : NULL);
    finish_reals(a->forward, a->backward, a->target + at + band_rows.begin * row, NULL, NULL,
                 (band_rows.end - band_rows.begin) * row);
}

static void run_grouped(const void *args, int64_t begin, int64_t end, void *scratch)
{
    for (int64_t task = begin; task < end; task++) run_grouped_task(args, task, scratch);
}

static void release_grouped(void *args) { release_grouped_pass(&((grouped_args *)args)->pass); }


static int prepare_grouped(pycnn_step *step, grouped_args *a, const pycnn_conv *shape, int backward,
                           const pycnn_window *pool)
{
    grouped_pass *c = &a->pass;
    int status = build_grouped_pass(c, shape, backward, pool);
    if (status == PYCNN_OK) {
        const int64_t *kernel = c->shape.window.kernel, picks = most_picks(c);
        const int64_t rows = pool ? pool->out[1] : c->target[1], rows_of = pool ? pool->stride[1] : 1;
        const double row_flops = 2.0 * (double)(picks * c->taps * c->target[2] * V) * (double)rows_of;
        a->band_rows = min64(rows, max64(1, (int64_t)(FLOPS_PER_TASK / row_flops)));
        if (pool) {
            a->has_pool = 1;
            a->pool = *pool;
            const int64_t span = (pool->kernel[1] - 1) * pool->dilation[1] + 1, row = c->target[2] * V;
            const int64_t fit = GROUPED_BAND_BYTES / (row * pool->stride[1] * (int64_t)sizeof(real));
            a->band_rows = min64(rows, max64(1, min64(fit, max64(a->band_rows, 2 * span / pool->stride[1]))));
            a->band_size = min64((a->band_rows - 1) * pool->stride[1] + span, c->target[1]) * row;
        }
        a->bands = ceil_div(rows, a->band_rows);
        a->band_rows = ceil_div(rows, a->bands);
        a->bands = ceil_div(rows, a->band_rows);
        status = PREPARE(step, run_grouped, c->shape.n * c->target_vectors * c->target[0] * a->bands,
                         (size_t)a->band_size * sizeof(real)
                             + (size_t)(picks * kernel[0] * kernel[1] + 1) * sizeof(lanewise_run), *a);
    }
    if (status) release_grouped_pass(c);
    else step->release = release_grouped;
    return status;
}

static int grouped_forward(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                           pycnn_activation activation, const pycnn_window *pool,
                           const void *x, const void *packed, const void *added, void *y, void *indices)
{
    grouped_args a = {.forward = activation, .source = x, .packed = packed, .added = added, .target = y,
                      .indices = indices};
    (void)layout, (void)x_layout;
    return prepare_grouped(step, &a, shape, 0, pool);
}

static int grouped_backward_data(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                                 pycnn_activation forward, pycnn_activation backward,
                                 const void *dy, const void *packed, const void *x, const void *added, void *dx)
{
    grouped_args a = {.forward = forward, .backward = backward, .source = dy, .packed = packed, .activated = x,
                      .added = added, .target = dx};
    (void)layout, (void)x_layout;
    return prepare_grouped(step, &a, shape, 1, NULL);
}

/* ---- backward_weights -------------------------------------------------------------------------------------------- */

typedef struct {
    grouped_pass pass;
    int64_t bands, band_rows, chunks;           /* bands of all samples and depths, and into how many chunks they go */
    int64_t partial_size;                       /* reals of a chunk */
} grouped_weights;

typedef struct {
    grouped_weights weights;
    const real *dy, *x;
    real *partial;
    uint8_t *learns;                            /* of each filter, or NULL for all */
} grouped_weights_args;

#define GROUPED_BAND_L1_BYTES (24 * 1024)       /* of x and dy, for all picks and taps in turn */

static int build_grouped_weights(grouped_weights *g, const pycnn_conv *shape)
{
    int status = build_grouped_pass(&g->pass, shape, 0, NULL);
    if (status) return status;
    const grouped_pass *c = &g->pass;
    const pycnn_window *w = &c->shape.window;
    const int64_t row_bytes = (w->out[2] + w->in[2] * w->stride[1]) * V * (int64_t)sizeof(real);
    const int64_t bands = ceil_div(w->out[1], min64(w->out[1], max64(1, GROUPED_BAND_L1_BYTES / row_bytes)));
    g->band_rows = ceil_div(w->out[1], bands);
    g->bands = c->shape.n * w->out[0] * ceil_div(w->out[1], g->band_rows);
    g->partial_size = pick_count(c) * c->taps * V + c->target_vectors * V;
    const double flops = 2.0 * (double)(g->bands * g->band_rows * w->out[2]) * (double)(pick_count(c) * c->taps * V);
    const int64_t wanted = max64(1, (int64_t)fmin(MOST_TASKS / 4, flops / FLOPS_PER_TASK));
    g->chunks = min64(g->bands, ceil_div(wanted, c->target_vectors));
    return PYCNN_OK;
}

static int64_t grouped_partial_size(const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout)
{
    grouped_weights g;
    (void)layout, (void)x_layout;
    int64_t size = build_grouped_weights(&g, shape);
    if (size == PYCNN_OK) size = g.chunks * g.partial_size;
    release_grouped_pass(&g.pass);
    return size;
}

/* Adds the products of output rows `rows` with one depth of taps. `dy` is row 0 of a plane, `x` a plane of it. */
static void sum_grouped_rows(const grouped_pass *c, row_span rows, const real *dy, const real *x, const lane_int *pick,
                             real *partial)
{
    const pycnn_window *w = &c->shape.window;
    const int64_t width = w->in[2] * V, shared = lanewise_shared_taps(w->stride[2], w->dilation[2], w->kernel[2]);
    const axis_phase *axis = &c->phase[1]->axis;
    const int64_t row_parts = ceil_div(w->kernel[1], LANEWISE_TAPS), column_parts = ceil_div(w->kernel[2], shared);
    for (int64_t part = 0; part < row_parts; part++) {
        const row_span all = {part_begin(w->kernel[1], row_parts, part), part_begin(w->kernel[1], row_parts, part + 1)};
        for (int64_t h = rows.begin, alike; h < rows.end; h += alike) {
            const row_span taps = row_taps_of(axis, w->in[1], all, h);
            alike = rows_alike(axis, w->in[1], all, h, rows.end);
            if (taps.begin == taps.end) continue;
            for (int64_t column = 0; column < column_parts; column++) {
                const int64_t s = part_begin(w->kernel[2], column_parts, column);
                const int64_t s_end = part_begin(w->kernel[2], column_parts, column + 1);
                const int64_t first = s * w->dilation[2] - w->before[2];
                const lanewise_weights_args g = {
                    .x = x + (h * w->stride[1] + taps.begin * w->dilation[1] - w->before[1]) * width + first * V,
                    .dy = dy + h * w->out[2] * V, .dw = partial + (taps.begin * w->kernel[2] + s) * V, .pick = pick,
                    .rows = alike, .i = w->out[2], .x_row = w->stride[1] * width, .dy_row = w->out[2] * V,
                    .x_o = w->dilation[1] * width, .dw_o = w->kernel[2] * V, .line = V, .dy_i = V,
                    .i_lines = w->stride[2], .t_lines = w->dilation[2], .first = first, .lines = w->in[2], .lanes = V,
                };
                lanewise_weights(&g, taps.end - taps.begin, s_end - s);
            }
        }
    }
}

static void run_grouped_weights_task(const grouped_weights_args *a, int64_t task)
{
    const grouped_weights *g = &a->weights;
    const grouped_pass *c = &g->pass;
    const pycnn_window *w = &c->shape.window;
    const int64_t u = task % c->target_vectors, chunk = task / c->target_vectors;
    const row_span learning = learning_run(a->learns, u * V, min64(c->targets, u * V + V));
    if (learning.begin == learning.end) return;
    const int64_t row_taps = w->kernel[1] * w->kernel[2], row_bands = ceil_div(w->out[1], g->band_rows);
    const int64_t first = c->picks.first[u], end = c->picks.first[u + 1];
    real *partial = a->partial + chunk * g->partial_size;
    real *bias = partial + pick_count(c) * c->taps * V + u * V;
    memset(partial + first * c->taps * V, 0, (size_t)((end - first) * c->taps * V) * sizeof(real));
    memset(bias, 0, V * sizeof(real));
    for (int64_t b = part_begin(g->bands, g->chunks, chunk); b < part_begin(g->bands, g->chunks, chunk + 1); b++) {
        const int64_t d = b / row_bands % w->out[0], n = b / row_bands / w->out[0], h = b % row_bands * g->band_rows;
        const row_span rows = {h, min64(h + g->band_rows, w->out[1])};
        const real *dy = a->dy + ((n * c->target_vectors + u) * w->out[0] + d) * w->out[1] * w->out[2] * V;
        for (int64_t p = first; p < end; p++)
            for (int64_t t = 0; t < w->kernel[0]; t++) {
                const source_pick *pick = &c->picks.picks[p];
                const int64_t at = d * w->stride[0] + t * w->dilation[0] - w->before[0];
                if (at < 0 || at >= w->in[0]) continue;
                const int64_t depth = (n * c->source_vectors + pick->vector) * w->in[0] + at;
                sum_grouped_rows(c, rows, dy, a->x + depth * w->in[1] * w->in[2] * V, c->depthwise ? NULL : pick->lane,
                                 partial + (p * c->taps + t * row_taps) * V);
            }
        sum_vectors(dy + rows.begin * w->out[2] * V, (rows.end - rows.begin) * w->out[2], bias);
    }
}

static void run_grouped_weights(const void *args, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    for (int64_t task = begin; task < end; task++) run_grouped_weights_task(args, task);
}

static void release_grouped_weights(void *args)
{
    grouped_weights_args *a = args;
    release_grouped_pass(&a->weights.pass);
    free(a->learns);
}

static int grouped_backward_weights(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout,
                                    pycnn_layout x_layout, const uint8_t *learns, const void *dy, const void *x,
                                    void *partial)
{
    grouped_weights_args a = {.dy = dy, .x = x, .partial = partial};
    (void)layout, (void)x_layout;
    int status = build_grouped_weights(&a.weights, shape);
    if (status == PYCNN_OK && learns && !(a.learns = copied_flags(learns, shape->k))) status = PYCNN_NO_MEMORY;
    if (status == PYCNN_OK)
        status = PREPARE(step, run_grouped_weights, a.weights.chunks * a.weights.pass.target_vectors, 0, a);
    if (status) release_grouped_weights(&a);
    else step->release = release_grouped_weights;
    return status;
}

/* ---- the sum of the partial sums --------------------------------------------------------------------------------- */

typedef struct {
    grouped_weights weights;
    int accumulate;
    const real *partial;
    real *dw, *db;
} grouped_reduce_args;

/* A task is a vector of filters: each lane's sum goes to its filter. */
static void reduce_grouped(const grouped_reduce_args *a, int64_t u)
{
    const grouped_weights *g = &a->weights;
    const grouped_pass *c = &g->pass;
    const int64_t in_group = c->sources / c->shape.groups, lanes = min64(V, c->targets - u * V);
#define SUM_OF_CHUNKS(offset)                                                                                          \
    real sums[V];                                                                                                      \
    vec sum = vload(a->partial + (offset));                                                                            \
    for (int64_t chunk = 1; chunk < g->chunks; chunk++) sum += vload(a->partial + chunk * g->partial_size + (offset)); \
    vstore(sums, sum);
    for (int64_t p = c->picks.first[u]; p < c->picks.first[u + 1]; p++) {
        const source_pick *pick = &c->picks.picks[p];
        for (int64_t t = 0; t < c->taps; t++) {
            SUM_OF_CHUNKS((p * c->taps + t) * V)
            for (int64_t l = 0; l < lanes; l++) {
                real *dw = a->dw + ((u * V + l) * in_group + pick->channel) * c->taps + t;
                if (pick->lane[l] >= 0) *dw = a->accumulate ? *dw + sums[l] : sums[l];
            }
        }
    }
    if (!a->db) return;
    SUM_OF_CHUNKS(pick_count(c) * c->taps * V + u * V)
#undef SUM_OF_CHUNKS
    for (int64_t l = 0; l < lanes; l++) a->db[u * V + l] = a->accumulate ? a->db[u * V + l] + sums[l] : sums[l];
}

static void run_grouped_reduce(const void *args, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    for (int64_t task = begin; task < end; task++) reduce_grouped(args, task);
}

static void release_grouped_reduce(void *args) { release_grouped_pass(&((grouped_reduce_args *)args)->weights.pass); }

static int grouped_reduce_weights(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                                  int accumulate, const void *partial, void *dw, void *db)
{
    grouped_reduce_args a = {.accumulate = accumulate, .partial = partial, .dw = dw, .db = db};
    (void)layout, (void)x_layout;
    int status = build_grouped_weights(&a.weights, shape);
    if (status == PYCNN_OK) status = PREPARE(step, run_grouped_reduce, a.weights.pass.target_vectors, 0, a);
    if (status) release_grouped_pass(&a.weights.pass);
    else step->release = release_grouped_reduce;
    return status;
}
