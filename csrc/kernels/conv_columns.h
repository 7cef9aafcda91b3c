/* Convolution to few channels: forward and backward_data with a PLAIN target, whose lanes are V neighbouring columns.
 *
 *     target[t][h][w ..] = f(bias[t] + sum over taps and source channels of weight[t][tap, c] source[c][h + ..][w + .. ..])
 *
 * Lanes of channels or of samples would be mostly empty where there are few of both: the image of a first layer, of which
 * the gradient is wanted, or the last map of a decoder. A tile of the building block is
 *
 *     A (broadcast)  weights, I targets          B (vectors)  source, J vectors of columns, at any offset
 *
 * A task is one sample and a band of target rows. It goes through the source channels in chunks; the rows of a chunk that
 * the band's taps reach are brought into a panel, one channel behind the other, with zeros around them, and their products
 * are added to the band's sums. Sources in CHANNELS are transposed on their way. A source that is read at every `step`-th
 * column has its columns sorted by their remainder, so that those of a vector are neighbours. Targets whose columns fall
 * into phases are put together when their sums are done. */

#define CHUNK_CHANNELS 16               /* a whole number of vectors, and steps enough for a tile to load and store its sums */
#define TILE_SOURCE_BYTES (24 * 1024)   /* of the first-level cache, for the source of a tile */

typedef struct {
    pycnn_conv shape;
    pycnn_layout source_layout;
    int backward;
    int64_t sources, targets, source[3], target[3], source_size, target_size;
    int64_t phase_count[3];
    axis_phase *axis[3];                                    /* of each phase, in one piece of memory */
    int64_t lead, step;                                     /* panel columns before the source's first; columns per target */
    int64_t sorted_stride, row_stride, depth_stride, channel_stride;    /* of the panel, in reals */
    int64_t panel_depth, panel_rows, panel_size;
    int64_t chunks, group;                                  /* of channels; those of a run, of which a tile's source is small */
    int64_t unit_tiles, column_tile;                        /* tiles along the targets; vectors of columns in one, at most */
    int64_t bands, band_rows;
    int64_t sum_width;                                      /* reals of a row of sums */
} columns_pass;

static void release_columns_pass(columns_pass *c) { free(c->axis[0]); }

