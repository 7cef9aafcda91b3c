/* Convolution forward and backward_data, and so transposed convolution too.
 *
 *     target[u][i] = f(bias[u] + sum over taps and source channels of weight[u][tap, c] source[c][i in_step + offset])
 *
 * One tile of the building block makes I x J vectors of the target in one go:
 *
 *                 A (broadcast)             B (vectors)               lanes of B and the target
 *     CHANNELS    source, I positions       weights, J units          V channels
 *     SAMPLES     weights, I units          source, J positions       V samples
 *
 * A task is one block of samples (or sample), a bundle of channels, a band of target rows, and perhaps a share of the
 * bundle's units. Where a tap reaches past the source, or the source is PLAIN, the task first copies the source rows of
 * its band into a panel with zeros around them. The panel (or the source) stays in the second-level cache, the weights
 * of a tile in the first. */

/* The order in which a tile sums: a step is one source channel at one tap. */
typedef struct {
    brgemm_run *runs;               /* jumps and lengths along the source; the packed weights have no jumps */
    int64_t run_count, steps, k_stride;
    int32_t *channel, *tap;         /* of each step: source channel counted from the bundle's first, kernel position */
    struct row_start { int64_t run, step, end; } *row;  /* of each row of taps: its first run and step, and where the */
} reduction;                                            /* run before ended; of the first depth, and one past the last */

typedef struct {
    axis_phase axis[3];
    reduction sum;                  /* of bundle 0; of every bundle if all are alike */
} conv_phase;

typedef struct {
    pycnn_conv shape;
    pycnn_layout layout, source_layout;
    int backward;
    int64_t blocks;                                 /* of samples */
    int64_t sources, targets;                       /* channels */
    int64_t source[3], target[3], source_size, target_size;
    overhang pad[3];
    int use_panel;
    int64_t panel_depth, panel_rows, panel_width, pixel;    /* of a panel; reals of one of its positions */
    pixel_lanes lanes;                              /* of those that are interleaved */
    int64_t unit_stride, depth_stride, row_stride;          /* of the source or panel, in reals */
    int64_t bundles, units;                         /* bundles; units of a bundle */
    int64_t phase_count[3], phases;
    conv_phase *phase;                              /* [bundle if they differ][depth phase][row phase][column phase] */
    int bundles_differ;
    int64_t bias_size, bundle_steps;                /* of packed weights: reals of the bias; steps of all phases */
    brgemm_cut cut;                                 /* of phase 0: i over units in SAMPLES, over positions in CHANNELS */
    int64_t unit_tiles, position_tile;
    int64_t bands, band_rows, splits;
} conv_pass;

/* ---- the pass as prepared ------------------------------------------------------------------------------------------ */

/* Appends a run over `length` steps from source offset `at`; *end is where the run before ended. */
static int add_run(reduction *r, int64_t at, int64_t *end, int64_t length, int by_samples)
{
    const int64_t jump = at - *end;
    if (jump > INT32_MAX || jump < INT32_MIN) return PYCNN_TOO_LARGE;
    r->runs[r->run_count++] = by_samples ? (brgemm_run){.b = (int32_t)jump, .length = (int32_t)length}
                                         : (brgemm_run){.a = (int32_t)jump, .length = (int32_t)length};
    *end = at + length * r->k_stride;
    return PYCNN_OK;
}

INLINE void add_step(reduction *r, int64_t channel, int64_t tap)
{
    r->channel[r->steps] = (int32_t)channel;
    r->tap[r->steps++] = (int32_t)tap;
}

typedef struct { int64_t offset, tap; } axis_tap;

INLINE axis_tap tap_of(const axis_phase *p, int64_t t)
{
    return (axis_tap){p->first_offset + t * p->offset_step, p->first_tap + t * p->tap_step};
}

