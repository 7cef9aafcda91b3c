/* The gradient of a convolution to its weights and bias.
 *
 *     dw[k][c][r] = sum over n, p of dy[n][k][p] x[n][c][p stride + r dilation - before]        db[k] = sum of dy[n][k][p]
 *
 * A tile of the building block sums over the positions of a band of rows; its sides are units of filters and `items`:
 *
 *                 A                                     B
 *     CHANNELS    x, I items (broadcast): channels      dy, J units of V filters
 *     SAMPLES     dy, I filters (vectors of samples)    x, J items: taps of a row, or channels where a row has one tap
 *
 * In CHANNELS the lanes are V filters and the tile is exact; positions whose tap reaches past x are skipped. A PLAIN x of few
 * channels is first copied to a zero-padded panel, channels interleaved, and the items are taps and channels of a row.
 * In SAMPLES each lane sums its own samples (x padded in a panel where needed); conv_reduce_weights adds the lanes.
 *
 * A task is a share of the filters and source channels over a chunk of the samples. Each chunk leaves a partial sum,
 *
 *     SAMPLES     [bundle][filter][channel][tap][V]             CHANNELS    [bundle][tile][tap][channel][unit][V]
 *
 * followed by [unit][V] for the bias, and conv_reduce_weights adds the chunks in their order. */

typedef struct {
    pycnn_conv shape;
    pycnn_layout layout, x_layout;
    int64_t blocks, chunks;                     /* blocks of samples, and into how many partial sums they go */
    int64_t bundles, units, unit_tiles;         /* bundles of filters (see conv_geometry.h), units and tiles of a bundle */
    int64_t item_tile;                          /* items of a register tile, at most */
    int64_t unit_splits, source_splits;         /* tasks along the filters and source channels of a bundle */
    int64_t taps, x_size, y_size, all_units;
    overhang pad[3];
    int use_panel;
    int64_t pixel, row_stride, depth_stride, unit_stride;   /* of x or its panel */
    pixel_lanes lanes;                          /* of interleaved pixels */
    int64_t most_sources;                       /* of any bundle */
    int64_t bundle_size, partial_size;          /* reals of a bundle's weights, and of a whole partial sum */
    int64_t band_rows;
} weights_pass;

#define BAND_BYTES (32 * 1024)                  /* of the first-level cache, for the operands of a tile */
#define SOURCES_PER_SPLIT 8                     /* channels of a SAMPLES task, where they are split */

INLINE channel_bundle weights_bundle(const weights_pass *c, int64_t b)
{
    return bundle_of(c->layout, c->shape.k, c->shape.c, c->shape.groups, b);
}

/* The source channels of a split, counted from the bundle's first: a vector of them in CHANNELS. */
static row_span split_sources(const weights_pass *c, channel_bundle bundle, int64_t split)
{
    if (c->source_splits == 1) return (row_span){0, bundle.sources};
    if (c->layout == PYCNN_SAMPLES)
        return (row_span){part_begin(bundle.sources, c->source_splits, split),
                          part_begin(bundle.sources, c->source_splits, split + 1)};
    const int64_t lane = bundle.source % V;
    return (row_span){max64(0, split * V - lane), min64(bundle.sources, (split + 1) * V - lane)};
}

