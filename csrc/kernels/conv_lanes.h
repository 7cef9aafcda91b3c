/* Convolution to few channels from many: forward and backward_data with a PLAIN target and a source in CHANNELS.
 *
 *     target[t][i] = f(bias[t] + sum over lanes l of sum over taps and blocks of V source channels
 *                                                 weight[t][tap, block V + l] source[block V + l][i in_step + offset])
 *
 * Lanes are V source channels. They are added when a sum is done, which is after as many multiply-adds as there are taps and
 * blocks; the target's few channels waste no lane, nor do its rows. A tile of the building block is
 *
 *     A (vectors)  source, I positions           B (vectors)  weights, J targets
 *
 * The source is read where it is: taps that reach past it are left out. So the I positions are neighbours along a row where
 * it has all its taps, and along a column at the ends of rows. A task is one sample and a band of target rows. */

typedef struct {
    plain_pass plain;
    int64_t blocks;                         /* of V source channels */
    int64_t unit_tiles, position_tile;      /* tiles along the targets; positions of one, at most */
} lanes_pass;

static int build_lanes(lanes_pass *c, const pycnn_conv *shape, int backward)
{
    *c = (lanes_pass){0};
    plain_pass *p = &c->plain;
    int status = build_plain(p, conv_simplified(*shape), backward);
    if (status) return status;
    c->blocks = ceil_div(p->sources, V);
    const brgemm_cut cut = brgemm_choose_cut(p->axis[2][0].count, p->targets, c->blocks * p->phase_taps);
    c->unit_tiles = cut.j_parts;
    c->position_tile = ceil_div(p->axis[2][0].count, cut.i_parts);
    divide_bands(p, 1, 6);
    const double reach = (double)(c->blocks * V) * (double)p->source_size;
    return reach > INT32_MAX || (double)p->all_taps * (double)(c->blocks * V * p->targets) > INT32_MAX ? PYCNN_TOO_LARGE
                                                                                                       : PYCNN_OK;
}

/* ---- packed weights: bias [target][V], of which one lane, then [phase][tile of targets][block][tap][target of the tile][V] ------------------- */

INLINE int64_t lanes_packed_phase(const lanes_pass *c, int64_t phase)
{
    return c->plain.targets * V * (1 + c->blocks * plain_taps_before(&c->plain, phase));
}

static int64_t lanes_packed_size(const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout, int backward)
{
    (void)layout, (void)x_layout;
    lanes_pass c;
    int64_t size = build_lanes(&c, shape, backward);
    if (size == PYCNN_OK) size = lanes_packed_phase(&c, c.plain.phases);
    release_plain(&c.plain);
    return size;
}

typedef struct { lanes_pass pass; const real *w, *bias; real *packed; } lanes_pack_args;

static void run_lanes_pack(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const lanes_pack_args *a = args;
    const lanes_pass *c = &a->pass;
    const plain_pass *p = &c->plain;
    (void)scratch;
    for (int64_t phase = begin; phase < end; phase++) {
        axis_phase axis[3];
        plain_phase(p, phase, axis);
        real *packed = a->packed + lanes_packed_phase(c, phase);
        for (int64_t tile = 0; tile < c->unit_tiles; tile++)
            for (int64_t block = 0; block < c->blocks; block++)
                FOR_PLAIN_TAPS(axis)
                    for (int64_t u = part_begin(p->targets, c->unit_tiles, tile);
                         u < part_begin(p->targets, c->unit_tiles, tile + 1); u++)
                        for (int64_t ch = block * V; ch < block * V + V; ch++)
                            *packed++ = ch < p->sources ? a->w[plain_weight(p, axis, t, u, ch)] : 0;
        for (int64_t u = 0; u < p->targets && phase == 0; u++)
            vstore(a->packed + u * V, a->bias ? vload_first(a->bias + u, 1) : vset1(0));
    }
}

static void release_lanes_pack(void *args) { release_plain(&((lanes_pack_args *)args)->pass.plain); }

static int lanes_pack(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout, int backward,
                      const void *w, const void *bias, void *packed)
{
    lanes_pack_args a = {.w = w, .bias = bias, .packed = packed};
    (void)layout, (void)x_layout;
    int status = build_lanes(&a.pass, shape, backward);
    if (status == PYCNN_OK) status = PREPARE(step, run_lanes_pack, a.pass.plain.phases, 0, a);
    if (status) release_plain(&a.pass.plain);
    else step->release = release_lanes_pack;
    return status;
}

/* ---- the convolution ---------------------------------------------------------------------------------------------------- */