static int build_reduction(const conv_pass *c, const axis_phase axis[3], channel_bundle bundle, reduction *r)
{
    const int64_t taps = axis[0].taps * axis[1].taps * axis[2].taps, channels = bundle.sources;
    const int64_t *kernel = c->shape.window.kernel, pixel = c->pixel;
    const int by_samples = c->layout == PYCNN_SAMPLES;
    const int tight = c->source_layout == PYCNN_PLAIN;
    const int along_row = by_samples ? axis[2].taps > 1 : tight && (axis[2].offset_step == 1 || channels == 1);
    int64_t end = 0, steps = taps * channels;
    if (steps > INT32_MAX) return PYCNN_TOO_LARGE;
    *r = (reduction){.runs = malloc((size_t)(steps + 1) * sizeof *r->runs),
                     .channel = malloc((size_t)(steps + 1) * sizeof *r->channel),
                     .tap = malloc((size_t)(steps + 1) * sizeof *r->tap),
                     .row = malloc((size_t)(axis[1].taps + 1) * sizeof *r->row)};
    if (!r->runs || !r->channel || !r->tap || !r->row) return PYCNN_NO_MEMORY;
    if (!steps) return PYCNN_OK;

    if (by_samples)
        r->k_stride = along_row ? axis[2].offset_step * pixel : c->unit_stride;
    else
        r->k_stride = along_row && channels == 1 ? axis[2].offset_step : 1;

    int status = PYCNN_OK;
#define FOR_TAPS(axis_number, name)                                                                                    \
    for (int64_t t##name = 0; t##name < axis[axis_number].taps && !status; t##name++)
#define AT(name, axis_number) const axis_tap name = tap_of(&axis[axis_number], t##name);
#define OFFSET(w) (d.offset * c->depth_stride + h.offset * c->row_stride + (w) * pixel)
#define TAP(w) ((d.tap * kernel[1] + h.tap) * kernel[2] + (w))
    FOR_TAPS(0, d) FOR_TAPS(1, h) {
        AT(d, 0) AT(h, 1)
        if (td == 0) r->row[th] = (struct row_start){r->run_count, r->steps, end};
        if (by_samples && along_row) {             /* channels; a run over the taps of a row */
            for (int64_t ch = 0; ch < channels && !status; ch++) {
                status = add_run(r, ch * c->unit_stride + OFFSET(axis[2].first_offset), &end, axis[2].taps, by_samples);
                for (int64_t tw = 0; tw < axis[2].taps; tw++) add_step(r, ch, TAP(tap_of(&axis[2], tw).tap));
            }
        } else if (along_row) {                         /* a run over the taps of a row and their channels */
            status = add_run(r, OFFSET(axis[2].first_offset), &end, axis[2].taps * channels, 0);
            for (int64_t tw = 0; tw < axis[2].taps; tw++)
                for (int64_t ch = 0; ch < channels; ch++) add_step(r, ch, TAP(tap_of(&axis[2], tw).tap));
        } else FOR_TAPS(2, w) {                         /* taps of a row; runs over channels */
            AT(w, 2)
            const int64_t offset = OFFSET(w.offset), first = bundle.source % V;
            if (by_samples || tight) {
                status = add_run(r, offset, &end, channels, by_samples);
                for (int64_t ch = 0; ch < channels; ch++) add_step(r, ch, TAP(w.tap));
                continue;
            }
            for (int64_t ch = 0, length; ch < channels && !status; ch += length) {     /* one vector of channels each */
                const int64_t block = (first + ch) / V, lane = (first + ch) % V;
                length = min64(V - lane, channels - ch);
                status = add_run(r, block * c->unit_stride + offset + lane, &end, length, 0);
                for (int64_t l = 0; l < length; l++) add_step(r, ch + l, TAP(w.tap));
            }
        }
        if (td == 0) r->row[th + 1] = (struct row_start){r->run_count, r->steps, end};
    }
#undef FOR_TAPS
#undef AT
#undef OFFSET
#undef TAP
    return status;
}

static void release_pass(conv_pass *c)
{
    if (!c->phase) return;
    const int64_t lists = c->phases * (c->bundles_differ ? c->bundles : 1);
    for (int64_t i = 0; i < lists; i++) {
        free(c->phase[i].sum.runs);
        free(c->phase[i].sum.channel);
        free(c->phase[i].sum.tap);
        free(c->phase[i].sum.row);
    }
    free(c->phase);
    c->phase = NULL;
}

INLINE channel_bundle pass_bundle(const conv_pass *c, int64_t b)
{
    return bundle_of(c->layout, c->targets, c->sources, c->shape.groups, b);
}

/* The phases of bundle b. */
INLINE const conv_phase *phases_of(const conv_pass *c, int64_t b)
{
    return c->phase + (c->bundles_differ ? b * c->phases : 0);
}

#define SMALL_WEIGHTS_BYTES (128 * 1024)

/* Bands of rows and shares of units: as few as the cache allows, and enough for many threads. */
static void divide_work(conv_pass *c, const pycnn_window *pool)
{
    const pycnn_window *w = &c->shape.window;
    const int64_t out_step = c->phase->axis[1].out_step, in_step = c->phase->axis[1].in_step;
    const int64_t span = (w->kernel[1] - 1) * w->dilation[1] + 1;
    const channel_bundle bundle = pass_bundle(c, 0);
    const int64_t source_units = c->layout == PYCNN_CHANNELS && c->source_layout != PYCNN_PLAIN
                                     ? ceil_div(bundle.sources, V) : c->layout == PYCNN_SAMPLES ? bundle.sources : 1;
    const double row_bytes = (double)(source_units * c->panel_width * c->panel_depth * c->pixel) * sizeof(real);
    const double flops = 2.0 * (double)(c->blocks * (c->layout == PYCNN_SAMPLES ? V : 1) * c->targets)
                       * (double)(c->target_size * bundle.sources)
                       * (double)(w->kernel[0] * w->kernel[1] * w->kernel[2]) / (double)(out_step * out_step);
    const int64_t wanted = max64(1, (int64_t)fmin(MOST_TASKS, flops / FLOPS_PER_TASK));
    const int64_t rows = pool ? pool->out[1] : ceil_div(c->target[1], out_step);
    const int64_t steps_per_row = pool ? pool->stride[1] * in_step : in_step;

    int64_t band = max64(1, (int64_t)((PANEL_BYTES / row_bytes - (double)span) / (double)steps_per_row) + 1);
    if (pool) {
        double conv_row = (double)(c->units * c->target[2] * V) * sizeof(real) * (double)pool->stride[1];
        band = min64(band, max64(1, (int64_t)(PANEL_BYTES / conv_row)));
    }
    int64_t bands = ceil_div(rows, min64(band, rows));
    const int64_t others = c->blocks * c->bundles * c->target[0];
    if (others * bands < wanted) {
        const int64_t fewest_rows = c->use_panel ? max64(1, 2 * span / steps_per_row) : 1;
        bands = max64(bands, min64(ceil_div(wanted, others), ceil_div(rows, fewest_rows)));
    }
    c->band_rows = ceil_div(rows, bands);
    c->bands = ceil_div(rows, c->band_rows);
    c->splits = min64(c->unit_tiles, max64(1, wanted / (others * c->bands)));
    if (!pool) c->band_rows *= out_step;
}

static int build_pass(conv_pass *c, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout source_layout,
                      int backward, const pycnn_window *pool)
{
    const int by_samples = layout == PYCNN_SAMPLES;
    const pycnn_conv simplified = conv_simplified(*shape);
    *c = (conv_pass){.shape = pool ? *shape : simplified, .layout = layout, .source_layout = source_layout,
                     .backward = backward};
    const pycnn_window *w = &c->shape.window;
    c->blocks = by_samples ? ceil_div(c->shape.n, V) : c->shape.n;
    c->sources = backward ? c->shape.k : c->shape.c;
    c->targets = backward ? c->shape.c : c->shape.k;
    c->source_size = c->target_size = 1;
    c->phases = 1;
    c->use_panel = source_layout == PYCNN_PLAIN;
    for (int a = 0; a < 3; a++) {
        c->source[a] = backward ? w->out[a] : w->in[a];
        c->target[a] = backward ? w->in[a] : w->out[a];
        c->source_size *= c->source[a];
        c->target_size *= c->target[a];
        c->phase_count[a] = axis_phase_count(w, a, backward);
        c->phases *= c->phase_count[a];
        c->pad[a] = axis_overhang(w, a, backward);
        if (c->pad[a].before || c->pad[a].after) c->use_panel = 1;
    }
    c->bundles = c->shape.groups;
    c->units = pass_bundle(c, 0).units;
    c->bias_size = by_samples ? c->targets * V : round_up(c->targets, V);

    /* Where a source position is. */
    const channel_bundle first = pass_bundle(c, 0);
    c->pixel = source_layout == PYCNN_PLAIN ? first.sources : V;
    if (source_layout == PYCNN_PLAIN) find_pixel_lanes(c->pixel, &c->lanes);
    c->panel_width = c->source[2];
    c->panel_depth = 1;
    c->row_stride = c->source[2] * c->pixel;
    c->depth_stride = c->source[1] * c->row_stride;
    c->unit_stride = c->source[0] * c->depth_stride;

    c->phase = calloc((size_t)c->phases, sizeof *c->phase);
    if (!c->phase) return PYCNN_NO_MEMORY;
    for (int64_t i = 0; i < c->phases; i++) {
        int64_t f[3] = {i / c->phase_count[2] / c->phase_count[1], i / c->phase_count[2] % c->phase_count[1],
                        i % c->phase_count[2]};
        for (int a = 0; a < 3; a++) c->phase[i].axis[a] = axis_phase_of(w, a, backward, f[a]);
        const axis_phase *d = &c->phase[i].axis[0];
        if (d->taps) c->panel_depth = max64(c->panel_depth, offset_high(d) - offset_low(d) + 1);
    }
    const double depth = (double)(first.sources * w->kernel[0] * w->kernel[1] * w->kernel[2]) / (double)c->phases;
    /* The packed weights follow this cut, so it may not depend on the pooling. */
    const int64_t positions = axis_phase_of(&simplified.window, 2, backward, 0).count, steps = max64(1, (int64_t)depth);
    c->cut = by_samples ? brgemm_choose_cut(c->units, positions, steps)
                        : brgemm_choose_cut(positions, c->units, steps);
    c->unit_tiles = by_samples ? c->cut.i_parts : c->cut.j_parts;
    c->position_tile = ceil_div(positions, by_samples ? c->cut.j_parts : c->cut.i_parts);

    if (c->use_panel) c->panel_width = c->pad[2].before + c->source[2] + c->pad[2].after;
    divide_work(c, pool);
    if (c->use_panel) {
        const int64_t span = (w->kernel[1] - 1) * w->dilation[1] + 1, out_step = c->phase->axis[1].out_step;
        const int64_t rows = pool ? (c->band_rows - 1) * pool->stride[1] + (pool->kernel[1] - 1) * pool->dilation[1] + 1
                                  : ceil_div(c->band_rows, out_step);
        c->panel_rows = min64((rows - 1) * c->phase->axis[1].in_step + span,
                              c->pad[1].before + c->source[1] + c->pad[1].after);
        c->row_stride = c->panel_width * c->pixel;
        c->depth_stride = c->panel_rows * c->row_stride;
        c->unit_stride = c->panel_depth * c->depth_stride;
    }

    c->bundles_differ = source_layout == PYCNN_CHANNELS && c->bundles > 1 && first.sources % V;
    if (c->bundles_differ) {
        conv_phase *all = calloc((size_t)(c->phases * c->bundles), sizeof *all);
        if (!all) return PYCNN_NO_MEMORY;
        for (int64_t i = 0; i < c->phases * c->bundles; i++) all[i] = c->phase[i % c->phases];
        free(c->phase);
        c->phase = all;
    }
    for (int64_t b = 0; b < (c->bundles_differ ? c->bundles : 1); b++)
        for (int64_t i = 0; i < c->phases; i++) {
            conv_phase *p = &c->phase[b * c->phases + i];
            int status = build_reduction(c, p->axis, pass_bundle(c, b), &p->sum);
            if (status) return status;
        }
    return PYCNN_OK;
}

/* ---- packed weights: bias, then [bundle][phase][tile of units][step][unit of the tile][channel of the unit] ---------- */

INLINE int64_t steps_of_phases(const conv_phase *phase, int64_t count)
{
    int64_t steps = 0;
    for (int64_t i = 0; i < count; i++) steps += phase[i].sum.steps;
    return steps;
}

/* Where the weights of a bundle begin, behind the bias. */
static int64_t packed_bundle(const conv_pass *c, int64_t b)
{
    const int64_t width = c->units * channels_per_unit(c->layout);
    if (!c->bundles_differ) return b * width * steps_of_phases(c->phase, c->phases);
    return width * steps_of_phases(c->phase, b * c->phases);
}

static int64_t direct_packed_size(const pycnn_conv *shape, pycnn_layout layout, pycnn_layout source_layout, int backward)
{
    conv_pass c;
    int64_t size = build_pass(&c, shape, layout, source_layout, backward, NULL);
    if (size == PYCNN_OK) size = c.bias_size + packed_bundle(&c, c.bundles);
    release_pass(&c);
    return size;
}

typedef struct { conv_pass pass; const real *w, *bias; real *packed; } conv_pack_args;

/* The weights of the target channels target + begin .. target + end - 1 of a tile, at each step of a reduction, one by
   one; zeros for a channel beyond the last. */
static void pack_lanes(const conv_pass *c, const reduction *r, const real *w, int64_t target, int64_t begin, int64_t end,
                       int64_t width, real *packed)
{
    const pycnn_conv *s = &c->shape;
    const int64_t *kernel = s->window.kernel, taps = kernel[0] * kernel[1] * kernel[2];
    const int64_t per_filter = s->c / s->groups * taps, filters = s->k / s->groups, targets = c->targets / s->groups;
    const int64_t target_stride = c->backward ? taps : per_filter, source_stride = c->backward ? per_filter : taps;
    const int64_t lanes = min64(width, c->targets - target);
    for (int64_t lane = begin; lane < end; lane++) {
        const int64_t ch = target + lane, group = lane < lanes ? ch / targets : 0;
        const real *from = w + group * filters * per_filter + (ch - group * targets) * target_stride;
        for (int64_t i = 0; i < r->steps; i++)
            packed[i * width + lane] = lane < lanes ? from[r->channel[i] * source_stride + r->tap[i]] : 0;
    }
}

/* The same for the V channels from `lane` on, of one group: rows of V channels are transposed in registers, and each
   vector goes to the step that reads it. */
static void pack_vectors(const conv_pass *c, const reduction *r, const real *w, int64_t target, int64_t lane,
                         int64_t width, const int32_t *step_of, real *packed)
{
    const int64_t *kernel = c->shape.window.kernel, taps = kernel[0] * kernel[1] * kernel[2];
    const int64_t per_filter = c->shape.c * taps, length = c->backward ? taps : per_filter;
    const int64_t row = c->backward ? taps : per_filter;
    if (!r->steps) return;
    for (int64_t run = 0; run < (c->backward ? c->sources : 1); run++)
        for (int64_t p = 0; p < length; p += V) {
            if (row == 1) {     /* channels side by side */
                vstore(packed + step_of[run] * width + lane, vload(w + run * per_filter + target + lane));
                continue;
            }
            const int64_t n = min64(V, length - p);
            const real *rows[V];
            real vectors[V * V];
            for (int64_t l = 0; l < V; l++) rows[l] = w + run * per_filter + (target + lane + l) * row + p;
            rows_to_lanes(rows, n, vectors);
            for (int64_t j = 0; j < n; j++) {
                const int32_t step = step_of[run * length + p + j];
                if (step >= 0) vstore(packed + step * width + lane, vload(vectors + j * V));
            }
        }
}

/* A whole tile. `step_of` is scratch for the step of each source channel and tap. */
static void pack_tile(const conv_pass *c, const reduction *r, const real *w, int64_t target, int64_t width,
                      int32_t *step_of, real *packed)
{
    const int64_t *kernel = c->shape.window.kernel, taps = kernel[0] * kernel[1] * kernel[2];
    int64_t lane = 0;
    if (c->shape.groups == 1 && width >= V) {
        memset(step_of, -1, (size_t)(c->sources * taps) * sizeof *step_of);
        for (int64_t i = 0; i < r->steps; i++) step_of[r->channel[i] * taps + r->tap[i]] = (int32_t)i;
        for (; lane + V <= min64(width, c->targets - target); lane += V)
            pack_vectors(c, r, w, target, lane, width, step_of, packed);
    }
    pack_lanes(c, r, w, target, lane, width, width, packed);
}

static void run_conv_pack(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const conv_pack_args *a = args;
    const conv_pass *c = &a->pass;
    const int64_t per_unit = channels_per_unit(c->layout);
    for (int64_t task = begin; task < end; task++) {
        const int64_t b = task / c->unit_tiles, tile = task % c->unit_tiles;
        const int64_t unit = part_begin(c->units, c->unit_tiles, tile);
        const int64_t width = (part_begin(c->units, c->unit_tiles, tile + 1) - unit) * per_unit;
        const int64_t target = (pass_bundle(c, b).unit + unit) * per_unit;
        const conv_phase *phase = phases_of(c, b);
        real *packed = a->packed + c->bias_size + packed_bundle(c, b);
        for (int64_t i = 0; i < c->phases; i++) {
            const reduction *r = &phase[i].sum;
            pack_tile(c, r, a->w, target, width, scratch, packed + unit * per_unit * r->steps);
            packed += c->units * per_unit * r->steps;
        }
        for (int64_t l = 0; l < width; l++) {
            const real bias = a->bias && target + l < c->targets ? a->bias[target + l] : 0;
            if (c->layout == PYCNN_CHANNELS) a->packed[target + l] = bias;
            else vstore(a->packed + (target + l) * V, vset1(bias));
        }
    }
}

static void release_conv_pack(void *args) { release_pass(&((conv_pack_args *)args)->pass); }

static int direct_pack(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout source_layout,
                     int backward, const void *w, const void *bias, void *packed)
{
    conv_pack_args a = {.w = w, .bias = bias, .packed = packed};
    const int64_t *kernel = shape->window.kernel, taps = kernel[0] * kernel[1] * kernel[2];
    int status = build_pass(&a.pass, shape, layout, source_layout, backward, NULL);
    if (status == PYCNN_OK)
        status = PREPARE(step, run_conv_pack, a.pass.bundles * a.pass.unit_tiles,
                         (size_t)(a.pass.sources * taps) * sizeof(int32_t), a);
    if (status) release_pass(&a.pass);
    else step->release = release_conv_pack;
    return status;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

typedef struct {
    conv_pass pass;
    pycnn_activation forward, backward;
    int has_pool;
    pycnn_window pool;
    const real *source, *packed, *activated;    /* activated: the x whose f'(x) multiplies dx */
    const real *added;                          /* a tensor like the target that the sums are added to, or NULL */
    real *target;
    lane_int *indices;
    int64_t band_size;                          /* reals of the rows under pooling, in scratch */
    int is_far;                                 /* the target is larger than the near caches */
} conv_args;

#define FAR_TARGET_BYTES (1 << 20)

/* The rows of a source that a band's taps reach, those beyond the source included. */
static row_span source_rows(const conv_pass *c, row_span rows)
{
    row_span s = {INT64_MAX, INT64_MIN};
    for (int64_t f = 0; f < c->phase_count[1]; f++) {
        const axis_phase *p = &c->phase[f * c->phase_count[2]].axis[1];
        const int64_t begin = first_index(p, rows.begin), end = first_index(p, rows.end);
        if (begin >= end || !p->taps) continue;
        s.begin = min64(s.begin, begin * p->in_step + offset_low(p));
        s.end = max64(s.end, (end - 1) * p->in_step + offset_high(p) + 1);
    }
    return s.begin < s.end ? s : (row_span){0, 0};
}

/* One row of the source -> one row of the panel, zeros around it. A PLAIN source has `pixel` channels, interleaved. */
static void copy_row(const conv_pass *c, const real *source, real *panel)
{
    const int64_t before = c->pad[2].before * c->pixel, after = c->pad[2].after * c->pixel, width = c->source[2];
    memset(panel, 0, (size_t)before * sizeof(real));
    panel += before;
    if (c->source_layout != PYCNN_PLAIN || c->pixel == 1)
        memcpy(panel, source, (size_t)(width * c->pixel) * sizeof(real));
    else
        interleave(&c->lanes, source, c->source_size, c->pixel, width, panel);
    memset(panel + width * c->pixel, 0, (size_t)after * sizeof(real));
}

/* Copies depths and rows of `units` source units into the panel. */
static void fill_panel(const conv_pass *c, const real *source, int64_t units, row_span depths, row_span rows, real *panel)
{
    for (int64_t u = 0; u < units; u++)
        for (int64_t d = depths.begin; d < depths.end; d++)
            for (int64_t h = rows.begin; h < rows.end; h++) {
                real *row = panel + u * c->unit_stride + (d - depths.begin) * c->depth_stride
                          + (h - rows.begin) * c->row_stride;
                if (d < 0 || d >= c->source[0] || h < 0 || h >= c->source[1])
                    memset(row, 0, (size_t)c->row_stride * sizeof(real));
                else
                    copy_row(c, source + u * c->source_size * V + (d * c->source[1] + h) * c->source[2]
                                    * (c->source_layout == PYCNN_PLAIN ? 1 : V), row);
            }
}

/* The rows of taps that read inside the source for target row i; all where several depths take turns. */
static row_span row_taps_inside(const conv_pass *c, const conv_phase *phase, int64_t i)
{
    const axis_phase *row = &phase->axis[1];
    if (phase->axis[0].taps != 1) return (row_span){0, row->taps};
    return phase_taps_inside(row, i, c->source[1]);
}

/* The rows `rows` of `units` units from `unit` on, for one phase of rows and all phases of columns. `source` is where
   source position (0, 0, 0) would be, `target` where unit 0, row 0 would be. */
static void conv_rows(const conv_args *a, const conv_phase *phase, int64_t depth, row_span rows, int64_t bundle_unit,
                      int64_t unit, int64_t units, const real *source, const real *packed, real *target,
                      int64_t target_unit)
{
    const conv_pass *c = &a->pass;
    const int by_samples = c->layout == PYCNN_SAMPLES;
    const int64_t per_unit = channels_per_unit(c->layout), width = units * per_unit;
    for (int64_t f = 0; f < c->phase_count[2]; f++, phase++) {
        const axis_phase *row = &phase->axis[1], *column = &phase->axis[2];
        const reduction *r = &phase->sum;
        const real *weights = packed + unit * per_unit * r->steps;
        packed += c->units * per_unit * r->steps;
        const int64_t step = column->in_step * c->pixel, out_step = column->out_step * V;
        const real *bias = a->packed + (bundle_unit + unit) * V;
        brgemm_args g = {.init = bias, .floor = a->forward.kind == PYCNN_RELU && !a->added ? 0 : -INFINITY};
        if (by_samples) {
            g.a_i = 1, g.a_k = width, g.b_j = step, g.b_k = r->k_stride;
            g.init_i = V, g.c_i = target_unit, g.c_j = out_step;
        } else {
            g.b_j = V, g.b_k = width, g.a_i = step, g.a_k = r->k_stride;
            g.init_j = V, g.c_j = target_unit, g.c_i = out_step;
        }
        const int64_t tiles = ceil_div(column->count, c->position_tile);
        const int64_t end = first_index(row, rows.end);
        for (int64_t i = first_index(row, rows.begin); i < end; i++) {
            const real *source_row = source + depth * phase->axis[0].in_step * c->depth_stride
                                   + i * row->in_step * c->row_stride, *row_weights = weights;
            g.runs = r->runs, g.run_count = r->run_count;
            const row_span inside = row_taps_inside(c, phase, i);
            if (r->steps && inside.end - inside.begin < row->taps) {
                const struct row_start first = r->row[inside.begin];
                g.runs += first.run, g.run_count = r->row[inside.end].run - first.run;
                row_weights += first.step * width;
                source_row += first.end;
            }
            real *target_row = target + unit * target_unit
                             + ((row->out_start + i * row->out_step) * c->target[2] + column->out_start) * V;
            for (int64_t t = 0; t < tiles; t++) {
                const int64_t q = part_begin(column->count, tiles, t);
                const int64_t positions = part_begin(column->count, tiles, t + 1) - q;
                g.c = target_row + q * out_step;
                if (by_samples) {
                    g.a = row_weights, g.b = source_row + q * step;
                    if (a->is_far) brgemm_fetch(units, positions, &g);
                    brgemm(units, positions, &g);
                } else {
                    g.b = row_weights, g.a = source_row + q * step;
                    if (a->is_far) brgemm_fetch(positions, units, &g);
                    brgemm(positions, units, &g);
                }
            }
        }
    }
}

/* What follows the sums, on n reals that are still in the cache: y = f(y + added) or f'(activated) . (y + added). A ReLU of sums
   alone is part of them. */
static void finish_reals(pycnn_activation forward, pycnn_activation backward, real *y, const real *activated,
                         const real *added, int64_t n)
{
    const int relu = forward.kind == PYCNN_RELU;
    const vec floor = vset1(relu ? 0 : -INFINITY);
    for (int64_t i = 0; i < n && added; i += V)
        vstore_upto(y + i, vmax(floor, vload_upto(y + i, n - i) + vload_upto(added + i, n - i)), n - i);
    if (forward.kind != PYCNN_IDENTITY && !relu) activate(forward, y, n);
    if (backward.kind != PYCNN_IDENTITY) activation_gradient(backward, y, activated, y, n);
}

/* `first` is where the target's unit 0, row 0 is in `activated` and `added`. */
static void finish_rows(const conv_args *a, row_span rows, int64_t units, real *target, int64_t first, int64_t target_unit)
{
    const int64_t width = a->pass.target[2] * V, begin = rows.begin * width, size = (rows.end - rows.begin) * width;
    for (int64_t u = 0; u < units; u++) {
        const int64_t at = u * target_unit + begin;
        finish_reals(a->forward, a->backward, target + at, a->activated ? a->activated + first + at : NULL,
                     a->added ? a->added + first + at : NULL, size);
    }
}

/* The rows, also those beyond the last, that the rows `pooled` of the pooled map are made of. */
static row_span pooled_rows(const pycnn_window *p, row_span pooled)
{
    return (row_span){max64(0, pooled.begin * p->stride[1] - p->before[1]),
                      (pooled.end - 1) * p->stride[1] - p->before[1] + (p->kernel[1] - 1) * p->dilation[1] + 1};
}

static void run_conv_task(const conv_args *a, int64_t task, real *scratch)
{
    const conv_pass *c = &a->pass;
    const int64_t split = task % c->splits, band = task / c->splits % c->bands;
    const int64_t target_depth = task / c->splits / c->bands % c->target[0];
    const int64_t b = task / c->splits / c->bands / c->target[0] % c->bundles;
    const int64_t block = task / c->splits / c->bands / c->target[0] / c->bundles;
    const int64_t per_unit = channels_per_unit(c->layout);
    const channel_bundle bundle = pass_bundle(c, b);

    row_span band_rows = {band * c->band_rows, (band + 1) * c->band_rows}, rows = band_rows;
    if (a->has_pool) {
        band_rows.end = min64(band_rows.end, a->pool.out[1]);
        rows = pooled_rows(&a->pool, band_rows);
    }
    rows.end = min64(rows.end, c->target[1]);

    const int64_t depth_phase = target_depth % c->phase_count[0], depth = target_depth / c->phase_count[0];
    const conv_phase *phase = phases_of(c, b);
    const real *packed = a->packed + c->bias_size + packed_bundle(c, b);
    packed += c->units * per_unit * steps_of_phases(phase, depth_phase * c->phase_count[1] * c->phase_count[2]);
    phase += depth_phase * c->phase_count[1] * c->phase_count[2];

    /* The source, or a panel of it. */
    const int plain = c->source_layout == PYCNN_PLAIN;
    const int64_t first_unit = c->source_layout == PYCNN_CHANNELS ? bundle.source / V : bundle.source;
    const int64_t all_units = c->source_layout == PYCNN_CHANNELS ? ceil_div(c->sources, V) : c->sources;
    const real *source = a->source + (block * all_units + first_unit) * c->source_size * (plain ? 1 : V);
    if (c->use_panel) {
        const axis_phase *d = &phase->axis[0];
        row_span depths = {0, 0}, reach = source_rows(c, rows);
        if (d->taps)
            depths = (row_span){depth * d->in_step + offset_low(d), depth * d->in_step + offset_high(d) + 1};
        const int64_t units = plain ? 1 : c->layout == PYCNN_SAMPLES ? bundle.sources
                            : ceil_div(bundle.source % V + bundle.sources, V);
        real *panel = scratch + a->band_size;
        fill_panel(c, source, units, depths, reach, panel);
        source = panel - depths.begin * c->depth_stride - reach.begin * c->row_stride + c->pad[2].before * c->pixel;
    }

    const int64_t plane = c->target_size * V, width = c->target[2] * V;
    const int64_t target_unit = a->has_pool ? (rows.end - rows.begin) * width : plane;
    const int64_t all_targets = c->layout == PYCNN_CHANNELS ? ceil_div(c->targets, V) : c->targets;
    const int64_t first_target = (block * all_targets + bundle.unit) * plane + target_depth * c->target[1] * width;
    real *target = a->has_pool ? scratch - rows.begin * width : a->target + first_target;

    const int64_t weight_bytes = c->units * per_unit * phase->sum.steps * (int64_t)sizeof(real);
    const int64_t chunk = weight_bytes > SMALL_WEIGHTS_BYTES ? rows.end - rows.begin : phase->axis[1].out_step;
    const int64_t tile_begin = part_begin(c->unit_tiles, c->splits, split);
    const int64_t tile_end = part_begin(c->unit_tiles, c->splits, split + 1);
    for (int64_t h = rows.begin; h < rows.end; h += chunk) {
        const row_span these = {h, min64(h + chunk, rows.end)};
        for (int64_t tile = tile_begin; tile < tile_end; tile++) {
            const int64_t unit = part_begin(c->units, c->unit_tiles, tile);
            const int64_t units = part_begin(c->units, c->unit_tiles, tile + 1) - unit;
            const real *weights = packed;
            for (int64_t f = 0; f < c->phase_count[1]; f++) {
                const conv_phase *of_rows = phase + f * c->phase_count[2];
                conv_rows(a, of_rows, depth, these, bundle.unit, unit, units, source, weights, target, target_unit);
                weights += c->units * per_unit * steps_of_phases(of_rows, c->phase_count[2]);
            }
            if (!a->has_pool)
                finish_rows(a, these, units, target + unit * target_unit, first_target + unit * target_unit, target_unit);
        }
    }
    if (!a->has_pool) return;

    const int64_t pooled = a->pool.out[1] * a->pool.out[2] * V, pooled_row = a->pool.out[2] * V;
    const int64_t unit_end = part_begin(c->units, c->unit_tiles, tile_end);
    for (int64_t u = part_begin(c->units, c->unit_tiles, tile_begin); u < unit_end; u++) {
        const int64_t at = (block * all_targets + bundle.unit + u) * pooled;
        max_pool_plane(&a->pool, band_rows.begin, band_rows.end, scratch + u * target_unit, rows.begin,
                       a->target + at, a->indices ? a->indices + at : NULL);
        finish_reals(a->forward, a->backward, a->target + at + band_rows.begin * pooled_row, NULL, NULL,
                     (band_rows.end - band_rows.begin) * pooled_row);
    }
}

static void run_conv(const void *args, int64_t begin, int64_t end, void *scratch)
{
    for (int64_t task = begin; task < end; task++) run_conv_task(args, task, scratch);
}

static void release_conv(void *args) { release_pass(&((conv_args *)args)->pass); }

static int prepare_conv(pycnn_step *step, conv_args *a, const pycnn_conv *shape, pycnn_layout layout,
                        pycnn_layout source_layout, int backward, const pycnn_window *pool)
{
    conv_pass *c = &a->pass;
    int status = build_pass(c, shape, layout, source_layout, backward, pool);
    if (status == PYCNN_OK) {
        int64_t scratch = 0;
        a->is_far = !pool && c->blocks * c->bundles * c->units * c->target_size * V * (int64_t)sizeof(real) > FAR_TARGET_BYTES;
        if (pool) {
            a->has_pool = 1;
            a->pool = *pool;
            const int64_t rows = min64((c->band_rows - 1) * pool->stride[1]
                                       + (pool->kernel[1] - 1) * pool->dilation[1] + 1, c->target[1]);
            scratch = a->band_size = c->units * rows * c->target[2] * V;
        }
        if (c->use_panel) {
            const int64_t sources = pass_bundle(c, 0).sources;
            const int64_t units = source_layout == PYCNN_PLAIN ? 1 : layout == PYCNN_SAMPLES ? sources
                                : ceil_div(sources, V) + 1;
            scratch += units * c->unit_stride + V;
        }
        status = PREPARE(step, run_conv, c->blocks * c->bundles * c->target[0] * c->bands * c->splits,
                         (size_t)scratch * sizeof(real), *a);
    }
    if (status) release_pass(c);
    else step->release = release_conv;
    return status;
}

static int direct_forward(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                        pycnn_activation activation, const pycnn_window *pool,
                        const void *x, const void *packed, const void *added, void *y, void *indices)
{
    conv_args a = {.forward = activation, .source = x, .packed = packed, .added = added, .target = y, .indices = indices};
    return prepare_conv(step, &a, shape, layout, x_layout, 0, pool);
}

static int direct_backward_data(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                                pycnn_activation forward, pycnn_activation backward,
                                const void *dy, const void *packed, const void *x, const void *added, void *dx)
{
    conv_args a = {.forward = forward, .backward = backward, .source = dy, .packed = packed, .activated = x, .added = added,
                   .target = dx};
    return prepare_conv(step, &a, shape, layout, x_layout, 1, NULL);
}