static int build_columns(columns_pass *pass, const pycnn_conv *shape, pycnn_layout source_layout, int backward)
{
    *pass = (columns_pass){0};
    columns_pass c = {.shape = conv_flattened(*shape, 4 * V), .source_layout = source_layout, .backward = backward};
    const pycnn_window *w = &c.shape.window;
    overhang pad[3];
    c.sources = backward ? shape->k : shape->c;
    c.targets = backward ? shape->c : shape->k;
    c.source_size = c.target_size = 1;
    for (int a = 0; a < 3; a++) {
        c.source[a] = backward ? w->out[a] : w->in[a];
        c.target[a] = backward ? w->in[a] : w->out[a];
        c.source_size *= c.source[a];
        c.target_size *= c.target[a];
        c.phase_count[a] = axis_phase_count(w, a, backward);
        pad[a] = axis_overhang(w, a, backward);
    }
    c.axis[0] = malloc((size_t)(c.phase_count[0] + c.phase_count[1] + c.phase_count[2]) * sizeof(axis_phase));
    if (!c.axis[0]) return PYCNN_NO_MEMORY;
    c.axis[1] = c.axis[0] + c.phase_count[0];
    c.axis[2] = c.axis[1] + c.phase_count[1];
    for (int a = 0; a < 3; a++)
        for (int64_t f = 0; f < c.phase_count[a]; f++) c.axis[a][f] = axis_phase_of(w, a, backward, f);
    const axis_phase row = c.axis[1][0], column = c.axis[2][0];
    c.step = column.in_step;
    c.lead = c.step == 1 ? round_up(pad[2].before, V) : pad[2].before;
    c.sorted_stride = round_up(ceil_div(c.lead + c.source[2] + pad[2].after, c.step), V);
    c.row_stride = c.step * c.sorted_stride;
    c.sum_width = round_up(column.count, V);
    c.panel_depth = 1;
    for (int64_t f = 0; f < c.phase_count[0]; f++) {
        const axis_phase *d = &c.axis[0][f];
        if (d->taps) c.panel_depth = max64(c.panel_depth, offset_high(d) - offset_low(d) + 1);
    }

    const int64_t phases = c.phase_count[0] * c.phase_count[1] * c.phase_count[2];
    const int64_t taps = ceil_div(w->kernel[0] * w->kernel[1] * w->kernel[2], phases);
    const int64_t chunk = min64(c.sources, CHUNK_CHANNELS);
    const brgemm_cut cut = brgemm_choose_cut(c.targets, c.sum_width / V, taps * chunk);
    c.chunks = ceil_div(c.sources, CHUNK_CHANNELS);
    c.unit_tiles = cut.i_parts;
    c.column_tile = ceil_div(c.sum_width / V, cut.j_parts);
    const int64_t tap_rows = ceil_div(w->kernel[0] * w->kernel[1], c.phase_count[0] * c.phase_count[1]);
    const int64_t tile_bytes = tap_rows * (c.column_tile + 1) * VECTOR_BYTES;
    c.group = max64(1, min64(chunk, TILE_SOURCE_BYTES / tile_bytes));

    const int64_t rows = ceil_div(c.target[1], row.out_step), span = (w->kernel[1] - 1) * w->dilation[1] + 1;
    const double row_bytes = (double)(chunk * c.panel_depth * c.row_stride) * sizeof(real);
    const double flops = 2.0 * (double)(c.shape.n * c.targets * c.sources) * (double)(c.target_size * taps);
    const int64_t wanted = max64(1, (int64_t)fmin(MOST_TASKS, flops / FLOPS_PER_TASK));
    const int64_t others = c.shape.n * c.target[0];
    const int64_t band = max64(1, (int64_t)((PANEL_BYTES / row_bytes - (double)span) / (double)row.in_step) + 1);
    int64_t bands = ceil_div(rows, min64(band, rows));
    if (others * bands < wanted) {
        const int64_t fewest_rows = max64(1, 2 * span / (row.in_step * row.out_step));
        bands = max64(bands, min64(ceil_div(wanted, others), ceil_div(rows, fewest_rows)));
    }
    const int64_t phase_rows = ceil_div(rows, bands);
    c.bands = ceil_div(rows, phase_rows);
    c.band_rows = phase_rows * row.out_step;
    c.panel_rows = min64((phase_rows - 1) * row.in_step + span, pad[1].before + c.source[1] + pad[1].after);
    c.depth_stride = c.panel_rows * c.row_stride;
    c.channel_stride = (c.panel_depth * c.depth_stride / V | 1) * V;    /* never a power of two */
    c.panel_size = chunk * c.channel_stride + V;
    *pass = c;
    return c.panel_size > INT32_MAX ? PYCNN_TOO_LARGE : PYCNN_OK;
}

/* ---- the order of steps: groups of a chunk's channels, taps, channels of the group ------------------------------------- */

/* Where a tap reads, relative to where a target's first tap would without an offset. */
static int64_t columns_offset(const columns_pass *c, const axis_phase axis[3], const int64_t t[3])
{
    int64_t at[3];
    for (int a = 0; a < 3; a++) at[a] = axis[a].first_offset + t[a] * axis[a].offset_step;
    const int64_t column = at[2] + c->lead;
    return at[0] * c->depth_stride + at[1] * c->row_stride + column % c->step * c->sorted_stride + column / c->step;
}

#define FOR_COLUMN_TAPS(axis)                                                                                          \
    for (int64_t t[3] = {0}; t[0] < (axis)[0].taps; t[0]++)                                                            \
        for (t[1] = 0; t[1] < (axis)[1].taps; t[1]++)                                                                  \
            for (t[2] = 0; t[2] < (axis)[2].taps; t[2]++)

