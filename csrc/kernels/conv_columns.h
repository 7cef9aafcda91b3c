/* Convolution to few channels from few: forward and backward_data with a PLAIN target and a PLAIN source.
 *
 *     target[t][h][w ..] = f(bias[t] + sum over taps and source channels of weight[t][tap, c] source[c][h + ..][w + .. ..])
 *
 * Lanes are V neighbouring columns of a target row. A tile of the building block is
 *
 *     A (broadcast)  weights, I targets          B (vectors)  source, J vectors of columns, at any offset
 *
 * A task is one sample and a band of target rows. It goes through the source channels in chunks; the rows of a chunk that
 * the band's taps reach are copied into a panel with zeros around them, and their products are added to the band's sums. A
 * source that is read at every `step`-th column has its columns sorted by their remainder, so that those of a vector are
 * neighbours. Targets whose columns fall into phases are put together when their sums are done. */

#define CHUNK_CHANNELS 16               /* steps enough for a tile to load and store its sums */
#define TILE_SOURCE_BYTES (24 * 1024)   /* of the first-level cache, for the source of a tile */

typedef struct {
    plain_pass plain;
    int64_t lead, step;                     /* panel columns before the source's first; columns per target */
    int64_t sorted_stride, row_stride, depth_stride, channel_stride;    /* of the panel, in reals */
    int64_t panel_size;
    int64_t chunks, group;                  /* of channels; those of a run, of which a tile's source is small */
    int64_t unit_tiles, column_tile;        /* tiles along the targets; vectors of columns in one, at most */
    int64_t sum_width;                      /* reals of a row of sums */
} columns_pass;

static int build_columns(columns_pass *c, const pycnn_conv *shape, int backward)
{
    *c = (columns_pass){0};
    plain_pass *p = &c->plain;
    const int status = build_plain(p, conv_flattened(*shape, 4 * V), backward);
    if (status) return status;
    const pycnn_window *w = &p->shape.window;
    const axis_phase row = p->axis[1][0], column = p->axis[2][0];
    const overhang rows = axis_overhang(w, 1, backward), columns = axis_overhang(w, 2, backward);
    c->step = column.in_step;
    c->lead = c->step == 1 ? round_up(columns.before, V) : columns.before;
    c->sorted_stride = round_up(ceil_div(c->lead + p->source[2] + columns.after, c->step), V);
    c->row_stride = c->step * c->sorted_stride;
    c->sum_width = round_up(column.count, V);

    const int64_t chunk = min64(p->sources, CHUNK_CHANNELS);
    const brgemm_cut cut = brgemm_choose_cut(p->targets, c->sum_width / V, p->phase_taps * chunk);
    c->chunks = ceil_div(p->sources, CHUNK_CHANNELS);
    c->unit_tiles = cut.i_parts;
    c->column_tile = ceil_div(c->sum_width / V, cut.j_parts);
    const int64_t tap_rows = ceil_div(w->kernel[0] * w->kernel[1], p->phase_count[0] * p->phase_count[1]);
    c->group = max64(1, min64(chunk, TILE_SOURCE_BYTES / (tap_rows * (c->column_tile + 1) * VECTOR_BYTES)));

    int64_t depths = 1;
    for (int64_t f = 0; f < p->phase_count[0]; f++)
        if (p->axis[0][f].taps) depths = max64(depths, offset_high(&p->axis[0][f]) - offset_low(&p->axis[0][f]) + 1);
    const int64_t span = (w->kernel[1] - 1) * w->dilation[1] + 1, target_rows = ceil_div(p->target[1], row.out_step);
    const double row_bytes = (double)(chunk * depths * c->row_stride) * sizeof(real);
    const int64_t band = max64(1, (int64_t)((PANEL_BYTES / row_bytes - (double)span) / (double)row.in_step) + 1);
    divide_bands(p, ceil_div(target_rows, min64(band, target_rows)), max64(1, 2 * span / (row.in_step * row.out_step)));
    const int64_t panel_rows = min64((p->band_rows / row.out_step - 1) * row.in_step + span,
                                     rows.before + p->source[1] + rows.after);
    c->depth_stride = panel_rows * c->row_stride;
    c->channel_stride = (depths * c->depth_stride / V | 1) * V;      /* not a power of two, which would crowd the cache */
    c->panel_size = chunk * c->channel_stride + V;
    return c->panel_size > INT32_MAX ? PYCNN_TOO_LARGE : PYCNN_OK;
}