/* The indices of a phase for which all taps read inside the source. */
static row_span indices_inside(const axis_phase *p, int64_t size)
{
    if (!p->taps) return (row_span){0, p->count};
    const int64_t low = offset_low(p), high = offset_high(p);
    row_span s = {low < 0 ? ceil_div(-low, p->in_step) : 0, high < size ? (size - 1 - high) / p->in_step + 1 : 0};
    s.begin = min64(s.begin, p->count);
    s.end = max64(s.begin, min64(s.end, p->count));
    return s;
}

/* What a tile of targets of one phase works on. */
typedef struct {
    const lanes_pass *pass;
    axis_phase axis[3];
    int64_t depth, units;
    const real *source, *weights, *bias;    /* source is position (0, 0, 0) of the sample */
    real *target;                           /* position (0, 0) at this depth, of the tile's first target */
    brgemm_run *runs;
    int64_t run_count;
} lanes_work;

/* Makes the runs over all taps that read inside the source for the target at index i and q of rows and columns. */
static void lanes_runs(lanes_work *w, int64_t i, int64_t q)
{
    const axis_phase *axis = w->axis;
    const int64_t *size = w->pass->plain.source, at[3] = {w->depth, i, q};
    row_span taps[3];
    for (int x = 0; x < 3; x++) taps[x] = phase_taps_inside(&axis[x], at[x], size[x]);
    const int64_t length = taps[2].end - taps[2].begin;
    int64_t a_end = 0, b_end = 0;
    w->run_count = 0;
    for (int64_t block = 0; block < w->pass->blocks && length; block++)
        for (int64_t d = taps[0].begin; d < taps[0].end; d++)
            for (int64_t h = taps[1].begin; h < taps[1].end; h++) {
                const int64_t row = (axis[0].first_offset + d * axis[0].offset_step) * size[1]
                                  + axis[1].first_offset + h * axis[1].offset_step;
                const int64_t column = axis[2].first_offset + taps[2].begin * axis[2].offset_step;
                const int64_t a = (block * w->pass->plain.source_size + row * size[2] + column) * V;
                const int64_t b = ((block * axis[0].taps + d) * axis[1].taps + h) * axis[2].taps + taps[2].begin;
                w->runs[w->run_count++] = (brgemm_run){(int32_t)(a - a_end), (int32_t)((b - b_end) * w->units * V),
                                                       (int32_t)length};
                a_end = a + length * axis[2].offset_step * V;
                b_end = b + length;
            }
}

/* `count` targets from index (i, q) on, neighbours along axis 1 or 2, all with the same taps. */
static void lanes_tile(const lanes_work *w, int64_t i, int64_t q, int along, int64_t count)
{
    const plain_pass *p = &w->pass->plain;
    const axis_phase *axis = w->axis;
    const int64_t row = axis[1].in_step * p->source[2] * V, column = axis[2].in_step * V;
    const int64_t out_row = axis[1].out_step * p->target[2], out_column = axis[2].out_step;
    const int64_t out_step = along == 1 ? out_row : out_column;
    real tile[TILE_VECTORS * V], sums[TILE_VECTORS + V];
    brgemm_lanewise(count, w->units, &(brgemm_args){
        .a = w->source + w->depth * axis[0].in_step * p->source[1] * p->source[2] * V + i * row + q * column,
        .a_i = along == 1 ? row : column, .a_k = axis[2].offset_step * V, .b = w->weights, .b_j = V, .b_k = w->units * V,
        .init = w->bias, .init_j = V, .c = tile, .c_i = V, .c_j = count * V, .runs = w->runs, .run_count = w->run_count,
        .floor = -INFINITY});
    sum_lanes(tile, count * w->units, sums);
    real *target = w->target + axis[1].out_start * p->target[2] + i * out_row + axis[2].out_start + q * out_column;
    for (int64_t u = 0; u < w->units; u++, target += p->target_size) {
        const real *from = sums + u * count;
        if (out_step == 1)
            for (int64_t s = 0; s < count; s += V) vstore_first(target + s, vload(from + s), min64(V, count - s));
        else
            for (int64_t s = 0; s < count; s++) target[s * out_step] = from[s];
    }
}

/* Asks for columns [begin, end) of a source row, of all channels: they will be in the second-level cache when needed. */
static void expect_columns(const lanes_work *w, int64_t row, int64_t begin, int64_t end)
{
    const plain_pass *p = &w->pass->plain;
    for (int64_t block = 0; block < w->pass->blocks; block++)
        for (int64_t q = begin; q < end; q++)
            __builtin_prefetch(w->source + (block * p->source_size + row * p->source[2] + q) * V, 0, 2);
}