/* The runs of a chunk of so many channels; returns their number. */
static int64_t columns_runs(const columns_pass *c, const axis_phase axis[3], int64_t channels, brgemm_run *runs)
{
    int64_t count = 0, end = 0;
    for (int64_t ch = 0; ch < channels; ch += c->group)
        FOR_COLUMN_TAPS(axis) {
            const int64_t at = ch * c->channel_stride + columns_offset(c, axis, t), length = min64(c->group, channels - ch);
            runs[count++] = (brgemm_run){.b = (int32_t)(at - end), .length = (int32_t)length};
            end = at + length * c->channel_stride;
        }
    return count;
}

/* ---- packed weights: bias [target][V], then [phase][tile of targets][chunk][step][target of the tile] ------------------ */

INLINE int64_t taps_of(const axis_phase axis[3]) { return axis[0].taps * axis[1].taps * axis[2].taps; }

/* The three axes of phase i. */
static void columns_phase(const columns_pass *c, int64_t i, axis_phase axis[3])
{
    axis[0] = c->axis[0][i / c->phase_count[2] / c->phase_count[1]];
    axis[1] = c->axis[1][i / c->phase_count[2] % c->phase_count[1]];
    axis[2] = c->axis[2][i % c->phase_count[2]];
}

/* Where the weights of phase i begin. */
static int64_t columns_packed_phase(const columns_pass *c, int64_t i)
{
    int64_t taps = 0;
    axis_phase axis[3];
    for (int64_t f = 0; f < i; f++) columns_phase(c, f, axis), taps += taps_of(axis);
    return c->targets * (V + c->sources * taps);
}

static int64_t columns_packed_size(const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout, int backward)
{
    const pycnn_layout source_layout = backward ? layout : x_layout;
    columns_pass c;
    int64_t size = build_columns(&c, shape, source_layout, backward);
    if (size == PYCNN_OK) size = columns_packed_phase(&c, c.phase_count[0] * c.phase_count[1] * c.phase_count[2]);
    release_columns_pass(&c);
    return size;
}

typedef struct { columns_pass pass; const real *w, *bias; real *packed; } columns_pack_args;

static void run_columns_pack(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const columns_pack_args *a = args;
    const columns_pass *c = &a->pass;
    const int64_t *kernel = c->shape.window.kernel, taps = kernel[0] * kernel[1] * kernel[2];
    const int64_t target_stride = c->backward ? taps : c->sources * taps;
    const int64_t source_stride = c->backward ? c->targets * taps : taps;
    (void)scratch;
    for (int64_t phase = begin; phase < end; phase++) {
        axis_phase axis[3];
        columns_phase(c, phase, axis);
        real *packed = a->packed + columns_packed_phase(c, phase);
        for (int64_t tile = 0; tile < c->unit_tiles; tile++) {
            const int64_t unit = part_begin(c->targets, c->unit_tiles, tile);
            const int64_t unit_end = part_begin(c->targets, c->unit_tiles, tile + 1);
            for (int64_t chunk = 0; chunk < c->sources; chunk += CHUNK_CHANNELS) {
                const int64_t chunk_end = min64(c->sources, chunk + CHUNK_CHANNELS);
                for (int64_t group = chunk; group < chunk_end; group += c->group)
                    FOR_COLUMN_TAPS(axis) {
                        int64_t tap = 0;
                        for (int i = 0; i < 3; i++) tap = tap * kernel[i] + axis[i].first_tap + t[i] * axis[i].tap_step;
                        for (int64_t ch = group; ch < min64(chunk_end, group + c->group); ch++)
                            for (int64_t u = unit; u < unit_end; u++)
                                *packed++ = a->w[u * target_stride + ch * source_stride + tap];
                    }
            }
        }
        for (int64_t u = 0; u < c->targets && phase == 0; u++)
            vstore(a->packed + u * V, vset1(a->bias ? a->bias[u] : 0));
    }
}

static void release_columns_pack(void *args) { release_columns_pass(&((columns_pack_args *)args)->pass); }