/* ---- the order of steps: groups of a chunk's channels, taps, channels of the group ------------------------------------- */

/* Where a tap reads in the panel, relative to where its target's source would begin without padding. */
static int64_t columns_offset(const columns_pass *c, const axis_phase axis[3], const int64_t t[3])
{
    int64_t at[3];
    for (int a = 0; a < 3; a++) at[a] = axis[a].first_offset + t[a] * axis[a].offset_step;
    const int64_t column = at[2] + c->lead;
    return at[0] * c->depth_stride + at[1] * c->row_stride + column % c->step * c->sorted_stride + column / c->step;
}

/* The runs of a chunk of so many channels; returns their number. */
static int64_t columns_runs(const columns_pass *c, const axis_phase axis[3], int64_t channels, brgemm_run *runs)
{
    int64_t count = 0, end = 0;
    for (int64_t ch = 0; ch < channels; ch += c->group)
        FOR_PLAIN_TAPS(axis) {
            const int64_t at = ch * c->channel_stride + columns_offset(c, axis, t), length = min64(c->group, channels - ch);
            runs[count++] = (brgemm_run){.b = (int32_t)(at - end), .length = (int32_t)length};
            end = at + length * c->channel_stride;
        }
    return count;
}

/* ---- packed weights: bias [target][V], then [phase][tile of targets][chunk][step][target of the tile] ------------------ */

INLINE int64_t columns_packed_phase(const columns_pass *c, int64_t phase)
{
    return c->plain.targets * (V + c->plain.sources * plain_taps_before(&c->plain, phase));
}

static int64_t columns_packed_size(const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout, int backward)
{
    (void)layout, (void)x_layout;
    columns_pass c;
    int64_t size = build_columns(&c, shape, backward);
    if (size == PYCNN_OK) size = columns_packed_phase(&c, c.plain.phases);
    release_plain(&c.plain);
    return size;
}

typedef struct { columns_pass pass; const real *w, *bias; real *packed; } columns_pack_args;

static void run_columns_pack(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const columns_pack_args *a = args;
    const columns_pass *c = &a->pass;
    const plain_pass *p = &c->plain;
    (void)scratch;
    for (int64_t phase = begin; phase < end; phase++) {
        axis_phase axis[3];
        plain_phase(p, phase, axis);
        real *packed = a->packed + columns_packed_phase(c, phase);
        for (int64_t tile = 0; tile < c->unit_tiles; tile++)
            for (int64_t chunk = 0; chunk < p->sources; chunk += CHUNK_CHANNELS) {
                const int64_t chunk_end = min64(p->sources, chunk + CHUNK_CHANNELS);
                for (int64_t group = chunk; group < chunk_end; group += c->group)
                    FOR_PLAIN_TAPS(axis)
                        for (int64_t ch = group; ch < min64(chunk_end, group + c->group); ch++)
                            for (int64_t u = part_begin(p->targets, c->unit_tiles, tile);
                                 u < part_begin(p->targets, c->unit_tiles, tile + 1); u++)
                                *packed++ = a->w[plain_weight(p, axis, t, u, ch)];
            }
        for (int64_t u = 0; u < p->targets && phase == 0; u++)
            vstore(a->packed + u * V, vset1(a->bias ? a->bias[u] : 0));
    }
}

static void release_columns_pack(void *args) { release_plain(&((columns_pack_args *)args)->pass.plain); }

static int columns_pack(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout, int backward,
                        const void *w, const void *bias, void *packed)
{
    columns_pack_args a = {.w = w, .bias = bias, .packed = packed};
    (void)layout, (void)x_layout;
    int status = build_columns(&a.pass, shape, backward);
    if (status == PYCNN_OK) status = PREPARE(step, run_columns_pack, a.pass.plain.phases, 0, a);
    if (status) release_plain(&a.pass.plain);
    else step->release = release_columns_pack;
    return status;
}

/* ---- the convolution ---------------------------------------------------------------------------------------------------- */

typedef struct {
    columns_pass pass;
    plain_arrays arrays;
} columns_args;