static weights_pass build_weights_pass(const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout)
{
    const int by_samples = layout == PYCNN_SAMPLES, tight = x_layout == PYCNN_PLAIN;
    weights_pass c = {.shape = conv_simplified(*shape), .layout = layout, .x_layout = x_layout};
    const pycnn_conv *s = &c.shape;
    const pycnn_window *w = &s->window;
    c.blocks = by_samples ? ceil_div(s->n, V) : s->n;
    c.taps = w->kernel[0] * w->kernel[1] * w->kernel[2];
    c.x_size = w->in[0] * w->in[1] * w->in[2];
    c.y_size = w->out[0] * w->out[1] * w->out[2];
    c.bundles = s->groups;
    c.all_units = by_samples ? s->k : ceil_div(s->k, V);
    int64_t vectors = 1;                        /* of source channels that a bundle has a share of */
    for (int64_t b = 0; b < c.bundles; b++) {
        const channel_bundle bundle = weights_bundle(&c, b);
        c.units = max64(c.units, bundle.units);
        c.most_sources = max64(c.most_sources, bundle.sources);
        vectors = max64(vectors, ceil_div(bundle.source % V + bundle.sources, V));
    }

    c.use_panel = tight;
    for (int a = 0; a < 3; a++) {
        c.pad[a] = axis_overhang(w, a, 0);
        if (by_samples && (c.pad[a].before || c.pad[a].after)) c.use_panel = 1;
    }
    if (!c.use_panel) memset(c.pad, 0, sizeof c.pad);
    c.pixel = tight ? s->c : V;
    if (tight) find_pixel_lanes(c.pixel, &c.lanes);
    c.row_stride = (c.pad[2].before + w->in[2] + c.pad[2].after) * c.pixel;
    c.depth_stride = (c.pad[1].before + w->in[1] + c.pad[1].after) * c.row_stride;
    c.unit_stride = (c.pad[0].before + w->in[0] + c.pad[0].after) * c.depth_stride;

    const int64_t items = by_samples ? (w->kernel[2] > 1 ? w->kernel[2] : c.most_sources)
                        : tight ? (w->dilation[2] == 1 ? w->kernel[2] : 1) * s->c : min64(V, c.most_sources);
    const brgemm_cut cut = by_samples ? brgemm_choose_cut(c.units, items, w->out[1] * w->out[2])
                                      : brgemm_choose_cut(items, c.units, w->out[1] * w->out[2]);
    c.unit_tiles = by_samples ? cut.i_parts : cut.j_parts;
    c.item_tile = ceil_div(items, by_samples ? cut.j_parts : cut.i_parts);

    const int64_t dy_row = ceil_div(c.units, c.unit_tiles) * w->out[2] * V;
    const int64_t x_row = w->in[2] * w->stride[1] * c.pixel * (by_samples && w->kernel[2] == 1 ? c.item_tile : 1);
    c.band_rows = min64(w->out[1], max64(1, BAND_BYTES / ((dy_row + x_row) * (int64_t)sizeof(real))));

    c.bundle_size = c.units * c.taps * c.most_sources * V;
    c.partial_size = c.bundles * (c.bundle_size + c.units * V);
    const double flops = 2.0 * (double)(c.blocks * c.bundles * c.bundle_size) * (double)c.y_size;
    const int64_t wanted = max64(1, (int64_t)fmin(MOST_TASKS / 4, flops / FLOPS_PER_TASK));
    c.source_splits = c.use_panel ? 1 : by_samples ? ceil_div(c.most_sources, SOURCES_PER_SPLIT) : vectors;
    c.unit_splits = c.use_panel ? 1 : c.unit_tiles;
    c.chunks = min64(c.blocks, max64(1, ceil_div(wanted, c.bundles * c.source_splits * c.unit_splits)));
    if (c.use_panel)
        c.unit_splits = min64(c.unit_tiles, max64(1, wanted / (c.bundles * c.chunks)));
    return c;
}

static int64_t direct_partial_size(const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout)
{
    const weights_pass c = build_weights_pass(shape, layout, x_layout);
    return c.chunks * c.partial_size;
}

typedef struct {
    weights_pass pass;
    const real *dy, *x;
    real *partial;
    int64_t panel_size;                 /* reals of scratch for the panel; the runs of a tile stand behind it */
    uint8_t *learns;                /* of each filter, or NULL for all */
} conv_weights_args;