static int columns_pack(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout, int backward,
                        const void *w, const void *bias, void *packed)
{
    const pycnn_layout source_layout = backward ? layout : x_layout;
    columns_pack_args a = {.w = w, .bias = bias, .packed = packed};
    int status = build_columns(&a.pass, shape, source_layout, backward);
    const int64_t *phases = a.pass.phase_count;
    if (status == PYCNN_OK) status = PREPARE(step, run_columns_pack, phases[0] * phases[1] * phases[2], 0, a);
    if (status) release_columns_pass(&a.pass);
    else step->release = release_columns_pack;
    return status;
}

/* ---- the convolution ---------------------------------------------------------------------------------------------------- */

typedef struct {
    columns_pass pass;
    pycnn_activation forward, backward;
    const real *source, *packed, *activated, *added;
    real *target;
} columns_args;

/* The source rows that a band's taps reach, those beyond the source included. */
static row_span columns_reach(const columns_pass *c, row_span rows)
{
    row_span s = {INT64_MAX, INT64_MIN};
    for (int64_t f = 0; f < c->phase_count[1]; f++) {
        const axis_phase *p = &c->axis[1][f];
        const int64_t begin = first_index(p, rows.begin), end = first_index(p, rows.end);
        if (begin >= end || !p->taps) continue;
        s.begin = min64(s.begin, begin * p->in_step + offset_low(p));
        s.end = max64(s.end, (end - 1) * p->in_step + offset_high(p) + 1);
    }
    return s.begin < s.end ? s : (row_span){0, 0};
}

/* One row of one channel -> its row of the panel, its columns sorted. */
static void sort_columns(const columns_pass *c, const real *row, real *panel)
{
    for (int64_t r = 0; r < c->step; r++) {
        const int64_t first = (r - c->lead % c->step + c->step) % c->step;
        real *sorted = panel + r * c->sorted_stride + (first + c->lead) / c->step;
        for (int64_t q = first; q < c->source[2]; q += c->step) *sorted++ = row[q];
    }
}

/* One row of `channels` channels -> the panel. `row` is channel 0 of it, `spare` a row for each lane. */
static void fill_columns_row(const columns_pass *c, const real *row, int64_t channels, real *panel, real *spare)
{
    const int64_t width = c->source[2];
    const int sorted = c->step > 1;
    for (int64_t ch = 0; ch < channels; ch += V) {
        const int64_t lanes = min64(V, channels - ch);
        real *rows[V];
        for (int64_t l = 0; l < lanes; l++) {
            real *to = panel + (ch + l) * c->channel_stride;
            if (sorted) memset(to, 0, (size_t)c->row_stride * sizeof(real));
            else {
                memset(to, 0, (size_t)c->lead * sizeof(real));
                memset(to + c->lead + width, 0, (size_t)(c->row_stride - c->lead - width) * sizeof(real));
            }
            rows[l] = sorted ? spare + l * width : to + c->lead;
        }
        if (c->source_layout == PYCNN_CHANNELS) lanes_to_rows(row + ch * c->source_size, width, rows, lanes);
        for (int64_t l = 0; l < lanes; l++) {
            const real *from = c->source_layout == PYCNN_CHANNELS ? rows[l] : row + (ch + l) * c->source_size;
            if (sorted) sort_columns(c, from, panel + (ch + l) * c->channel_stride);
            else if (from != rows[l]) memcpy(rows[l], from, (size_t)width * sizeof(real));
        }
    }
}

/* The rows of a chunk of channels -> the panel. */
static void fill_columns(const columns_pass *c, const real *source, int64_t channels, row_span depths, row_span rows,
                         real *panel, real *spare)
{
    const int64_t pixel = c->source_layout == PYCNN_CHANNELS ? V : 1;
    for (int64_t d = depths.begin; d < depths.end; d++)
        for (int64_t h = rows.begin; h < rows.end; h++) {
            real *row = panel + (d - depths.begin) * c->depth_stride + (h - rows.begin) * c->row_stride;
            if (d >= 0 && d < c->source[0] && h >= 0 && h < c->source[1])
                fill_columns_row(c, source + (d * c->source[1] + h) * c->source[2] * pixel, channels, row, spare);
            else for (int64_t ch = 0; ch < channels; ch++)
                memset(row + ch * c->channel_stride, 0, (size_t)c->row_stride * sizeof(real));
        }
}