/* The source rows that a band's taps reach, those beyond the source included. */
static row_span columns_reach(const plain_pass *p, row_span rows)
{
    row_span s = {INT64_MAX, INT64_MIN};
    for (int64_t f = 0; f < p->phase_count[1]; f++) {
        const axis_phase *row = &p->axis[1][f];
        const int64_t begin = first_index(row, rows.begin), end = first_index(row, rows.end);
        if (begin >= end || !row->taps) continue;
        s.begin = min64(s.begin, begin * row->in_step + offset_low(row));
        s.end = max64(s.end, (end - 1) * row->in_step + offset_high(row) + 1);
    }
    return s.begin < s.end ? s : (row_span){0, 0};
}

/* One row of one channel -> its row of the panel, zeros around it. */
static void columns_row(const columns_pass *c, const real *row, real *panel)
{
    const int64_t width = c->plain.source[2];
    if (c->step == 1) {
        memset(panel, 0, (size_t)c->lead * sizeof(real));
        memcpy(panel + c->lead, row, (size_t)width * sizeof(real));
        memset(panel + c->lead + width, 0, (size_t)(c->row_stride - c->lead - width) * sizeof(real));
        return;
    }
    memset(panel, 0, (size_t)c->row_stride * sizeof(real));
    for (int64_t q = c->lead; q < c->lead + width; q++)
        panel[q % c->step * c->sorted_stride + q / c->step] = row[q - c->lead];
}

/* Depths and rows of a chunk of channels -> the panel. */
static void fill_columns(const columns_pass *c, const real *source, int64_t channels, row_span depths, row_span rows,
                         real *panel)
{
    const plain_pass *p = &c->plain;
    for (int64_t ch = 0; ch < channels; ch++)
        for (int64_t d = depths.begin; d < depths.end; d++)
            for (int64_t h = rows.begin; h < rows.end; h++) {
                real *row = panel + ch * c->channel_stride + (d - depths.begin) * c->depth_stride
                          + (h - rows.begin) * c->row_stride;
                if (d >= 0 && d < p->source[0] && h >= 0 && h < p->source[1])
                    columns_row(c, source + ch * p->source_size + (d * p->source[1] + h) * p->source[2], row);
                else memset(row, 0, (size_t)c->row_stride * sizeof(real));
            }
}

/* Adds the products of a chunk, `channels` from `first` on, to the sums of the rows of one phase, or to the bias. `source`
   is where source row 0 at depth 0 would begin in the panel. */
static void sum_columns(const columns_args *a, const axis_phase axis[3], const plain_task *task, int64_t first,
                        int64_t channels, const real *source, const real *weights, real *sums, brgemm_run *runs)
{
    const columns_pass *c = &a->pass;
    const plain_pass *p = &c->plain;
    const int64_t vectors = ceil_div(axis[2].count, V), tiles = ceil_div(vectors, c->column_tile);
    const int64_t target_stride = p->band_rows * c->sum_width;
    brgemm_args g = {.a_i = 1, .b_j = V, .b_k = c->channel_stride, .init_i = V, .c_i = target_stride, .c_j = V,
                     .runs = runs, .run_count = columns_runs(c, axis, channels, runs), .floor = -INFINITY};
    if (first) g.init_i = target_stride, g.init_j = V;
    source += task->depth / p->phase_count[0] * axis[0].in_step * c->depth_stride;
    for (int64_t i = first_index(&axis[1], task->rows.begin); i < first_index(&axis[1], task->rows.end); i++) {
        real *row = sums + (axis[1].out_start + i * axis[1].out_step - task->rows.begin) * c->sum_width;
        for (int64_t tile = 0; tile < c->unit_tiles; tile++) {
            const int64_t unit = part_begin(p->targets, c->unit_tiles, tile);
            const int64_t units = part_begin(p->targets, c->unit_tiles, tile + 1) - unit;
            g.a = weights + (unit * p->sources + units * first) * taps_of(axis);
            g.a_k = units;
            for (int64_t t = 0; t < tiles; t++) {
                const int64_t j = part_begin(vectors, tiles, t);
                g.b = source + i * axis[1].in_step * c->row_stride + j * V;
                g.c = row + unit * target_stride + j * V;
                g.init = first ? g.c : a->arrays.packed + unit * V;
                brgemm(units, part_begin(vectors, tiles, t + 1) - j, &g);
            }
        }
    }
}