/* Zero-padded x of one block: `units` planes from `x` on, or the interleaved channels of a PLAIN sample. */
static void fill_weights_panel(const weights_pass *c, const real *x, int64_t units, real *panel)
{
    const pycnn_window *w = &c->shape.window;
    const int plain = c->x_layout == PYCNN_PLAIN;
    const int64_t width = w->in[2];
    memset(panel, 0, (size_t)(units * c->unit_stride) * sizeof(real));
    for (int64_t u = 0; u < units; u++)
        for (int64_t d = 0; d < w->in[0]; d++)
            for (int64_t h = 0; h < w->in[1]; h++) {
                real *row = panel + u * c->unit_stride + (d + c->pad[0].before) * c->depth_stride
                          + (h + c->pad[1].before) * c->row_stride + c->pad[2].before * c->pixel;
                const real *from = x + (u * c->x_size + (d * w->in[1] + h) * width) * (plain ? 1 : V);
                if (!plain) {
                    memcpy(row, from, (size_t)(width * V) * sizeof(real));
                    continue;
                }
                interleave(&c->lanes, from, c->x_size, c->pixel, width, row);
            }
}

/* The positions of [begin, end) for which tap r reads inside x. */
static row_span positions_inside(const pycnn_window *w, int axis, int64_t r, row_span p)
{
    const int64_t offset = r * w->dilation[axis] - w->before[axis], last = w->in[axis] - 1 - offset;
    if (offset < 0) p.begin = max64(p.begin, ceil_div(-offset, w->stride[axis]));
    p.end = last < 0 ? p.begin : min64(p.end, last / w->stride[axis] + 1);
    return p;
}

/* What the other side of a tile runs over: where its items lie in x and in the partial sum. */
typedef struct { int64_t count, x_step, partial_step; } tile_items;

/* Adds a band's products to partial[unit][item]. `x` is the plane of the first item; (d, h, w) its tap. */
static void sum_band(const weights_pass *c, row_span rows, int64_t d_tap, int64_t h_tap, int64_t w_tap, const real *dy,
                     int64_t units, const real *x, tile_items items, real *partial, int64_t unit_step, brgemm_run *runs)
{
    const pycnn_window *w = &c->shape.window;
    const int by_samples = c->layout == PYCNN_SAMPLES;
    row_span depths = {0, w->out[0]}, columns = {0, w->out[2]};
    if (!c->use_panel) {
        depths = positions_inside(w, 0, d_tap, depths);
        rows = positions_inside(w, 1, h_tap, rows);
        columns = positions_inside(w, 2, w_tap, columns);
    }
    if (depths.begin >= depths.end || rows.begin >= rows.end || columns.begin >= columns.end) return;

    const int64_t d_offset = d_tap * w->dilation[0] - w->before[0] + c->pad[0].before;
    const int64_t h_offset = h_tap * w->dilation[1] - w->before[1] + c->pad[1].before;
    const int64_t w_offset = w_tap * w->dilation[2] - w->before[2] + c->pad[2].before;
    const int64_t length = columns.end - columns.begin, x_step = w->stride[2] * c->pixel;
    const real *x_end = NULL, *dy_end = NULL, *x_first = NULL, *dy_first = NULL;
    int64_t run_count = 0;
    for (int64_t d = depths.begin; d < depths.end; d++)
        for (int64_t h = rows.begin; h < rows.end; h++) {
            const real *x_row = x + (d * w->stride[0] + d_offset) * c->depth_stride
                              + (h * w->stride[1] + h_offset) * c->row_stride
                              + (columns.begin * w->stride[2] + w_offset) * c->pixel;
            const real *dy_row = dy + ((d * w->out[1] + h) * w->out[2] + columns.begin) * V;
            if (!run_count) x_first = x_end = x_row, dy_first = dy_end = dy_row;
            const int32_t x_jump = (int32_t)(x_row - x_end), dy_jump = (int32_t)(dy_row - dy_end);
            runs[run_count++] = by_samples ? (brgemm_run){dy_jump, x_jump, (int32_t)length}
                                           : (brgemm_run){x_jump, dy_jump, (int32_t)length};
            x_end = x_row + length * x_step;
            dy_end = dy_row + length * V;
        }

    brgemm_args g = {.runs = runs, .run_count = run_count, .floor = -INFINITY};
    const int64_t plane = c->y_size * V, tiles = ceil_div(items.count, c->item_tile);
    for (int64_t t = 0; t < tiles; t++) {
        const int64_t item = part_begin(items.count, tiles, t), count = part_begin(items.count, tiles, t + 1) - item;
        const real *x_item = x_first + item * items.x_step;
        g.c = partial + item * items.partial_step;
        g.init = g.c;
        if (by_samples) {
            g.a = dy_first, g.a_i = plane, g.a_k = V;
            g.b = x_item, g.b_j = items.x_step, g.b_k = x_step;
            g.c_i = g.init_i = unit_step, g.c_j = g.init_j = items.partial_step;
            brgemm_lanewise(units, count, &g);
        } else {
            g.a = x_item, g.a_i = items.x_step, g.a_k = x_step;
            g.b = dy_first, g.b_j = plane, g.b_k = V;
            g.c_i = g.init_i = items.partial_step, g.c_j = g.init_j = unit_step;
            brgemm(count, units, &g);
        }
    }
}