/* Adds the products of a chunk, `channels` from `first` on, to the sums of the rows of one phase, or to the bias. `source`
   is where source row 0 at depth 0 would begin, columns before it included. */
static void sum_columns(const columns_args *a, const axis_phase axis[3], int64_t depth, row_span rows, int64_t first,
                        int64_t channels, const real *source, const real *weights, real *sums, brgemm_run *runs)
{
    const columns_pass *c = &a->pass;
    const int64_t vectors = ceil_div(axis[2].count, V), tiles = ceil_div(vectors, c->column_tile);
    const int64_t target_stride = c->band_rows * c->sum_width, begin = first_index(&axis[1], rows.begin);
    brgemm_args g = {.a_i = 1, .b_j = V, .b_k = c->channel_stride, .init_i = V, .c_i = target_stride,
                     .c_j = V, .runs = runs, .run_count = columns_runs(c, axis, channels, runs), .floor = -INFINITY};
    if (first) g.init_i = target_stride, g.init_j = V;
    for (int64_t i = begin; i < first_index(&axis[1], rows.end); i++) {
        const real *source_row = source + depth * axis[0].in_step * c->depth_stride + i * axis[1].in_step * c->row_stride;
        real *row = sums + (axis[1].out_start + i * axis[1].out_step - rows.begin) * c->sum_width;
        for (int64_t u = 0; u < c->unit_tiles; u++) {
            const int64_t unit = part_begin(c->targets, c->unit_tiles, u);
            const int64_t units = part_begin(c->targets, c->unit_tiles, u + 1) - unit;
            g.a = weights + (unit * c->sources + units * first) * taps_of(axis);
            g.a_k = units;
            for (int64_t t = 0; t < tiles; t++) {
                const int64_t j = part_begin(vectors, tiles, t);
                g.b = source_row + j * V;
                g.c = row + unit * target_stride + j * V;
                g.init = first ? g.c : a->packed + unit * V;
                brgemm(units, part_begin(vectors, tiles, t + 1) - j, &g);
            }
        }
    }
}

/* The sums of a band -> rows of the target, its phases of columns put together. */
static void store_columns(const columns_args *a, int64_t sample, int64_t depth, row_span rows, const real *sums)
{
    const columns_pass *c = &a->pass;
    const int64_t width = c->target[2], phases = c->phase_count[2];
    for (int64_t t = 0; t < c->targets; t++) {
        const int64_t at = (sample * c->targets + t) * c->target_size + (depth * c->target[1] + rows.begin) * width;
        const int64_t size = (rows.end - rows.begin) * width;
        for (int64_t h = rows.begin; h < rows.end; h++)
            for (int64_t f = 0; f < phases; f++) {
                const real *from = sums + ((f * c->targets + t) * c->band_rows + h - rows.begin) * c->sum_width;
                real *to = a->target + at + (h - rows.begin) * width + f;
                if (phases == 1) memcpy(to, from, (size_t)width * sizeof(real));
                else for (int64_t i = 0; f + i * phases < width; i++) to[i * phases] = from[i];
            }
        for (int64_t i = at; i < at + size && a->added; i++) a->target[i] += a->added[i];
        activate(a->forward, a->target + at, size);
        if (a->backward.kind != PYCNN_IDENTITY)
            activation_gradient(a->backward, a->target + at, a->activated + at, a->target + at, size);
    }
}