/* The sums of a band -> rows of the target, their phases of columns put together. */
static void store_columns(const columns_args *a, const plain_task *task, const real *sums)
{
    const columns_pass *c = &a->pass;
    const plain_pass *p = &c->plain;
    const int64_t width = p->target[2], phases = p->phase_count[2], rows = task->rows.end - task->rows.begin;
    for (int64_t t = 0; t < p->targets; t++)
        for (int64_t h = 0; h < rows; h++)
            for (int64_t f = 0; f < phases; f++) {
                const real *from = sums + ((f * p->targets + t) * p->band_rows + h) * c->sum_width;
                real *to = a->arrays.target + plain_rows(p, task, t) + h * width;
                if (phases == 1) memcpy(to, from, (size_t)width * sizeof(real));
                else for (int64_t w = f; w < width; w += phases) to[w] = *from++;
            }
}

static void run_columns_task(const columns_args *a, const plain_task *task, real *scratch)
{
    const columns_pass *c = &a->pass;
    const plain_pass *p = &c->plain;
    const axis_phase *d = &p->axis[0][task->depth % p->phase_count[0]];
    const int64_t depth = task->depth / p->phase_count[0] * d->in_step;
    const int64_t first_phase = task->depth % p->phase_count[0] * p->plane_phases;
    const row_span rows = columns_reach(p, task->rows);
    row_span depths = {0, 0};
    if (d->taps) depths = (row_span){depth + offset_low(d), depth + offset_high(d) + 1};
    const int64_t phase_sums = p->targets * p->band_rows * c->sum_width;
    real *sums = scratch, *panel = sums + p->phase_count[2] * phase_sums;
    brgemm_run *runs = (brgemm_run *)(panel + c->panel_size);
    for (int64_t chunk = 0; chunk < c->chunks; chunk++) {
        const int64_t first = chunk * CHUNK_CHANNELS, channels = min64(p->sources - first, CHUNK_CHANNELS);
        fill_columns(c, a->arrays.source + (task->sample * p->sources + first) * p->source_size, channels, depths, rows,
                     panel);
        const real *source = panel - depths.begin * c->depth_stride - rows.begin * c->row_stride;
        const real *weights = a->arrays.packed + columns_packed_phase(c, first_phase);
        for (int64_t f = 0; f < p->plane_phases; f++) {
            axis_phase axis[3];
            plain_phase(p, first_phase + f, axis);
            sum_columns(a, axis, task, first, channels, source, weights, sums + f % p->phase_count[2] * phase_sums, runs);
            weights += p->targets * p->sources * taps_of(axis);
        }
    }
    store_columns(a, task, sums);
    finish_plain(p, &a->arrays, task);
}

static void run_columns(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const columns_args *a = args;
    for (int64_t number = begin; number < end; number++) {
        const plain_task task = plain_task_of(&a->pass.plain, number);
        run_columns_task(a, &task, scratch);
    }
}

static void release_columns(void *args) { release_plain(&((columns_args *)args)->pass.plain); }

static int prepare_columns(pycnn_step *step, const plain_arrays *arrays, const pycnn_conv *shape, int backward)
{
    columns_args a = {.arrays = *arrays};
    int status = build_columns(&a.pass, shape, backward);
    const columns_pass *c = &a.pass;
    const plain_pass *p = &c->plain;
    if (status == PYCNN_OK) {
        const int64_t reals = p->phase_count[2] * p->targets * p->band_rows * c->sum_width + c->panel_size;
        const int64_t runs = p->all_taps * ceil_div(CHUNK_CHANNELS, c->group);
        status = PREPARE(step, run_columns, p->shape.n * p->target[0] * p->bands,
                         (size_t)reals * sizeof(real) + (size_t)runs * sizeof(brgemm_run), a);
    }
    if (status) release_plain(&a.pass.plain);
    else step->release = release_columns;
    return status;
}

static int columns_forward(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                        pycnn_activation activation, const pycnn_window *pool,
                        const void *x, const void *packed, const void *added, void *y, void *indices)
{
    const plain_arrays arrays = {.forward = activation, .source = x, .packed = packed, .added = added, .target = y};
    (void)layout, (void)x_layout, (void)pool, (void)indices;
    return prepare_columns(step, &arrays, shape, 0);
}

static int columns_backward_data(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                              pycnn_activation forward, pycnn_activation backward,
                              const void *dy, const void *packed, const void *x, const void *added, void *dx)
{
    const plain_arrays arrays = {.forward = forward, .backward = backward, .source = dy, .packed = packed, .activated = x,
                                 .added = added, .target = dx};
    (void)layout, (void)x_layout;
    return prepare_columns(step, &arrays, shape, 1);
}