/* All taps and the given source channels of a tile of units, over one band of rows. `x` is the bundle's first channel. */
static void sum_tile(const weights_pass *c, row_span rows, const real *dy, int64_t units, const real *x,
                     int64_t first_lane, row_span sources, real *partial, brgemm_run *runs)
{
    const int64_t *kernel = c->shape.window.kernel, most = c->most_sources, width = units * V;
    const int plain = c->x_layout == PYCNN_PLAIN, whole_rows = c->shape.window.dilation[2] == 1 || kernel[2] == 1;
    for (int64_t d = 0; d < kernel[0]; d++)
        for (int64_t h = 0; h < kernel[1]; h++) {
            const int64_t row = (d * kernel[1] + h) * kernel[2];
            if (c->layout == PYCNN_SAMPLES) {
                const int64_t per_filter = most * c->taps * V;
                if (kernel[2] == 1) {
                    const tile_items channels = {sources.end - sources.begin, c->unit_stride, c->taps * V};
                    sum_band(c, rows, d, h, 0, dy, units, x + sources.begin * c->unit_stride, channels,
                             partial + (sources.begin * c->taps + row) * V, per_filter, runs);
                    continue;
                }
                /* Taps of a row share their positions only in a panel, or where all of them are inside x. */
                const tile_items row_taps = {kernel[2], c->shape.window.dilation[2] * V, V};
                for (int64_t ch = sources.begin; ch < sources.end; ch++)
                    sum_band(c, rows, d, h, 0, dy, units, x + ch * c->unit_stride, row_taps,
                             partial + (ch * c->taps + row) * V, per_filter, runs);
            } else if (plain && whole_rows) {
                const tile_items row_taps = {kernel[2] * c->pixel, 1, width};
                sum_band(c, rows, d, h, 0, dy, units, x, row_taps, partial + row * most * width, V, runs);
            } else {
                for (int64_t s = 0; s < kernel[2]; s++)
                    for (int64_t ch = sources.begin, count; ch < sources.end; ch += count) {
                        const int64_t block = plain ? 0 : (first_lane + ch) / V, lane = plain ? 0 : (first_lane + ch) % V;
                        count = plain ? c->pixel : min64(V - lane, sources.end - ch);
                        const tile_items channels = {count, 1, width};
                        sum_band(c, rows, d, h, s, dy, units, x + block * c->unit_stride + lane, channels,
                                 partial + ((row + s) * most + ch) * width, V, runs);
                    }
            }
        }
}