/* The rows of a task that are of w's phase. */
static void lanes_rows(lanes_work *w, row_span rows)
{
    const plain_pass *p = &w->pass->plain;
    const axis_phase *row = &w->axis[1], *column = &w->axis[2];
    const row_span inside = indices_inside(column, p->source[2]), full = indices_inside(row, p->source[1]);
    const int64_t tiles = ceil_div(inside.end - inside.begin, w->pass->position_tile);
    for (int64_t i = rows.begin; i < rows.end && tiles; i++) {
        const int64_t next = (i + 1) * row->in_step + (row->taps ? offset_high(row) : 0);
        if (i == rows.begin || i <= full.begin || i >= full.end) lanes_runs(w, i, inside.begin);
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t q = inside.begin + part_begin(inside.end - inside.begin, tiles, t);
            const int64_t end = inside.begin + part_begin(inside.end - inside.begin, tiles, t + 1);
            if (next < p->source[1] && p->source[0] == 1 && !column->out_start)
                expect_columns(w, next, q * column->in_step, min64(p->source[2], end * column->in_step));
            lanes_tile(w, i, q, 2, end - q);
        }
    }
    for (int64_t q = 0; q < column->count; q++)
        for (int64_t i = rows.begin, count; i < rows.end && (q < inside.begin || q >= inside.end); i += count) {
            const int is_full = i >= full.begin && i < full.end;
            count = is_full ? min64(w->pass->position_tile, min64(full.end, rows.end) - i) : 1;
            if (!is_full || i == full.begin || i == rows.begin) lanes_runs(w, i, q);
            lanes_tile(w, i, q, 1, count);
        }
}

typedef struct {
    lanes_pass pass;
    plain_arrays arrays;
} lanes_args;

static void run_lanes(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const lanes_args *a = args;
    const lanes_pass *c = &a->pass;
    const plain_pass *p = &c->plain;
    for (int64_t number = begin; number < end; number++) {
        const plain_task task = plain_task_of(p, number);
        lanes_work w = {.pass = c, .depth = task.depth / p->phase_count[0], .runs = scratch,
                        .source = a->arrays.source + task.sample * c->blocks * p->source_size * V};
        real *target = a->arrays.target + (task.sample * p->targets * p->target[0] + task.depth) * p->target[1] * p->target[2];
        for (int64_t f = 0; f < p->plane_phases; f++) {
            const int64_t phase = task.depth % p->phase_count[0] * p->plane_phases + f;
            const real *packed = a->arrays.packed + lanes_packed_phase(c, phase);
            plain_phase(p, phase, w.axis);
            const row_span rows = {first_index(&w.axis[1], task.rows.begin), first_index(&w.axis[1], task.rows.end)};
            for (int64_t tile = 0; tile < c->unit_tiles; tile++) {
                const int64_t unit = part_begin(p->targets, c->unit_tiles, tile);
                w.units = part_begin(p->targets, c->unit_tiles, tile + 1) - unit;
                w.weights = packed + unit * c->blocks * V * taps_of(w.axis);
                w.bias = a->arrays.packed + unit * V;
                w.target = target + unit * p->target_size;
                lanes_rows(&w, rows);
            }
        }
        finish_plain(p, &a->arrays, &task);
    }
}

static void release_lanes(void *args) { release_plain(&((lanes_args *)args)->pass.plain); }

static int prepare_lanes(pycnn_step *step, const plain_arrays *arrays, const pycnn_conv *shape, int backward)
{
    lanes_args a = {.arrays = *arrays};
    int status = build_lanes(&a.pass, shape, backward);
    const plain_pass *p = &a.pass.plain;
    if (status == PYCNN_OK)
        status = PREPARE(step, run_lanes, p->shape.n * p->target[0] * p->bands,
                         (size_t)(a.pass.blocks * p->all_taps) * sizeof(brgemm_run), a);
    if (status) release_plain(&a.pass.plain);
    else step->release = release_lanes;
    return status;
}

static int lanes_forward(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                        pycnn_activation activation, const pycnn_window *pool,
                        const void *x, const void *packed, const void *added, void *y, void *indices)
{
    const plain_arrays arrays = {.forward = activation, .source = x, .packed = packed, .added = added, .target = y};
    (void)layout, (void)x_layout, (void)pool, (void)indices;
    return prepare_lanes(step, &arrays, shape, 0);
}

static int lanes_backward_data(pycnn_step *step, const pycnn_conv *shape, pycnn_layout layout, pycnn_layout x_layout,
                              pycnn_activation forward, pycnn_activation backward,
                              const void *dy, const void *packed, const void *x, const void *added, void *dx)
{
    const plain_arrays arrays = {.forward = forward, .backward = backward, .source = dy, .packed = packed, .activated = x,
                                 .added = added, .target = dx};
    (void)layout, (void)x_layout;
    return prepare_lanes(step, &arrays, shape, 1);
}