static void run_columns_task(const columns_args *a, int64_t task, real *scratch)
{
    const columns_pass *c = &a->pass;
    const int64_t band = task % c->bands, target_depth = task / c->bands % c->target[0];
    const int64_t sample = task / c->bands / c->target[0];
    const row_span rows = {band * c->band_rows, min64((band + 1) * c->band_rows, c->target[1])};
    const row_span reach = columns_reach(c, rows);
    const int64_t depth_phase = target_depth % c->phase_count[0], depth = target_depth / c->phase_count[0];
    const axis_phase *d = &c->axis[0][depth_phase];
    row_span depths = {0, 0};
    if (d->taps) depths = (row_span){depth * d->in_step + offset_low(d), depth * d->in_step + offset_high(d) + 1};
    const int64_t pixel = c->source_layout == PYCNN_CHANNELS ? V : 1;
    const int64_t all_sources = round_up(c->sources, pixel), plane = c->band_rows * c->sum_width;
    real *sums = scratch, *spare = sums + c->phase_count[2] * c->targets * plane;
    real *panel = spare + (c->step > 1 ? round_up(c->source[2], V) * V : 0);
    brgemm_run *runs = (brgemm_run *)(panel + c->panel_size);
    const int64_t plane_phases = c->phase_count[1] * c->phase_count[2];
    const real *packed = a->packed + columns_packed_phase(c, depth_phase * plane_phases);
    for (int64_t chunk = 0; chunk < c->chunks; chunk++) {
        const int64_t first = chunk * CHUNK_CHANNELS, channels = min64(c->sources - first, CHUNK_CHANNELS);
        fill_columns(c, a->source + (sample * all_sources + first) * c->source_size, channels, depths, reach, panel, spare);
        const real *source = panel - depths.begin * c->depth_stride - reach.begin * c->row_stride;
        const real *weights = packed;
        for (int64_t i = 0; i < plane_phases; i++) {
            axis_phase axis[3];
            columns_phase(c, depth_phase * plane_phases + i, axis);
            sum_columns(a, axis, depth, rows, first, channels, source, weights,
                        sums + i % c->phase_count[2] * c->targets * plane, runs);
            weights += c->targets * c->sources * taps_of(axis);
        }
    }
    store_columns(a, sample, target_depth, rows, sums);
}

static void run_columns(const void *args, int64_t begin, int64_t end, void *scratch)
{
    for (int64_t task = begin; task < end; task++) run_columns_task(args, task, scratch);
}

static void release_columns(void *args) { release_columns_pass(&((columns_args *)args)->pass); }

static int prepare_columns(pycnn_step *step, columns_args *a, const pycnn_conv *shape, pycnn_layout source_layout,
                           int backward)
{
    columns_pass *c = &a->pass;
    int status = build_columns(c, shape, source_layout, backward);
    if (status == PYCNN_OK) {
        const int64_t *kernel = c->shape.window.kernel;
        const int64_t runs = kernel[0] * kernel[1] * kernel[2] * ceil_div(CHUNK_CHANNELS, c->group);
        const int64_t reals = c->phase_count[2] * c->targets * c->band_rows * c->sum_width + c->panel_size
                            + (c->step > 1 ? round_up(c->source[2], V) * V : 0);
        status = PREPARE(step, run_columns, c->shape.n * c->target[0] * c->bands,
                         (size_t)reals * sizeof(real) + (size_t)runs * sizeof(brgemm_run), *a);
    }
    if (status) release_columns_pass(c);
    else step->release = release_columns;
    return status;
}

static int columns_forward(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                           pycnn_activation activation, const pycnn_window *pool,
                           const void *x, const void *packed, const void *added, void *y, void *indices)
{
    columns_args a = {.forward = activation, .source = x, .packed = packed, .added = added, .target = y};
    (void)layout, (void)pool, (void)indices;
    return prepare_columns(step, &a, shape, x_layout, 0);
}

static int columns_backward_data(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                                 pycnn_activation forward, pycnn_activation backward,
                                 const void *dy, const void *packed, const void *x, const void *added, void *dx)
{
    columns_args a = {.forward = forward, .backward = backward, .source = dy, .packed = packed, .activated = x, .added = added,
                      .target = dx};
    (void)x_layout;
    return prepare_columns(step, &a, shape, layout, 1);
}