/* Sets a tile's share of the partial sum to zero. */
static void clear_tile(const weights_pass *c, int64_t units, row_span sources, real *partial)
{
    const int64_t outer = c->layout == PYCNN_SAMPLES ? units : c->taps;
    const int64_t inner = V * (c->layout == PYCNN_SAMPLES ? c->taps : units);
    for (int64_t i = 0; i < outer; i++)
        memset(partial + (i * c->most_sources + sources.begin) * inner, 0,
               (size_t)((sources.end - sources.begin) * inner) * sizeof(real));
}

/* bias += the sum of n vectors. */
static void sum_vectors(const real *x, int64_t n, real *bias)
{
    vec sums[4] = {vload(bias)};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) sums[j] += vload(x + (i + j) * V);
    for (; i < n; i++) sums[0] += vload(x + i * V);
    vstore(bias, (sums[0] + sums[1]) + (sums[2] + sums[3]));
}

/* Whether a filter in these vectors of filters learns. */
static int unit_learns(const conv_weights_args *a, int64_t unit, int64_t units)
{
    if (!a->learns) return 1;
    const row_span run = learning_run(a->learns, unit * V, min64(a->pass.shape.k, (unit + units) * V));
    return run.begin < run.end;
}

static void release_conv_weights(void *args) { free(((conv_weights_args *)args)->learns); }

static void run_conv_weights_task(const conv_weights_args *a, int64_t task, real *scratch)
{
    const weights_pass *c = &a->pass;
    const pycnn_conv *s = &c->shape;
    const int plain = c->x_layout == PYCNN_PLAIN, by_samples = c->layout == PYCNN_SAMPLES;
    const int64_t split = task % c->source_splits, unit_split = task / c->source_splits % c->unit_splits;
    const int64_t b = task / c->source_splits / c->unit_splits % c->bundles;
    const int64_t chunk = task / c->source_splits / c->unit_splits / c->bundles;
    const channel_bundle bundle = weights_bundle(c, b);
    const row_span sources = split_sources(c, bundle, split);
    if (sources.begin >= sources.end) return;
    const int64_t tile_begin = part_begin(c->unit_tiles, c->unit_splits, unit_split);
    const int64_t tile_end = part_begin(c->unit_tiles, c->unit_splits, unit_split + 1);
    const int64_t per_unit = c->taps * c->most_sources * V;
    real *partial = a->partial + chunk * c->partial_size + b * c->bundle_size;
    real *bias = a->partial + chunk * c->partial_size + c->bundles * c->bundle_size + bundle.unit * V;
    brgemm_run *runs = (brgemm_run *)(scratch + a->panel_size);

    for (int64_t tile = tile_begin; tile < tile_end; tile++) {
        const int64_t unit = part_begin(bundle.units, c->unit_tiles, tile);
        const int64_t units = part_begin(bundle.units, c->unit_tiles, tile + 1) - unit;
        clear_tile(c, units, sources, partial + unit * per_unit);
        if (split == 0) memset(bias + unit * V, 0, (size_t)(units * V) * sizeof(real));
    }
    const int64_t all_sources = by_samples || plain ? s->c : ceil_div(s->c, V);
    const int64_t first = plain ? 0 : by_samples ? bundle.source : bundle.source / V, plane = c->y_size * V;
    for (int64_t n = part_begin(c->blocks, c->chunks, chunk); n < part_begin(c->blocks, c->chunks, chunk + 1); n++) {
        const real *x = a->x + (n * all_sources + first) * c->x_size * (plain ? 1 : V);
        const real *dy = a->dy + (n * c->all_units + bundle.unit) * plane;
        if (c->use_panel) {
            fill_weights_panel(c, x, plain ? 1 : bundle.sources, scratch);
            x = scratch;
        }
        for (int64_t h = 0; h < s->window.out[1]; h += c->band_rows)
            for (int64_t tile = tile_begin; tile < tile_end; tile++) {
                const int64_t unit = part_begin(bundle.units, c->unit_tiles, tile);
                const int64_t units = part_begin(bundle.units, c->unit_tiles, tile + 1) - unit;
                const row_span rows = {h, min64(h + c->band_rows, s->window.out[1])};
                if (!by_samples) {
                    if (units && unit_learns(a, bundle.unit + unit, units))
                        sum_tile(c, rows, dy + unit * plane, units, x, bundle.source % V, sources,
                                 partial + unit * per_unit, runs);
                    continue;
                }
                const uint8_t *learns = a->learns ? a->learns + bundle.unit : NULL;
                for (row_span r = learning_run(learns, unit, unit + units); r.begin < r.end;
                     r = learning_run(learns, r.end, unit + units))
                    sum_tile(c, rows, dy + r.begin * plane, r.end - r.begin, x, bundle.source % V, sources,
                             partial + r.begin * per_unit, runs);
            }
        for (int64_t tile = tile_begin; tile < tile_end && split == 0; tile++)
            for (int64_t u = part_begin(bundle.units, c->unit_tiles, tile);
                 u < part_begin(bundle.units, c->unit_tiles, tile + 1); u++)
                sum_vectors(dy + u * plane, c->y_size, bias + u * V);
    }
}

static void run_conv_weights(const void *args, int64_t begin, int64_t end, void *scratch)
{
    for (int64_t task = begin; task < end; task++) run_conv_weights_task(args, task, scratch);
}

static int direct_backward_weights(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                                 const uint8_t *learns, const void *dy, const void *x, void *partial)
{
    conv_weights_args a = {.pass = build_weights_pass(shape, layout, x_layout), .dy = dy, .x = x, .partial = partial};
    const weights_pass *c = &a.pass;
    const pycnn_window *w = &c->shape.window;
    if (2 * c->depth_stride * max64(w->stride[0], 1) > INT32_MAX || 2 * c->y_size * V > INT32_MAX) return PYCNN_TOO_LARGE;
    if (c->use_panel)
        a.panel_size = round_up((x_layout == PYCNN_PLAIN ? 1 : c->most_sources) * c->unit_stride, V) + V;
    const size_t runs = (size_t)(w->out[0] * c->band_rows) * sizeof(brgemm_run);
    if (learns && !(a.learns = copied_flags(learns, shape->k))) return PYCNN_NO_MEMORY;
    const int status = PREPARE(step, run_conv_weights, c->chunks * c->bundles * c->unit_splits * c->source_splits,
                               (size_t)a.panel_size * sizeof(real) + runs, a);
    if (status == PYCNN_OK) step->release = release_conv_weights;
    else free(a.learns);
    return status;
}

/* ---- the sum of the partial sums -------------------------------------------------------------------------------------- */

typedef struct {
    weights_pass pass;
    int accumulate;
    const real *partial;
    real *dw, *db;
} conv_reduce_args;

/* sums[i] = partial[i], i < n vectors, over all chunks. */
static void sum_chunks(const conv_reduce_args *a, int64_t offset, int64_t n, real *sums)
{
    const weights_pass *c = &a->pass;
    const real *partial = a->partial + offset;
    memcpy(sums, partial, (size_t)(n * V) * sizeof(real));
    for (int64_t chunk = 1; chunk < c->chunks; chunk++) {
        partial += c->partial_size;
        for (int64_t i = 0; i < n * V; i += V) vstore(sums + i, vload(sums + i) + vload(partial + i));
    }
}

INLINE void put(const conv_reduce_args *a, real *to, real value) { *to = a->accumulate ? *to + value : value; }

/* A task is a filter: its lanes are added, one vector of results at a time. */
static void reduce_filter(const conv_reduce_args *a, int64_t k)
{
    const weights_pass *c = &a->pass;
    const int64_t size = c->taps * c->most_sources, at = k * size * V;
    real sums[V * V], results[V];
    for (int64_t i = 0; i < size; i += V) {
        const int64_t n = min64(V, size - i);
        sum_chunks(a, at + i * V, n, sums);
        sum_lanes(sums, n, results);
        for (int64_t j = 0; j < n; j++) put(a, a->dw + k * size + i + j, results[j]);
    }
    if (!a->db) return;
    sum_chunks(a, c->bundles * c->bundle_size + k * V, 1, sums);
    sum_lanes(sums, 1, results);
    put(a, a->db + k, results[0]);
}

/* The sums of a unit of V filters without groups, V channels and taps at a time: transposed, they are rows of dw. */
static void reduce_rows(const conv_reduce_args *a, int64_t at, int64_t width, int64_t k0, int64_t lanes)
{
    const weights_pass *c = &a->pass;
    const int64_t size = c->shape.c * c->taps;
    for (int64_t p = 0; p < size; p += V) {
        const int64_t n = min64(V, size - p);
        real vectors[V * V], before[V * V], *rows[V];
        const real *old[V];
        for (int64_t l = 0; l < V; l++) old[l] = rows[l] = a->dw + (k0 + min64(l, lanes - 1)) * size + p;
        for (int64_t j = 0; j < n; j++) {
            const int64_t ch = (p + j) / c->taps, tap = (p + j) % c->taps;
            sum_chunks(a, at + (tap * c->most_sources + ch) * width * V, 1, vectors + j * V);
        }
        if (a->accumulate) {
            rows_to_lanes(old, n, before);
            for (int64_t j = 0; j < n * V; j += V) vstore(vectors + j, vload(vectors + j) + vload(before + j));
        }
        lanes_to_rows(vectors, n, rows, lanes);
    }
}

/* A task is a unit of V filters: each goes to its lane's filter. */
static void reduce_unit(const conv_reduce_args *a, int64_t unit)
{
    const weights_pass *c = &a->pass;
    const pycnn_conv *s = &c->shape;
    const int64_t b = unit / c->units, in_bundle = unit % c->units;
    const channel_bundle bundle = weights_bundle(c, b);
    int64_t tile = 0;
    while (part_begin(bundle.units, c->unit_tiles, tile + 1) <= in_bundle) tile++;
    const int64_t first = part_begin(bundle.units, c->unit_tiles, tile);
    const int64_t width = part_begin(bundle.units, c->unit_tiles, tile + 1) - first;
    const int64_t k0 = unit * V;
    const int64_t at = b * c->bundle_size + first * c->taps * c->most_sources * V + (in_bundle - first) * V;
    const int64_t lanes = min64(V, s->k - k0);
    real sums[V];
    if (s->groups == 1) reduce_rows(a, at, width, k0, lanes);
    else for (int64_t ch = 0; ch < bundle.sources; ch++)
        for (int64_t tap = 0; tap < c->taps; tap++) {
            sum_chunks(a, at + (tap * c->most_sources + ch) * width * V, 1, sums);
            for (int64_t l = 0; l < lanes; l++)
                put(a, a->dw + ((k0 + l) * bundle.sources + ch) * c->taps + tap, sums[l]);
        }
    if (!a->db) return;
    sum_chunks(a, c->bundles * c->bundle_size + unit * V, 1, sums);
    for (int64_t l = 0; l < lanes; l++) put(a, a->db + k0 + l, sums[l]);
}

static void run_conv_reduce(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const conv_reduce_args *a = args;
    (void)scratch;
    for (int64_t task = begin; task < end; task++)
        if (a->pass.layout == PYCNN_SAMPLES) reduce_filter(a, task);
        else reduce_unit(a, task);
}

static int direct_reduce_weights(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                               int accumulate, const void *partial, void *dw, void *db)
{
    const conv_reduce_args a = {.pass = build_weights_pass(shape, layout, x_layout), .accumulate = accumulate,
                                .partial = partial, .dw = dw, .db = db};
    return PREPARE(step, run_conv_reduce, a.pass.all_units, 0, a);
}
